from __future__ import annotations

import json

import pytest

from convex_play import AB, ADA, A, Play, kinds, live, sent, token
from convex_side import transition
from materializer.convex.events import (
    Close,
    Closed,
    Connect,
    Deliver,
    Opened,
    QueriesWanted,
    Received,
    Started,
    TokenChanged,
)


def test_a_new_connection_tells_of_the_old_one_and_starts_over() -> None:
    """C40."""
    play = live()
    play.hears((1, 1, 1), (1, 1, 1000), q0="y")
    assert play(Closed("InternalServerError")) == []
    assert (play.state, play.session.connected_at) == ("backoff", None)
    connect, authenticate, modify = sent(play.reconnect())
    assert connect["connectionCount"] == 1
    assert connect["lastCloseReason"] == "InternalServerError"
    assert connect["maxObservedTimestamp"] == "6AMAAAAAAAA="
    assert (authenticate["baseVersion"], modify["baseVersion"]) == (0, 0)
    assert play.hears((0, 0, 0), (1, 1, 1001), q0="y") == [
        Deliver(ADA, {"a": "y"}, first=True)
    ]


def test_the_first_reason_after_a_connection_is_the_one_that_is_told() -> None:
    play = live()
    play(Closed("the wire was cut"))
    play.wakes()
    play(TokenChanged(token()))
    play(Closed("cannot connect"))
    connect, *_ = sent(play.reconnect())
    assert connect["lastCloseReason"] == "the wire was cut"
    assert connect["connectionCount"] == 1


def test_queries_changed_while_away_are_asked_for_once() -> None:
    """C41."""
    play = live()
    play(Closed("gone"))
    assert play(AB) == []
    _, _, modify = sent(play.reconnect())
    assert [m["udfPath"] for m in modify["modifications"]] == ["m:a", "m:b"]


def test_backoff_grows_while_connections_open_and_die() -> None:
    play = live()
    waits = []
    for _ in range(6):
        play(Closed("gone"))
        waits.append(play.wait)
        play.reconnect()
    assert waits == [1, 2, 4, 8, 16, 16]


def test_backoff_starts_over_only_when_every_query_is_confirmed_again() -> None:
    """C43."""
    play = live(AB)
    play(Closed("gone"))
    play.reconnect()
    play.hears((0, 0, 0), (1, 1, 2), q0="x")
    play(Closed("gone"))
    assert play.wait == 2
    play.reconnect()
    play.hears((0, 0, 0), (1, 1, 2), q0="x", q1="x")
    play(Closed("gone"))
    assert play.wait == 1


def test_neither_a_token_nor_a_late_connection_cuts_the_wait_short() -> None:
    play = live()
    play(Closed("gone"))
    assert play(TokenChanged(token("b"))) == []
    assert play(Opened()) == []
    assert (play.state, play.wait) == ("backoff", 1)


def test_a_fatal_error_is_told_and_answered_with_patience() -> None:
    play = live()
    text = json.dumps({"type": "FatalError", "error": "Base version 0"})
    assert play(Received(text)) == [Close()]
    assert (play.state, play.session.last_error) == ("backoff", "Base version 0")
    assert play.wait == 30


def test_a_deployment_that_lost_its_data_is_not_reminded_of_them() -> None:
    play = live()
    play(Closed("gone"))
    assert "maxObservedTimestamp" in sent(play.reconnect())[0]
    play(Closed("InternalServerError"))
    assert "maxObservedTimestamp" not in sent(play.reconnect())[0]


def test_a_new_connection_resumes_pages_where_they_were() -> None:
    """C40: the last journal is sent along; null clears it, none at all keeps it."""
    play = live(AB)
    message = json.loads(transition((1, 1, 1), (1, 1, 2), q0="p", q1="p"))
    for change in message["modifications"]:
        change["journal"] = "page 1"
    play(Received(json.dumps(message)))
    message = json.loads(transition((1, 1, 2), (1, 1, 3), q0="q", q1="q"))
    del message["modifications"][0]["journal"]
    play(Received(json.dumps(message)))
    play(Closed("gone"))
    added = sent(play.reconnect())[2]["modifications"]
    assert [change.get("journal") for change in added] == ["page 1", None]


def test_what_was_told_stands_until_all_is_confirmed_again() -> None:
    """Better than the official client, whose results vanish in between."""
    play = live(AB)
    play(Closed("gone"))
    play.reconnect()
    assert play.hears((0, 0, 0), (0, 1, 2)) == []
    assert play.hears((0, 1, 2), (1, 1, 3), q0="x") == []
    assert play.hears((1, 1, 3), (1, 1, 4), q1="y") == [
        Deliver(ADA, {"a": "x", "b": "y"}, first=True)
    ]


def test_backoff_starts_over_anew_in_each_cycle() -> None:
    """C44: an identity alone is no success; it never adds up over cycles."""
    play = live()
    for _ in range(3):
        play(Closed("gone"))
        assert play.wait == 1
        play.reconnect()
        play.hears((0, 0, 0), (0, 1, 2))
        play(Closed("gone"))
        assert play.wait == 2
        play.reconnect()
        play.hears((0, 0, 0), (1, 1, 2), q0="x")


def test_no_longer_wanting_what_is_missing_counts_as_success() -> None:
    """C45."""
    play = live(AB)
    play(Closed("gone"))
    play.reconnect()
    play.hears((0, 0, 0), (1, 1, 2), q0="x")
    assert play.state == "authenticating"
    play(A)
    assert play.state == "live"
    play(Closed("gone"))
    assert play.wait == 1


def test_with_nothing_to_ask_the_identity_counts_as_success() -> None:
    """C45."""
    play = Play(QueriesWanted({}))
    play.open()
    play(Closed("gone"))
    play.reconnect()
    play.hears((0, 0, 0), (1, 1, 2))
    play(Closed("gone"))
    assert play.wait == 1


@pytest.mark.parametrize("chance", [0.0, 0.999])
@pytest.mark.parametrize(
    ("reason", "first"),
    [
        ("InternalServerError", 1.0),
        ("TooManyConcurrentRequests", 3.0),
        ("closed with code 1005", 1.0),
        ("closed with code 1006", 1.0),
    ],
    ids=["C46-1011", "C46-1013", "C46-empty", "C46-reset"],
)
def test_the_first_wait_lies_about_what_the_reason_asks_for(
    reason: str, first: float, chance: float
) -> None:
    play = live()
    play.chance = chance
    play(Closed(reason))
    assert play.wait == pytest.approx(first * (0.5 + chance))


@pytest.mark.parametrize(
    ("reason", "patience"),
    [("BadRequest: no", 1), ("ClientVersionUnsupported: update", 30)],
    ids=["C48-refused", "C48-version"],
)
def test_a_refused_upgrade_is_told_and_tried_again(
    reason: str, patience: float
) -> None:
    """C48: a version that is not supported is hopeless, but the server may change."""
    play = Play()
    play(Started())
    play(TokenChanged(token()))
    assert play(Closed(reason)) == []
    assert (play.state, play.session.last_error) == ("backoff", reason)
    assert play.wait == patience
    assert kinds(play.reconnect()) == ["Connect", "Authenticate", "ModifyQuerySet"]


def test_after_failed_attempts_comes_one_clean_beginning() -> None:
    """C49."""
    play = live()
    for _ in range(4):
        play(Closed("gone"))
        play.wakes()
        assert play(TokenChanged(token())) == [Connect()]
        play(AB)
        play(A)
    effects = play(Opened())
    assert kinds(effects) == ["Connect", "Authenticate", "ModifyQuerySet"]
    assert [m.get("baseVersion") for m in sent(effects)] == [None, 0, 0]
    assert sent(effects)[0]["connectionCount"] == 1
    assert sent(play(AB))[0]["baseVersion"] == 1
