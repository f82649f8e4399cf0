from __future__ import annotations

import json
from typing import Any

import pytest

from materializer.devserver import heard

SESSION = "010b0c3a-4155-4f66-ac7a-c4d1f258ccb2"
CONNECT = {"type": "Connect", "sessionId": SESSION, "connectionCount": 0}


def test_unknown_fields_any_order_and_nulls_are_fine() -> None:
    text = json.dumps(
        {
            "modifications": [
                {
                    "args": [{"k": 1.0}],
                    "journal": None,
                    "type": "Add",
                    "queryId": 0,
                    "udfPath": "m.js:q",
                },
                {"queryId": 1, "type": "Remove"},
            ],
            "extra": {},
            "type": "ModifyQuerySet",
            "baseVersion": 0,
            "newVersion": 1,
        }
    )
    add = heard.Add.model_validate(
        {"type": "Add", "queryId": 0, "udfPath": "m.js:q", "args": [{"k": 1.0}]}
    )
    remove = heard.Remove.model_validate({"type": "Remove", "queryId": 1})
    message = heard.parse(text)
    assert isinstance(message, heard.ModifyQuerySet)
    assert message.modifications == [add, remove]


def test_a_greeting_needs_no_more_than_a_session_and_a_count() -> None:
    message = heard.parse(json.dumps(CONNECT))
    assert isinstance(message, heard.Connect)
    assert str(message.session_id) == SESSION
    assert message.client_ts is None


@pytest.mark.parametrize(
    "message",
    [
        [],
        {"type": "Hello"},
        {"type": "Connect"},
        CONNECT | {"sessionId": "canary"},
        CONNECT | {"connectionCount": -1},
        CONNECT | {"connectionCount": 2**32},
        CONNECT | {"connectionCount": "1"},
        {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1},
        {"type": "Mutation", "requestId": 0, "udfPath": "canary"},
        {"type": "Mutation", "requestId": 0, "udfPath": "a", "args": [{}, {}]},
        {"type": "Authenticate", "baseVersion": 0, "tokenType": "canary"},
    ],
)
def test_what_is_no_message_is_refused_without_repeating_it(message: Any) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        heard.parse(json.dumps(message))
    assert "canary" not in str(caught.value)


def test_a_path_is_made_canonical() -> None:
    call = {"type": "Action", "requestId": 0, "udfPath": "m.js:q", "args": [{}]}
    message = heard.parse(json.dumps(call))
    assert isinstance(message, heard.Request)
    assert message.udf_path == "m:q"
    with pytest.raises(ValueError, match="extension that isn't 'js'"):
        heard.parse(json.dumps(call | {"udfPath": "m.canary:q"}))


def test_broken_json_is_refused() -> None:
    with pytest.raises(ValueError, match="Invalid JSON"):
        heard.parse("{")
