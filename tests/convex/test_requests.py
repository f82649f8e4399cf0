from __future__ import annotations

import json

from materializer.convex import requests


def test_connect_tells_how_the_last_connection_ended() -> None:
    text = requests.connect("id", 1, "closed with code 1006", 6000, 1795149714740)
    assert json.loads(text) == {
        "type": "Connect",
        "sessionId": "id",
        "connectionCount": 1,
        "lastCloseReason": "closed with code 1006",
        "maxObservedTimestamp": "cBcAAAAAAAA=",
        "clientTs": 1795149714740,
    }


def test_connect_leaves_a_timestamp_out_that_it_has_not_seen() -> None:
    assert "maxObserved" not in requests.connect("id", 0, "InitialConnect", None, 1)


def test_authenticate_is_a_user_or_nobody() -> None:
    assert json.loads(requests.authenticate(0, "t")) == {
        "type": "Authenticate",
        "baseVersion": 0,
        "tokenType": "User",
        "value": "t",
    }
    assert json.loads(requests.authenticate(1, None)) == {
        "type": "Authenticate",
        "baseVersion": 1,
        "tokenType": "None",
    }


def test_a_query_set_step_carries_floats_and_the_journal() -> None:
    add = requests.add(3, "m:q", {"limit": 200}, "j")
    text = requests.modify_query_set(4, [requests.remove(2), add])
    assert json.loads(text) == {
        "type": "ModifyQuerySet",
        "baseVersion": 4,
        "newVersion": 5,
        "modifications": [
            {"type": "Remove", "queryId": 2},
            {
                "type": "Add",
                "queryId": 3,
                "udfPath": "m:q",
                "args": [{"limit": 200.0}],
                "journal": "j",
            },
        ],
    }
    assert '"limit":200.0' in text


def test_a_query_without_a_journal_sends_none() -> None:
    assert "journal" not in requests.add(0, "m:q", {}, None)


def test_a_call_carries_its_id_and_floats() -> None:
    text = requests.call(7, "m:f", {"n": 1}, mutation=True)
    assert json.loads(text) == {
        "type": "Mutation",
        "requestId": 7,
        "udfPath": "m:f",
        "args": [{"n": 1.0}],
    }
    assert '"n":1.0' in text
    action = json.loads(requests.call(8, "m:f", {}, mutation=False))
    assert (action["type"], action["args"]) == ("Action", [{}])
