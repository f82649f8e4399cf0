from __future__ import annotations

import json
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_play import AB, ADA, WALL, A, Play, kinds, live, sent, token
from convex_side import auth_error, transition
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
    Send,
    Started,
    Stopped,
    TokenChanged,
    TokenUnavailable,
    Woke,
)

# Opening


def test_nothing_happens_before_it_is_started() -> None:
    play = Play()
    assert play(TokenChanged(token())) == []
    assert play(Opened()) == []
    assert (play.state, play.session.wake_at) == ("stopped", inf)


def test_it_opens_with_connect_authenticate_and_all_queries_in_one_go() -> None:
    effects = Play(AB).open()
    connect, authenticate, modify = sent(effects)
    assert len(effects) == 3
    assert connect == {
        "type": "Connect",
        "sessionId": "session",
        "connectionCount": 0,
        "lastCloseReason": "InitialConnect",
        "clientTs": int((WALL + 1000) * 1000),
    }
    assert authenticate == {
        "type": "Authenticate",
        "baseVersion": 0,
        "tokenType": "User",
        "value": token().value,
    }
    assert (modify["baseVersion"], modify["newVersion"]) == (0, 1)
    assert [m["udfPath"] for m in modify["modifications"]] == ["m:a", "m:b"]


def test_nothing_is_sent_before_the_connection_stands() -> None:
    """C3."""
    play = Play()
    effects = play(Started()) + play(AB) + play(TokenChanged(token())) + play(A)
    assert kinds(effects) == ["NeedToken", "Connect"]
    assert len(sent(play(Opened()))[2]["modifications"]) == 1


def test_with_nothing_to_ask_the_query_set_is_empty_but_said() -> None:
    """C1."""
    effects = Play(QueriesWanted({})).open()
    assert kinds(effects) == ["Connect", "Authenticate", "ModifyQuerySet"]
    assert sent(effects)[2]["modifications"] == []


def test_without_a_token_it_holds_the_connection_and_asks_more_and_more_rarely() -> (
    None
):
    play = Play()
    play(Started())
    assert play(TokenChanged(None)) == []
    assert (play.state, play.wait) == ("signed_out", 10)
    assert play.wakes() == [NeedToken(force=False)]
    assert play.state == "signed_out"
    assert play(TokenChanged(None)) == []
    assert play.wait == 20
    assert play(TokenChanged(token())) == [Connect()]


def test_a_token_source_in_trouble_is_told_and_asked_again() -> None:
    play = Play()
    play(Started())
    assert play(TokenUnavailable("the command failed")) == []
    assert play.session.last_error == "the command failed"
    assert play.wakes() == [NeedToken(force=False)]


# Time


def test_silence_ends_the_connection_and_anything_heard_extends_it() -> None:
    """C47: pings count, which is better than waiting for messages only."""
    play = live()
    start = play.mono
    while play.mono < start + 44:
        assert play.wakes(heard=start + 10) == []
    play.mono = start + 54
    assert play(Woke(start + 10)) == []
    play.mono = start + 55
    assert play(Woke(start + 10)) == [Close()]
    assert sent(play.reconnect())[0]["lastCloseReason"] == "InactiveServer"


def test_a_sleep_of_the_computer_ends_the_connection_at_once() -> None:
    play = live()
    play.mono += 1
    play.asleep = 3600
    assert play(Woke(play.mono)) == [Close()]
    assert play.wait == pytest.approx(0.1)


def test_a_clock_that_is_set_a_little_does_no_harm() -> None:
    play = live()
    for play.asleep in (5, 12, -5000):
        assert play(Woke(play.mono)) == []
    assert play.state == "live"


# Tokens


def test_a_fresh_token_is_asked_for_90_seconds_before_the_end() -> None:
    now = WALL + 1000
    play = live(iat=now, exp=now + 300)
    asked: list[Effect] = []
    while not asked:
        asked = play.wakes(heard=play.mono + 15)
    assert asked == [NeedToken(force=True)]
    assert play.mono == 1210
    fresh = token("b", iat=now + 210, exp=now + 510)
    [authenticate] = sent(play(TokenChanged(fresh)))
    assert (authenticate["baseVersion"], authenticate["value"]) == (1, fresh.value)
    assert play.hears((1, 1, 1), (1, 2, 2)) == []
    assert play.state == "live"


def test_the_same_token_again_is_no_news_and_no_failure() -> None:
    now = WALL + 1000
    play = live(iat=now - 250, exp=now + 50)
    play.mono += 10
    assert play(Woke(play.mono)) == [NeedToken(force=True)]
    assert play(TokenChanged(token(iat=now - 250, exp=now + 50))) == []
    assert play.state == "live"
    play.mono += 22.5
    assert play(Woke(play.mono)) == [NeedToken(force=True)]


def test_a_failed_refresh_keeps_the_connection_and_is_repeated() -> None:
    now = WALL + 1000
    play = live(iat=now - 250, exp=now + 50)
    play.mono += 10
    assert play(Woke(play.mono)) == [NeedToken(force=True)]
    assert play(TokenUnavailable("offline")) == []
    assert play.state == "live"
    play.mono += 22.5
    assert play(Woke(play.mono)) == [NeedToken(force=True)]


def test_signing_out_is_said_to_the_server_and_holds_the_connection() -> None:
    play = live()
    effects = play(TokenChanged(None))
    assert kinds(effects) == ["Authenticate", "Close"]
    assert sent(effects)[0]["tokenType"] == "None"
    assert play.state == "signed_out"
    assert play(Closed("late")) == []
    assert play(TokenChanged(token())) == [Connect()]


@pytest.mark.parametrize("phase", ["connecting", "backoff"])
def test_signing_out_while_away_stops_connecting(phase: str) -> None:
    play = live()
    play(Closed("gone"))
    if phase == "connecting":
        play.wakes()
        play(TokenChanged(token()))
    assert (Close() in play(TokenChanged(None))) == (phase == "connecting")
    assert play.state == "signed_out"


def test_another_account_gets_its_own_first_results() -> None:
    play = live()
    play(TokenChanged(token(sub="bob")))
    assert play.hears((1, 1, 1), (1, 1, 2), q0="still ada's") == [
        Deliver(ADA, {"a": "still ada's"}, first=False)
    ]
    assert play.hears((1, 1, 2), (1, 2, 3)) == [
        Deliver("https://site.test|bob", {"a": "still ada's"}, first=True)
    ]


def test_a_refused_token_is_replaced_by_a_fresh_one() -> None:
    play = Play()
    play.open()
    assert play(Received(auth_error(0, error="expired"))) == [Close()]
    assert play.session.last_error == "expired"
    assert play.wakes() == [NeedToken(force=True)]
    assert play(TokenChanged(token("b"))) == [Connect()]
    assert sent(play(Opened()))[1]["value"] == token("b").value
    assert play.hears((0, 0, 0), (1, 1, 1), q0="x") != []


def test_the_same_token_refused_again_is_signed_out_without_a_loop() -> None:
    play = Play()
    play.open()
    play(Received(auth_error(0, error="bad signature")))
    play.wakes()
    for _ in range(10):
        assert play(TokenChanged(token())) == []
        assert play.state == "signed_out"
        assert play.wakes() == [NeedToken(force=True)]
    assert play.session.last_error == "bad signature"
    assert play(TokenChanged(token("b"))) == [Connect()]


def test_when_every_token_is_refused_it_gives_up_after_three() -> None:
    play = Play()
    play.open(token("0"))
    began = play.mono
    for attempt in "12":
        play(Received(auth_error(0)))
        assert play.wakes() == [NeedToken(force=True)]
        assert play(TokenChanged(token(attempt))) == [Connect()]
        play(Opened())
    play(Received(auth_error(0)))
    assert play.state == "signed_out"
    assert play.mono - began >= 5  # fresh tokens are not asked for in a hurry
    assert play.wait == pytest.approx(300)


def test_refusals_long_past_do_not_count() -> None:
    play = Play()
    play.open()
    for mark in "bcde":
        play(Received(auth_error(0)))
        assert play.state == "backoff"
        assert play.wakes() == [NeedToken(force=True)]
        assert play(TokenChanged(token(mark))) == [Connect()]
        play(Opened())
        play.hears((0, 0, 0), (1, 1, 1), q0="x")


def test_an_identity_that_expired_is_renewed() -> None:
    play = live()
    assert play(Received(auth_error(1, attempted=False))) == [Close()]
    assert play.wakes() == [NeedToken(force=True)]


def test_an_error_about_an_earlier_token_is_left_to_the_newer_one() -> None:
    play = live()
    play(TokenChanged(token("b")))
    assert play(Received(auth_error(1, attempted=False))) == []
    assert play(Received(auth_error(0))) == []
    assert play.state == "live"
    play(Closed("closed with code 1005"))
    assert sent(play.reconnect(token("b")))[1]["value"] == token("b").value


def test_stopping_closes_and_is_final() -> None:
    """C4."""
    play = live()
    assert play(Stopped()) == [Close()]
    assert play(TokenChanged(token("b"))) == []
    assert (play.state, play.session.wake_at) == ("stopped", inf)


# Whatever happens

happenings = st.one_of(
    st.sampled_from(
        [
            Opened(),
            Closed("gone"),
            TokenChanged(None),
            TokenChanged(token("a")),
            TokenChanged(token("b")),
            TokenChanged(token("c", sub="bob")),
            TokenUnavailable("offline"),
            A,
            AB,
            Received("garbage"),
            Received('{"type":"Ping"}'),
            Received(auth_error(0)),
            Received(auth_error(1, attempted=False)),
            Received(transition((0, 0, 0), (1, 1, 1), q0="x", q1="y")),
            Received(transition((1, 1, 1), (1, 1, 2), q0="z")),
        ]
    ),
    st.integers(0, 400),
)


@given(st.lists(happenings, max_size=40))
def test_in_any_order_of_events_the_protocol_is_kept(script: list[Any]) -> None:
    play = Play()
    effects = play(Started())
    connected = False
    for step in script:
        before = len(effects)
        if isinstance(step, int):
            play.mono += step
            step = Woke(play.mono - 20)
        if isinstance(step, Opened | Closed | Received) and not connected:
            continue
        effects += play(step)
        connected = connected and not isinstance(step, Closed)
        for effect in effects[before:]:
            connected = isinstance(effect, Connect) or (
                connected and not isinstance(effect, Close)
            )
            if isinstance(effect, Send):
                assert play.session.connections > 0
    check_conversations(effects)


def check_conversations(effects: list[Effect]) -> None:
    """Each connection opens in order and its versions never leave the chain."""
    query_set = identity = 0
    last = ""
    for effect in effects:
        if isinstance(effect, Connect):
            query_set = identity = 0
            last = "start"
        if not isinstance(effect, Send):
            continue
        message = json.loads(effect.text)
        if message["type"] == "Connect":
            assert last == "start"
        elif message["type"] == "Authenticate":
            assert message["baseVersion"] == identity
            assert identity > 0 or last == "Connect"
            identity += 1
        else:
            assert message["baseVersion"] == query_set
            assert query_set > 0 or last == "Authenticate"
            query_set += 1
        last = message["type"]
