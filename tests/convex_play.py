"""A session on a stage: events in, effects noted, time at our command."""

from __future__ import annotations

import json
from math import inf
from typing import Any

from convex_side import Numbers, jwt, transition
from materializer.convex.events import (
    Connect,
    Effect,
    Event,
    Moment,
    NeedToken,
    Opened,
    QueriesWanted,
    Received,
    Send,
    Started,
    TokenChanged,
    Woke,
)
from materializer.convex.session import Session
from materializer.convex.token import Token

WALL = 1_800_000_000.0
ADA = "https://site.test|ada"
A = QueriesWanted({"a": ("m:a", {})})
AB = QueriesWanted({"a": ("m:a", {}), "b": ("m:b", {})})


def token(mark: str = "a", sub: str = "ada", **claims: Any) -> Token:
    return Token.read(jwt(sub, mark=mark, **claims))


class Play:
    """One session, and the moment at which it is."""

    def __init__(self, wanted: QueriesWanted = A) -> None:
        self.chance = 0.5
        self.session = Session("session", lambda: self.chance)
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
