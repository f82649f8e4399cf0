from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_side import auth_error, transition, version
from materializer.convex.messages import (
    AuthError,
    FatalError,
    Ping,
    QueryFailed,
    QueryFailure,
    QueryRemoved,
    QueryUpdated,
    Response,
    Transition,
    TransitionChunk,
    Version,
    decode_timestamp,
    encode_timestamp,
    parse,
)
from materializer.convex.values import ABSENT, Absent, Value
from materializer.errors import FeedMisspoke


def test_timestamps_are_little_endian() -> None:
    """C5."""
    assert encode_timestamp(1000) == "6AMAAAAAAAA="
    assert encode_timestamp(89234097497) == "WUXExhQAAAA="


@given(st.integers(0, 2**63 - 1))
def test_a_timestamp_survives_the_wire(ts: int) -> None:
    assert decode_timestamp(encode_timestamp(ts)) == ts


@pytest.mark.parametrize("ts", [-1, 2**63])
def test_a_timestamp_that_does_not_fit_is_refused(ts: int) -> None:
    with pytest.raises(ValueError, match="2\\^63"):
        encode_timestamp(ts)


@pytest.mark.parametrize("text", ["//////////8=", "AAAA", "", 7, None, "*"])
def test_a_broken_timestamp_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_timestamp(text)


def test_a_transition_is_read_whole() -> None:
    text = json.dumps(
        {
            "type": "Transition",
            "startVersion": version((2, 0, 1001)),
            "endVersion": version((4, 1, 1002)),
            "modifications": [
                {"type": "QueryUpdated", "queryId": 1, "value": 1, "journal": "j"},
                {
                    "type": "QueryFailed",
                    "queryId": 2,
                    "errorMessage": "boom",
                    "errorData": {"code": "E1"},
                },
                {"type": "QueryRemoved", "queryId": 3},
            ],
            "serverTs": 1795149712065143527,
            "clientClockSkew": None,
        }
    )
    assert parse(text) == Transition(
        Version(2, 0, 1001),
        Version(4, 1, 1002),
        (
            QueryUpdated(1, 1.0, "j"),
            QueryFailed(2, QueryFailure("boom", {"code": "E1"})),
            QueryRemoved(3),
        ),
    )


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ({"type": "Ping"}, Ping()),
        ({"type": "FatalError", "error": "no"}, FatalError("no")),
        (
            {"type": "AuthError", "error": "no", "baseVersion": None},
            AuthError("no", None, attempted=True),
        ),
        (
            {
                "type": "TransitionChunk",
                "chunk": "{",
                "partNumber": 0,
                "totalParts": 2,
                "transitionId": "7",
            },
            TransitionChunk("{", 0, 2, "7"),
        ),
        (
            {
                "type": "MutationResponse",
                "requestId": 0,
                "success": True,
                "result": 4,
                "ts": "6AMAAAAAAAA=",
            },
            Response(0, mutation=True, success=True, result=4.0, ts=1000),
        ),
        (
            {
                "type": "ActionResponse",
                "requestId": 1,
                "success": False,
                "result": "no",
                "errorData": [1],
            },
            Response(1, mutation=False, success=False, result="no", data=[1.0]),
        ),
    ],
)
def test_the_other_messages_are_read(message: dict[str, Any], meaning: object) -> None:
    assert parse(json.dumps(message)) == meaning


@pytest.mark.parametrize(
    ("more", "data"),
    [({}, ABSENT), ({"errorData": None}, None), ({"errorData": 1}, 1.0)],
    ids=["C19-plain", "C19-null-data", "C19-data"],
)
def test_the_data_of_an_error_can_be_null_or_absent(
    more: dict[str, Any], data: Value | Absent
) -> None:
    failed = {"queryId": 0, "type": "QueryFailed", "errorMessage": "no"} | more
    text = transition((0, 0, 0), (1, 1, 1))
    message = parse(json.dumps(json.loads(text) | {"modifications": [failed]}))
    assert isinstance(message, Transition)
    assert message.modifications == (QueryFailed(0, QueryFailure("no", data)),)
    ended = {"type": "ActionResponse", "requestId": 0, "success": False, "result": ""}
    response = parse(json.dumps(ended | more))
    assert isinstance(response, Response)
    assert response.data == data


@pytest.mark.parametrize(
    ("more", "journal"),
    [({}, ABSENT), ({"journal": None}, None), ({"journal": "j"}, "j")],
)
def test_a_journal_can_be_null_or_absent(
    more: dict[str, Any], journal: str | Absent | None
) -> None:
    updated = {"queryId": 0, "type": "QueryUpdated", "value": 1} | more
    text = transition((0, 0, 0), (1, 1, 1))
    message = parse(json.dumps(json.loads(text) | {"modifications": [updated]}))
    assert isinstance(message, Transition)
    [modification] = message.modifications
    assert modification == QueryUpdated(0, 1.0, journal)


def test_an_expired_identity_is_told_from_a_refused_one() -> None:
    assert parse(auth_error(2, attempted=False)) == AuthError(
        "no good", 2, attempted=False
    )


def broken() -> list[Any]:
    """Return messages that are each wrong in one place, holding a canary."""
    good = json.loads(transition((0, 0, 0), (1, 1, 1), q0="canary"))
    change = good["modifications"][0]
    chunk = {"type": "TransitionChunk", "chunk": "canary", "transitionId": "1"}
    return [
        "canary",
        ["canary"],
        {"type": "canary"},
        {"type": ["canary"]},
        {"type": "FatalError", "error": ["canary"]},
        {"type": "FatalError", "error": "canary \ud800"},
        {"type": "AuthError", "error": "canary", "baseVersion": -1},
        {"type": "AuthError", "error": "canary", "authUpdateAttempted": 1},
        good | {"modifications": {"canary": 1}},
        good | {"modifications": ["canary"]},
        good | {"modifications": [change | {"type": "canary"}]},
        good | {"modifications": [change | {"queryId": True}]},
        good | {"modifications": [change | {"queryId": 2**32}]},
        good | {"modifications": [change | {"journal": ["canary"]}]},
        good | {"modifications": [change | {"value": {"$canary": 1}}]},
        good | {"modifications": [{"type": "QueryUpdated", "queryId": 0}]},
        good | {"endVersion": "canary"},
        good | {"endVersion": version((0, 0, 0)) | {"ts": "canary"}},
        {k: v for k, v in good.items() if k != "startVersion"},
        chunk | {"partNumber": 2, "totalParts": 2},
        chunk | {"partNumber": 0, "totalParts": 0},
        {"type": "MutationResponse", "requestId": 0, "success": "canary"},
        {"type": "MutationResponse", "requestId": 0, "success": True, "result": 1},
        {"type": "ActionResponse", "requestId": 0, "success": False, "result": 1},
    ]


@pytest.mark.parametrize("message", broken())
def test_a_message_that_breaks_the_protocol_is_refused_unquoted(message: Any) -> None:
    with pytest.raises(FeedMisspoke) as caught:
        parse(json.dumps(message))
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "NaN", "[" * 100_000, b'{"type":"Ping"}'])
def test_what_is_no_json_text_is_refused(text: str | bytes) -> None:
    with pytest.raises(FeedMisspoke):
        parse(text)


def test_a_version_reaches_only_what_lies_ahead_in_every_part() -> None:
    version = Version(1, 1, 5)
    assert version.reaches(Version(1, 1, 5))
    assert version.reaches(Version(2, 1, 6))
    for back in (Version(0, 2, 6), Version(2, 0, 6), Version(2, 2, 4)):
        assert not version.reaches(back)
