from __future__ import annotations

import json
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convex_side import Numbers, auth_error, jwt, transition
from materializer.convex.events import (
    Close,
    Closed,
    Connect,
    Deliver,
    Effect,
    Event,
    Moment,
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
from materializer.convex.messages import QueryFailure
from materializer.convex.session import Session
from materializer.convex.token import Token

WALL = 1_800_000_000.0
ADA = "https://site.test|ada"
A = QueriesWanted({"a": ("m:a", {})})
AB = QueriesWanted({"a": ("m:a", {}), "b": ("m:b", {})})


def token(mark: str = "a", sub: str = "ada", **claims: Any) -> Token:
    return Token.read(jwt(sub, mark=mark, **claims))


class Play:
    """A session on a stage: events in, effects noted, time at our command."""

    def __init__(self, wanted: QueriesWanted = A) -> None:
        self.session = Session("session", lambda: 0.5)
        self.mono = 1000.0
        self.asleep = 0.0
        self(wanted)

    def __call__(self, event: Event) -> list[Effect]:
        now = Moment(WALL + self.mono + self.asleep, self.mono)
        return self.session.receive(event, now)

    def hears(self, start: Numbers, end: Numbers, **results: Any) -> list[Effect]:
        return self(Received(transition(start, end, **results)))

    def wakes(self, heard: float = -inf) -> list[Effect]:
        """Let time pass until the session wants to be woken."""
        assert self.session.wake_at < inf
        self.mono = max(self.mono, self.session.wake_at)
        return self(Woke(heard))

    def open(self, with_token: Token | None = None) -> list[Effect]:
        """Start, and go on until the connection stands."""
        assert self(Started()) == [NeedToken(force=False)]
        assert self(TokenChanged(with_token or token())) == [Connect()]
        return self(Opened())

    def reconnect(self, with_token: Token | None = None) -> list[Effect]:
        """Wait the backoff out and open again."""
        assert self.wakes() == [NeedToken(force=False)]
        assert self(TokenChanged(with_token or token())) == [Connect()]
        return self(Opened())

    @property
    def wait(self) -> float:
        return self.session.wake_at - self.mono

    @property
    def state(self) -> str:
        return self.session.state


def live(wanted: QueriesWanted = A, **claims: Any) -> Play:
    """A session whose query `a` has been answered with "x"."""
    play = Play(wanted)
    play.open(token(**claims))
    names = ["q0", "q1"][: len(wanted.queries)]
    play.hears((0, 0, 0), (1, 1, 1), **dict.fromkeys(names, "x"))
    assert play.state == "live"
    return play


def sent(effects: list[Effect]) -> list[dict[str, Any]]:
    return [json.loads(e.text) for e in effects if isinstance(e, Send)]


def kinds(effects: list[Effect]) -> list[str]:
    return [
        json.loads(e.text)["type"] if isinstance(e, Send) else type(e).__name__
        for e in effects
    ]


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
    play = Play()
    effects = play(Started()) + play(AB) + play(TokenChanged(token())) + play(A)
    assert kinds(effects) == ["NeedToken", "Connect"]
    assert len(sent(play(Opened()))[2]["modifications"]) == 1


def test_without_a_token_it_holds_the_connection_and_asks_more_and_more_rarely() -> (
    None
):
    play = Play()
    play(Started())
    assert play(TokenChanged(None)) == []
    assert (play.state, play.wait) == ("signed_out", 5)
    assert play.wakes() == [NeedToken(force=False)]
    assert play.state == "signed_out"
    assert play(TokenChanged(None)) == []
    assert play.wait == 10
    assert play(TokenChanged(token())) == [Connect()]


def test_a_token_source_in_trouble_is_told_and_asked_again() -> None:
    play = Play()
    play(Started())
    assert play(TokenUnavailable("the command failed")) == []
    assert play.session.last_error == "the command failed"
    assert play.wakes() == [NeedToken(force=False)]


# Results


def test_results_come_once_all_queries_are_answered_for_somebody() -> None:
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
    play = live()
    [modify] = sent(play(AB))
    assert (modify["baseVersion"], modify["newVersion"]) == (1, 2)
    assert play(AB) == []
    assert play.hears((1, 1, 1), (2, 1, 2), q1="y") == [
        Deliver(ADA, {"a": "x", "b": "y"}, first=False)
    ]


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


def chunk(text: str, part: int, total: int = 2) -> Received:
    return Received(
        json.dumps(
            {
                "type": "TransitionChunk",
                "chunk": text,
                "partNumber": part,
                "totalParts": total,
                "transitionId": "9",
            }
        )
    )


def test_a_transition_in_pieces_is_put_together_with_pings_between() -> None:
    play = live()
    text = transition((1, 1, 1), (1, 1, 2), q0="big")
    assert play(chunk(text[:50], 0)) == []
    assert play(Received('{"type":"Ping"}')) == []
    assert play(chunk(text[50:], 1)) == [Deliver(ADA, {"a": "big"}, first=False)]


def test_another_message_between_pieces_counts_and_drops_them() -> None:
    play = live()
    text = transition((1, 1, 2), (1, 1, 3), q0="big")
    play(chunk(text[:50], 0))
    assert play.hears((1, 1, 1), (1, 1, 2), q0="y") != []
    assert play(chunk(text[50:], 1)) == [Close()]


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


# Reconnecting


def test_a_new_connection_tells_of_the_old_one_and_starts_over() -> None:
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


# Time


def test_silence_ends_the_connection_and_anything_heard_extends_it() -> None:
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
    assert play.wait <= 15
    play.mono += 1
    play.asleep = 3600
    assert play(Woke(play.mono)) == [Close()]
    assert play.wait == pytest.approx(0.1)


def test_a_clock_that_is_set_a_little_does_no_harm() -> None:
    play = live()
    for play.asleep in (20, 40, -5000):
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
    play.mono += 5
    assert play(Woke(play.mono)) == [NeedToken(force=True)]
    assert play(TokenChanged(token(iat=now - 250, exp=now + 50))) == []
    assert play.state == "live"
    play.mono += 22.5
    assert play(Woke(play.mono)) == [NeedToken(force=True)]


def test_a_failed_refresh_keeps_the_connection_and_is_repeated() -> None:
    now = WALL + 1000
    play = live(iat=now - 250, exp=now + 50)
    play.mono += 5
    play(Woke(play.mono))
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
