"""Signing in over time: the cases C60 to C82, where ours are deliberately stricter.

There is no anonymous connection, so what the official client does before its token is
there (C64, C75) is here done by nobody; and there is one question at a time.
"""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import Any

import pytest

from convex_play import AB, ADA, WALL, A, Play, kinds, live, sent, token
from convex_side import auth_error
from materializer.convex.events import (
    Close,
    Closed,
    Connect,
    Deliver,
    Effect,
    NeedToken,
    Opened,
    QueriesWanted,
    Received,
    Started,
    TokenChanged,
    TokenUnavailable,
    Woke,
)
from materializer.convex.token import LEEWAY, SELDOM, Token

B = QueriesWanted({"b": ("m:b", {})})
AC = QueriesWanted({"a": ("m:a", {}), "c": ("m:c", {})})


def lived(play: Play, age: float, life: float, mark: str = "a") -> Token:
    """Return a token that is `age` old at this moment of the play."""
    now = WALL + play.mono
    return token(mark, iat=now - age, exp=now - age + life)


def refused(play: Play, base: int = 0, *, attempted: bool = True) -> list[Effect]:
    return play(Received(auth_error(base, attempted=attempted)))


def changes(modify: dict[str, Any]) -> list[tuple[str, int]]:
    return [(m["type"], m["queryId"]) for m in modify["modifications"]]


# Which token


def test_a_static_token_is_sent_once_and_confirmed_by_the_first_transition() -> None:
    """C60: and as it never ends, it is never asked for again."""
    play = Play()
    assert kinds(play.open()) == ["Connect", "Authenticate", "ModifyQuerySet"]
    assert play.state == "authenticating"
    assert play.hears((0, 0, 0), (1, 1, 1), q0="x") != []
    assert play.state == "live"
    for _ in range(100):
        assert play.wakes(heard=play.mono + 40) == []


def test_a_cached_token_that_is_refused_is_replaced_by_a_fresh_one() -> None:
    """C61."""
    play = Play()
    play.open(token("cached"))
    assert refused(play) == [Close()]
    assert play.wakes() == [NeedToken(force=True)]
    assert play(TokenChanged(token("fresh"))) == [Connect()]
    _, authenticate, _ = sent(play(Opened()))
    assert (authenticate["baseVersion"], authenticate["value"]) == (
        0,
        token("fresh").value,
    )
    [deliver] = play.hears((0, 0, 0), (1, 1, 1), q0="x")
    assert deliver == Deliver(ADA, {"a": "x"}, first=True)
    assert play.session.last_error is None


def test_when_at_first_there_is_no_token_only_the_later_one_is_sent() -> None:
    """C62."""
    play = Play()
    play(Started())
    assert play(TokenChanged(None)) == []
    assert play.wakes() == [NeedToken(force=False)]
    assert play(TokenChanged(token())) == [Connect()]
    assert kinds(play(Opened())).count("Authenticate") == 1


def test_when_every_token_is_refused_it_is_signed_out_in_the_server_s_words() -> None:
    """C63: three connections, none of them anonymous, and no more for 5 minutes."""
    play = Play()
    said = sent(play.open(token("0")))
    for mark in "12":
        assert refused(play) == [Close()]
        assert play.wakes() == [NeedToken(force=True)]
        assert play(TokenChanged(token(mark))) == [Connect()]
        said += sent(play(Opened()))
    assert play(Received(auth_error(0, error="Who are you?"))) == [Close()]
    assert (play.state, play.session.refused) == ("signed_out", True)
    assert play.session.last_error == "Who are you?"
    assert play.wait == pytest.approx(300)
    opening = ["Connect", "Authenticate", "ModifyQuerySet"]
    assert [message["type"] for message in said] == opening * 3


def test_without_any_token_there_is_no_connection() -> None:
    """C64: not even an anonymous one."""
    play = Play()
    play(Started())
    for _ in range(5):
        assert play(TokenChanged(None)) == []
        assert (play.state, play.session.refused) == ("signed_out", False)
        assert play.wakes() == [NeedToken(force=False)]


def test_the_refusal_of_a_token_that_was_replaced_is_left_to_the_newer_one() -> None:
    """C65: the server closes all the same, and then hears the good one."""
    play = Play()
    play.open(token("bad"))
    play(TokenChanged(token("good")))
    assert refused(play) == []
    play(Closed("closed with code 1005"))
    _, authenticate, _ = sent(play.reconnect(token("good")))
    assert authenticate["value"] == token("good").value


def test_an_identity_that_expires_while_a_fresh_one_is_on_its_way_is_no_failure() -> (
    None
):
    """C66."""
    play = live()
    play(TokenChanged(token("fresh")))
    assert refused(play, 1, attempted=False) == []
    play(Closed("closed with code 1005"))
    assert not play.session.refused
    _, authenticate, _ = sent(play.reconnect(token("fresh")))
    assert authenticate["value"] == token("fresh").value


def test_of_two_answers_the_later_one_counts() -> None:
    """C67: a refresh in time and one after a refusal meet."""
    play = Play()
    play.open(lived(play, 0, 300, "0"))
    play.hears((0, 0, 0), (1, 1, 1), q0="x")
    play.mono += 210
    assert play(Woke(play.mono)) == [NeedToken(force=True)]
    assert refused(play, 1, attempted=False) == [Close()]
    assert play(TokenChanged(token("1"))) == [Connect()]
    assert play(TokenChanged(token("2"))) == []
    _, authenticate, _ = sent(play(Opened()))
    assert authenticate["value"] == token("2").value


def test_a_fresh_token_that_is_refused_while_live_is_replaced_by_a_third() -> None:
    """C68."""
    play = live()
    play(TokenChanged(token("b")))
    assert refused(play, 1) == [Close()]
    assert play.wakes() == [NeedToken(force=True)]
    assert play(TokenChanged(token("c"))) == [Connect()]
    assert sent(play(Opened()))[1]["value"] == token("c").value


# Queries meanwhile


def test_queries_come_after_the_token() -> None:
    """C69."""
    play = Play(QueriesWanted({}))
    play(Started())
    assert play(A) == []
    play(TokenChanged(token()))
    assert kinds(play(Opened())) == ["Connect", "Authenticate", "ModifyQuerySet"]


def test_a_query_given_up_while_a_token_is_fetched_is_removed_at_once() -> None:
    """C70: the old identity goes on until there is a new one."""
    play = Play(AB)
    play.open(lived(play, 0, 300))
    play.hears((0, 0, 0), (1, 1, 1), q0="x", q1="x")
    play.mono += 210
    assert play(Woke(play.mono)) == [NeedToken(force=True)]
    [removal] = sent(play(A))
    assert (changes(removal), removal["baseVersion"]) == ([("Remove", 1)], 1)
    [authenticate] = sent(play(TokenChanged(lived(play, 0, 300, "b"))))
    assert authenticate["baseVersion"] == 1
    assert sent(play(AB))[0]["baseVersion"] == 2


def test_a_new_token_does_not_ask_the_queries_again() -> None:
    """C71."""
    play = live()
    assert kinds(play(TokenChanged(token("b")))) == ["Authenticate"]
    [addition] = sent(play(AB))
    assert (changes(addition), addition["baseVersion"]) == ([("Add", 1)], 1)


def test_only_what_is_wanted_when_the_token_is_there_is_asked() -> None:
    """C72 and C73: what came and went while it was fetched was never there."""
    play = Play(A)
    play(Started())
    for wanted in (AB, AC, B, AC):
        assert play(wanted) == []
    play(TokenChanged(token()))
    _, _, modify = sent(play(Opened()))
    assert [m["udfPath"] for m in modify["modifications"]] == ["m:a", "m:c"]


def test_a_query_given_up_while_connecting_leaves_an_empty_set() -> None:
    """C74."""
    play = Play(QueriesWanted({}))
    play(Started())
    play(A)
    play(TokenChanged(token()))
    assert play(QueriesWanted({})) == []
    connect, authenticate, modify = sent(play(Opened()))
    assert (connect["type"], authenticate["type"]) == ("Connect", "Authenticate")
    assert (modify["baseVersion"], modify["newVersion"]) == (0, 1)
    assert modify["modifications"] == []


def test_nothing_at_all_is_sent_before_there_is_a_token() -> None:
    """C75, as with `expectAuth`, which we always do."""
    play = Play(A)
    effects = play(Started()) + play(AB) + play(TokenUnavailable("slow"))
    assert kinds(effects) == ["NeedToken"]
    assert (play.state, play.session.connections) == ("signed_out", 0)


def test_connect_comes_first_however_often_the_token_changes_before() -> None:
    """C76."""
    play = Play()
    play(Started())
    effects = []
    for change in (token("a"), token("b"), None, token("c"), token("d")):
        effects += play(TokenChanged(change))
    assert kinds(effects) == ["Connect", "Close", "Connect"]
    connect, authenticate, _ = sent(play(Opened()))
    assert (connect["type"], connect["connectionCount"]) == ("Connect", 0)
    assert authenticate["value"] == token("d").value


# Refreshing


def told(effects: list[Effect]) -> list[dict[str, Any]]:
    return [m for m in sent(effects) if m["type"] == "Authenticate"]


def keep(play: Play, life: float, hours: float = 1) -> list[float]:
    """Stay live with tokens of this life; return when each was asked for and sent."""
    sends = [play.mono]
    now, end = play.hears((0, 0, 0), (1, 1, 1), q0="x"), play.mono + hours * 3600
    identity = 1
    while play.mono < end:
        now = play.wakes(heard=play.mono + 40)
        if now != [NeedToken(force=True)]:
            assert now == []
            continue
        mark = f"{identity}"
        [authenticate] = told(play(TokenChanged(lived(play, 0, life, mark))))
        assert authenticate["baseVersion"] == identity
        sends.append(play.mono)
        play.hears((1, identity, identity), (1, identity + 1, identity + 1))
        identity += 1
        assert play.state == "live"
    return sends


@pytest.mark.parametrize("life", [300.0, 60.0, 30.0])
def test_a_new_token_is_on_the_wire_before_the_old_one_ends(life: float) -> None:
    """C77: at the leeway before the end, or a third of a shorter life."""
    play = Play()
    play.open(lived(play, 0, life))
    sends = keep(play, life)
    waits = [later - earlier for earlier, later in pairwise(sends)]
    assert len(waits) >= 3600 / life
    leeway = min(LEEWAY, life / 3)
    assert waits == pytest.approx([life - leeway] * len(waits))
    assert min(waits) >= 10


def test_a_token_from_a_cache_is_replaced_before_it_ends_not_after_a_whole_life() -> (
    None
):
    """C77: what is left of it counts, not what it was given."""
    play = Play()
    play.open(lived(play, 250, 300))
    play.hears((0, 0, 0), (1, 1, 1), q0="x")
    assert play.wakes() == [NeedToken(force=True)]
    assert play.mono < 1050


@pytest.mark.parametrize("life", [1.0, 5.0, 12.0])
def test_tokens_that_hardly_live_are_not_asked_for_twice_within_10_s(
    life: float,
) -> None:
    """C78."""
    play = Play()
    play.open(lived(play, 0, life))
    sends = keep(play, life, hours=0.1)
    waits = [later - earlier for earlier, later in pairwise(sends)]
    assert waits
    assert min(waits) >= SELDOM == 10


def test_refusals_do_not_make_it_ask_for_fresh_tokens_in_a_hurry() -> None:
    """C78: not even when the connection fails between them."""
    play = Play()
    play.open(token("0"))
    refused(play)
    asked = [play.mono] if play.wakes() == [NeedToken(force=True)] else []
    play(TokenChanged(token("1")))
    play(Closed("cannot connect"))
    assert play.wakes() == [NeedToken(force=False)]
    play(TokenChanged(token("1")))
    play(Opened())
    refused(play)
    assert play.wakes() == [NeedToken(force=True)]
    assert play.mono - asked[0] >= 10


def test_a_source_in_trouble_is_asked_again_and_results_go_on() -> None:
    """C79."""
    play = Play()
    play.open(lived(play, 0, 300))
    play.hears((0, 0, 0), (1, 1, 1), q0="x")
    play.mono += 210
    assert play(Woke(play.mono)) == [NeedToken(force=True)]
    assert play(TokenUnavailable("offline")) == []
    assert play.session.last_error == "offline"
    assert play.hears((1, 1, 1), (1, 1, 2), q0="y") != []
    assert play.wakes(heard=1220) == [NeedToken(force=True)]
    assert play.mono == 1255


def test_a_source_that_does_not_answer_keeps_nothing_waiting() -> None:
    """C79: a question that hangs is not repeated, and nothing waits for its answer."""
    play = Play()
    play.open(lived(play, 0, 300))
    play.hears((0, 0, 0), (1, 1, 1), q0="x")
    play.mono += 210
    assert play(Woke(play.mono)) == [NeedToken(force=True)]
    play.mono += 30
    assert play.hears((1, 1, 1), (1, 1, 2), q0="y") != []
    assert play.session.wake_at - play.mono > 40


def test_signing_out_is_on_the_wire_and_nothing_signs_in_again() -> None:
    """C80: the refresh that was planned is not done."""
    play = Play()
    play.open(lived(play, 0, 300))
    play.hears((0, 0, 0), (1, 1, 1), q0="x")
    effects = play(TokenChanged(None))
    assert kinds(effects) == ["Authenticate", "Close"]
    assert sent(effects)[0]["tokenType"] == "None"
    for _ in range(10):
        assert play.wakes() == [NeedToken(force=False)]
        assert play(TokenChanged(None)) == []
        assert play.state == "signed_out"


def test_identities_are_numbered_in_the_order_in_which_they_were_sent() -> None:
    """C81, without administrators, which we are not."""
    play = live()
    said = [
        *sent(play(TokenChanged(token(sub="bob")))),
        *sent(play(TokenChanged(None))),
    ]
    assert [(m["baseVersion"], m["tokenType"]) for m in said] == [
        (1, "User"),
        (2, "None"),
    ]


def test_the_same_token_again_before_its_end_is_no_failure() -> None:
    """C82: it stays signed in, and asks again before the end."""
    play = Play()
    first = lived(play, 0, 300)
    play.open(first)
    play.hears((0, 0, 0), (1, 1, 1), q0="x")
    asked = []
    while play.mono < 1290:
        if play.wakes(heard=play.mono + 40) == [NeedToken(force=True)]:
            asked.append(play.mono - 1000)
            assert play(TokenChanged(first)) == []
        assert play.state == "live"
    assert asked[:3] == [210, 255, 277.5]
    assert asked[-1] < 300


# Refused


def test_the_same_token_is_not_sent_again_and_a_new_one_at_once() -> None:
    play = Play()
    play.open(token("a"))
    play(Received(auth_error(0, error="The token has expired.")))
    play.wakes()
    for _ in range(5):
        assert play(TokenChanged(token("a"))) == []
        assert (play.state, play.session.refused) == ("signed_out", True)
        assert play.session.last_error == "The token has expired."
        play.wakes()
    assert play(TokenChanged(token("b"))) == [Connect()]
    assert not play.session.refused
    assert sent(play(Opened()))[1]["value"] == token("b").value


def test_a_new_token_does_not_wait_for_the_time_at_which_one_would_be_asked_for() -> (
    None
):
    play = Play()
    play.open(token("0"))
    refused(play)
    play.wakes()
    play(TokenChanged(token("1")))
    play(Opened())
    refused(play)
    assert play.state == "backoff"
    assert play.wait > 9
    assert play(TokenChanged(token("1"))) == []
    assert play(TokenChanged(token("2"))) == [Connect()]


def test_signing_out_ends_the_refusal() -> None:
    play = Play()
    play.open(token("a"))
    refused(play)
    play.wakes()
    play(TokenChanged(token("a")))
    assert play.session.refused
    play(TokenChanged(None))
    assert (play.state, play.session.refused) == ("signed_out", False)
    assert play.session.last_error == "nobody is signed in"


# Sleep


@pytest.mark.parametrize("phase", ["open", "connecting", "backoff"])
def test_whatever_it_waited_for_a_wake_up_from_sleep_connects_anew(phase: str) -> None:
    play = live()
    for _ in range(5):
        play(Closed("gone"))
        if phase != "backoff" or play.wait < 8:
            play.wakes()
            play(TokenChanged(token()))
        if phase == "open":
            play(Opened())
    assert play.state in (phase, "authenticating")
    play.asleep += 3600
    effects = play(Woke(-inf))
    assert effects == ([] if phase == "backoff" else [Close()])
    assert play.state == "backoff"
    assert play.wait == pytest.approx(0.1)
    assert play.wakes() == [NeedToken(force=False)]


def test_a_sleep_while_signed_out_disturbs_nothing() -> None:
    play = Play()
    play(Started())
    play(TokenChanged(None))
    play.asleep += 3600
    assert play(Woke(-inf)) == []
    assert play.state == "signed_out"


def test_a_server_that_takes_and_ends_connections_sees_five_in_ten_seconds() -> None:
    play = Play()
    play.session._chance = lambda: 0.0  # the least that chance can make of each wait
    opened = []
    effects = play.open()
    while play.mono < 1010:
        opened.append(sent(effects)[0]["connectionCount"])
        play(Closed("closed with code 1000"))
        effects = play.reconnect()
    assert opened == [0, 1, 2, 3, 4]
