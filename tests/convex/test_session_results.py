from __future__ import annotations

import json
from typing import Any

import pytest

from convex_play import AB, ADA, A, Play, live, sent
from convex_side import Numbers, transition
from materializer.convex.events import (
    Close,
    Closed,
    Deliver,
    QueriesWanted,
    Received,
    Woke,
)
from materializer.convex.messages import QueryFailure

# Results


def test_results_come_once_all_queries_are_answered_for_somebody() -> None:
    """C10 and C18: better than showing some of them, it is one moment, whole."""
    play = Play(AB)
    play.open()
    assert play.hears((0, 0, 0), (0, 1, 1)) == []
    assert play.hears((0, 1, 1), (1, 1, 2), q0=1) == []
    assert play.state == "authenticating"
    assert play.hears((1, 1, 2), (1, 1, 3), q1=2) == [
        Deliver(ADA, {"a": 1.0, "b": 2.0}, first=True)
    ]
    assert play.hears((1, 1, 3), (1, 1, 4), q1=3) == [
        Deliver(ADA, {"a": 1.0, "b": 3.0}, first=False)
    ]


def test_answers_for_nobody_are_not_delivered() -> None:
    play = Play()
    play.open()
    assert play.hears((0, 0, 0), (1, 0, 1), q0=[]) == []
    assert play.state == "authenticating"


def test_an_equal_answer_is_not_delivered_again() -> None:
    """Better than the official clients, which tell of every answer."""
    play = live()
    assert play.hears((1, 1, 1), (1, 1, 2), q0="x") == []


def test_a_failed_query_is_a_result_told_and_asked_again() -> None:
    play = live()
    [deliver] = play.hears((1, 1, 1), (1, 1, 2), q0=ValueError("Server Error"))
    assert isinstance(deliver, Deliver)
    assert deliver.results == {"a": QueryFailure("Server Error")}
    assert (play.state, play.session.last_error) == ("live", "Server Error")
    play.mono += 20
    play(Received('{"type":"Ping"}'))
    play.mono += 10
    [again] = sent(play(Woke(play.mono)))
    assert [m["type"] for m in again["modifications"]] == ["Remove", "Add"]
    assert play.hears((1, 1, 2), (2, 1, 3), q1="y") == [
        Deliver(ADA, {"a": "y"}, first=False)
    ]
    assert play.session.last_error is None


def test_a_change_of_queries_is_one_step_of_the_set() -> None:
    """C14."""
    play = live()
    [modify] = sent(play(AB))
    assert (modify["baseVersion"], modify["newVersion"]) == (1, 2)
    assert play(AB) == []
    assert play.hears((1, 1, 1), (2, 1, 2), q1="y") == [
        Deliver(ADA, {"a": "x", "b": "y"}, first=False)
    ]


def test_one_query_under_two_names_is_asked_for_and_ended_once() -> None:
    """C13."""
    twice = QueriesWanted({"a": ("m:a", {}), "b": ("api.m.a", {})})
    play = live()
    assert play(twice) == [Deliver(ADA, {"a": "x", "b": "x"}, first=False)]
    assert sent(play(A)) == []
    [modify] = sent(play(QueriesWanted({})))
    assert modify["modifications"] == [{"type": "Remove", "queryId": 0}]


def test_each_change_of_the_set_is_the_next_step() -> None:
    """C14: other arguments and other paths are other queries."""
    play = Play()
    steps = [sent(play.open())[2]]
    for wanted in (AB, QueriesWanted({"a": ("m:a", {"x": 1})})):
        steps += sent(play(wanted))
    assert [(m["baseVersion"], m["newVersion"]) for m in steps] == [
        (0, 1),
        (1, 2),
        (2, 3),
    ]
    changes = [(m["type"], m["queryId"]) for m in steps[2]["modifications"]]
    assert changes == [("Remove", 0), ("Remove", 1), ("Add", 2)]


def test_wanting_again_what_was_dropped_is_a_new_query() -> None:
    """C15 and C20: an answer to the dropped one, which is late, is not taken."""
    play = live(AB)
    play(A)
    play(AB)
    assert play.hears((1, 1, 1), (1, 1, 2), q1="late") == []
    assert play.hears((1, 1, 2), (3, 1, 3), q2="y") == [
        Deliver(ADA, {"a": "x", "b": "y"}, first=False)
    ]


def test_an_answer_may_come_before_its_query_is_confirmed() -> None:
    """C11."""
    play = live()
    play(AB)
    assert play.hears((1, 1, 1), (1, 1, 2), q1="y") == [
        Deliver(ADA, {"a": "x", "b": "y"}, first=False)
    ]
    assert play.hears((1, 1, 2), (2, 1, 3)) == []
    assert play.state == "live"


def test_an_answer_taken_back_is_waited_for_and_what_was_told_stands() -> None:
    """C12: better than an empty update: the last results stay until new ones come."""
    play = live()
    taken_back = json.loads(transition((1, 1, 1), (1, 1, 2)))
    taken_back["modifications"] = [{"type": "QueryRemoved", "queryId": 0}]
    assert play(Received(json.dumps(taken_back))) == []
    assert play.hears((1, 1, 2), (1, 1, 3), q0="y") == [
        Deliver(ADA, {"a": "y"}, first=False)
    ]


@pytest.mark.parametrize(
    ("more", "failure"),
    [
        ({"errorData": {"code": 1}}, QueryFailure("boom", {"code": 1.0})),
        ({}, QueryFailure("boom")),
        ({"errorData": None}, QueryFailure("boom", None)),
    ],
    ids=["C19-data", "C19-plain", "C19-null-data"],
)
def test_a_failure_carries_its_data_and_null_is_not_none_at_all(
    more: dict[str, Any], failure: QueryFailure
) -> None:
    play = live()
    message = json.loads(transition((1, 1, 1), (1, 1, 2), q0=ValueError("boom")))
    message["modifications"][0] |= more
    [deliver] = play(Received(json.dumps(message)))
    assert deliver == Deliver(ADA, {"a": failure}, first=False)
    assert (failure == QueryFailure("boom")) == (more == {})


@pytest.mark.parametrize(
    ("old", "new"), [(True, 1), (0.0, {"$float": "AAAAAAAAAIA="}), ([], {})]
)
def test_values_that_only_python_takes_for_equal_are_news(old: Any, new: Any) -> None:
    play = live()
    play.hears((1, 1, 1), (1, 1, 2), q0=old)
    assert len(play.hears((1, 1, 2), (1, 1, 3), q0=new)) == 1


def test_the_order_of_an_objects_keys_is_news() -> None:
    """Outputs that come as a map are numbered in the order of their arrival."""
    play = live()
    play.hears((1, 1, 1), (1, 1, 2), q0={"a": 1, "b": 2})
    assert len(play.hears((1, 1, 2), (1, 1, 3), q0={"b": 2, "a": 1})) == 1


# Transitions


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ((1, 1, 2), (1, 1, 3)),
        ((0, 0, 0), (1, 1, 3)),
        ((1, 1, 1), (1, 1, 0)),
        ((1, 1, 1), (0, 1, 2)),
        ((1, 1, 1), (1, 0, 2)),
        ((1, 1, 1), (2, 1, 2)),
        ((1, 1, 1), (1, 2, 2)),
    ],
)
def test_a_transition_out_of_the_chain_ends_the_connection_unapplied(
    start: Numbers, end: Numbers
) -> None:
    """C16."""
    play = live()
    assert play.hears(start, end, q0="wrong") == [Close()]
    assert play.state == "backoff"
    connect, _, _ = sent(play.reconnect())
    assert connect["lastCloseReason"] == "ProtocolViolation"
    assert connect["maxObservedTimestamp"] == "AQAAAAAAAAA="


@pytest.mark.parametrize("message", ["garbage", b"\x00", '{"type":"Surprise"}'])
def test_garbage_ends_the_connection_and_is_told(message: str | bytes) -> None:
    play = live()
    assert play(Received(message)) == [Close()]
    assert "the server sent" in (play.session.last_error or "")
    assert play(Received(transition((1, 1, 1), (1, 1, 2), q0="y"))) == []


def chunk(text: str, part: int, total: int = 2, transition_id: str = "9") -> Received:
    return Received(
        json.dumps(
            {
                "type": "TransitionChunk",
                "chunk": text,
                "partNumber": part,
                "totalParts": total,
                "transitionId": transition_id,
            }
        )
    )


def test_a_transition_in_pieces_is_put_together_with_pings_between() -> None:
    """C17."""
    play = live()
    text = transition((1, 1, 1), (1, 1, 2), q0="big")
    assert play(chunk(text[:50], 0)) == []
    assert play(Received('{"type":"Ping"}')) == []
    assert play(chunk(text[50:], 1)) == [Deliver(ADA, {"a": "big"}, first=False)]


def test_another_message_between_pieces_counts_and_drops_them() -> None:
    """C17."""
    play = live()
    text = transition((1, 1, 2), (1, 1, 3), q0="big")
    play(chunk(text[:50], 0))
    assert play.hears((1, 1, 1), (1, 1, 2), q0="y") != []
    assert play(chunk(text[50:], 1)) == [Close()]


@pytest.mark.parametrize(
    "second",
    [chunk("", 0), chunk("", 1, total=3), chunk("", 1, transition_id="8")],
    ids=["C17-order", "C17-total", "C17-id"],
)
def test_a_piece_that_does_not_fit_ends_the_connection(second: Received) -> None:
    play = live()
    play(chunk("{", 0))
    assert play(second) == [Close()]
    assert sent(play.reconnect())[0]["lastCloseReason"] == "ProtocolViolation"


def test_pieces_do_not_outlive_their_connection() -> None:
    play = live()
    play(chunk("{", 0))
    play(Closed("gone"))
    play.reconnect()
    text = transition((0, 0, 0), (1, 1, 2), q0="y")
    assert play(chunk(text, 0, total=1)) == [Deliver(ADA, {"a": "y"}, first=True)]


def test_answers_to_requests_of_nobody_are_ignored() -> None:
    play = live()
    response = {
        "type": "MutationResponse",
        "requestId": 7,
        "success": False,
        "result": "",
    }
    assert play(Received(json.dumps(response))) == []
    assert play.state == "live"
