"""One conversation with a Convex deployment, without the socket.

    stopped ─Started─▶ asking ─token─▶ connecting ─Opened─▶ open
                         ▲  └─none, refused─▶ signed_out     │
                         └──── backoff ◀──── Closed ─────────┘

It never goes on anonymously: without a usable token there is no connection. A token
is asked for before each connection, and again before it expires.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Literal

from materializer.convex import backoff, events, requests
from materializer.convex.chunks import Chunks
from materializer.convex.events import Effect, Event, Moment, State
from materializer.convex.identity import Identity
from materializer.convex.messages import (
    AuthError,
    FatalError,
    Ping,
    Response,
    ServerMessage,
    Transition,
    TransitionChunk,
    Version,
    parse,
)
from materializer.convex.queries import Queries, Result
from materializer.convex.token import Token
from materializer.convex.words import fit
from materializer.errors import FeedMisspoke

SILENCE = 45.0  # without a byte from the server, which pings every 5 s
GLANCE = 15.0  # between looks at the clock for a sleep that froze the socket
SLEPT = 30.0

Phase = Literal["stopped", "asking", "signed_out", "connecting", "open", "backoff"]


class Session:
    """The state machine: one event in, the effects out, nothing done.

    Args:
        session_id: a UUID, the same for all connections of this session.
        chance: gives numbers in [0, 1) that spread the attempts of many clients.

    Attributes:
        last_error: words about what went wrong last, until all is well again.
        connected_at: the wall time since which the connection stands, or None.
        connections: how many have stood so far.
    """

    def __init__(self, session_id: str, chance: Callable[[], float]) -> None:
        self.last_error: str | None = None
        self.connected_at: float | None = None
        self.connections = 0
        self._session_id = session_id
        self._chance = chance
        self._effects: list[Effect] = []
        self._phase: Phase = "stopped"
        self._due = inf
        self._now = Moment(0, 0)
        self._identity = Identity()
        self._queries = Queries()
        self._close_reason: str | None = "InitialConnect"
        self._failures = 0
        self._max_observed: int | None = None
        self._begin()

    def _begin(self) -> None:
        """Set what every connection starts with."""
        self._version = Version()
        self._query_set = 0
        self._chunks = Chunks()
        self._heard = self._now.mono
        self._synced = False
        self._delivered: tuple[str, Mapping[str, Result]] | None = None

    @property
    def state(self) -> State:
        """Where the conversation stands, in the words of `daemon.status`."""
        if self._phase == "open":
            return "live" if self._synced else "authenticating"
        return "connecting" if self._phase == "asking" else self._phase

    @property
    def wake_at(self) -> float:
        """The `mono` at which Woke is due; infinity when only events can help."""
        if self._phase != "open":
            return self._due
        dues = self._identity.refresh_at, self._queries.retry_at
        return min(self._now.mono + GLANCE, self._heard + SILENCE, *dues)

    def receive(self, event: Event, now: Moment) -> list[Effect]:
        """Take what happened; return what is to be done, in that order.

        Raises:
            ValueError: QueriesWanted has an unusable path or argument; nothing has
                changed.
        """
        before, self._now = self._now, now
        slept = (now.wall - now.mono) - (before.wall - before.mono) > SLEPT
        if slept and self._phase == "open":
            self._part("WokeUp", "the computer was asleep")
        self._take(event)
        self._look_at_the_clock()
        effects, self._effects = self._effects, []
        return effects

    def _take(self, event: Event) -> None:
        match event:
            case events.Started():
                self._phase, self._due = "backoff", self._now.mono
            case events.QueriesWanted(queries):
                self._modify(self._queries.want(queries))
                self._settle()
            case _ if self._phase == "stopped":
                pass
            case events.Stopped():
                self._leave("stopped")
            case events.Opened():
                self._opened()
            case events.Received(message):
                self._received(message)
            case events.Closed(reason):
                self._closed(reason)
            case events.Woke(heard):
                self._heard = max(self._heard, heard)
            case _:
                self._token_event(event)

    def _look_at_the_clock(self) -> None:
        mono = self._now.mono
        if self._phase == "open":
            if mono >= self._heard + SILENCE:
                self._part("InactiveServer", f"the server was silent for {SILENCE:g} s")
            elif mono >= self._identity.refresh_at:
                self._ask(fresh=True)
            elif mono >= self._queries.retry_at:
                self._modify(self._queries.ask_again())
        elif mono >= self._due:
            self._due = inf
            if self._phase == "backoff":
                self._phase = "asking"
            self._ask(fresh=False)

    def _ask(self, *, fresh: bool) -> None:
        force = self._identity.ask(self._now.mono, fresh=fresh)
        self._effects.append(events.NeedToken(force))

    def _token_event(
        self, event: events.TokenChanged | events.TokenUnavailable
    ) -> None:
        if isinstance(event, events.TokenUnavailable):
            self.last_error = fit(event.reason)
            if self._phase == "open":
                self._identity.refresh_later(self._now)
            elif self._phase in ("asking", "signed_out"):
                self._hold()
        elif event.token is None:
            if self._phase == "open":
                self._send(self._identity.change(None))
            self.last_error = "nobody is signed in"
            self._hold()
        elif self._phase == "open" and event.token == self._identity.token:
            self._identity.refresh_later(self._now)
        elif self._phase == "open":
            self._send(self._identity.change(event.token))
        elif self._phase != "backoff":  # in which it is asked for in due time
            self._start_with(event.token)

    def _start_with(self, token: Token) -> None:
        if not self._identity.usable(token):
            self._hold()
        else:
            self._identity.token = token
            if self._phase != "connecting":
                self._phase, self._due = "connecting", inf
                self._effects.append(events.Connect())

    def _hold(self) -> None:
        """Wait for a usable token, asking for it ever more rarely."""
        self._leave("signed_out")
        self._due = self._now.mono + self._identity.hold()

    def _opened(self) -> None:
        token = self._identity.token
        if self._phase != "connecting" or token is None:
            return
        self._begin()
        self._phase, self.connected_at = "open", self._now.wall
        said = self.connections, self._close_reason, self._max_observed
        now_ms = int(self._now.wall * 1000)
        self._send(requests.connect(self._session_id, *said, now_ms))
        self._send(self._identity.open(token))
        self._send(requests.modify_query_set(0, self._queries.restart()))
        self._query_set = 1
        self._close_reason = None  # the first reason after this counts
        self.connections += 1

    def _received(self, message: str | bytes) -> None:
        if self._phase != "open":
            return
        self._heard = self._now.mono
        try:
            self._hear(parse(message))
        except FeedMisspoke as error:
            self._part("ProtocolViolation", str(error))

    def _hear(self, message: ServerMessage) -> None:
        if not isinstance(message, Ping | TransitionChunk):
            self._chunks.clear()
        match message:
            case TransitionChunk():
                if whole := self._chunks.add(message):
                    self._transition(whole)
            case Transition():
                self._transition(message)
            case AuthError():
                self._auth_error(message)
            case FatalError(error):
                self._part("FatalError", fit(error))
            case Ping() | Response():
                pass  # nobody has asked for the latter, which is to be ignored

    def _transition(self, transition: Transition) -> None:
        start, end = transition.start, transition.end
        if start != self._version:
            raise FeedMisspoke("the server sent a Transition that does not follow")
        if not start.reaches(end) or end.query_set > self._query_set:
            raise FeedMisspoke("the server sent a Transition to an impossible version")
        self._identity.owner(end.identity)
        for modification in transition.modifications:
            self._queries.apply(modification)
        self._version = end
        self._max_observed = max(self._max_observed or 0, end.ts)
        if end.identity > start.identity and self._identity.newest(end.identity):
            self._identity.confirm(self._now)
        self._settle()

    def _settle(self) -> None:
        """Deliver what there is, once it is all there and somebody's."""
        owner = self._identity.owner(self._version.identity)
        if self._phase != "open" or owner is None or not self._queries.complete:
            return
        self._synced = True
        self._failures = 0
        if self._identity.newest(self._version.identity):
            self._identity.accept()
        self.last_error = self._queries.check(self._now.mono)
        before, latest = self._delivered, (owner, self._queries.results)
        if latest[1] and latest != before:
            first = before is None or before[0] != owner
            self._effects.append(events.Deliver(*latest, first))
            self._delivered = latest

    def _auth_error(self, error: AuthError) -> None:
        if not self._identity.concerned(error, self._version.identity):
            return  # a newer token has been sent, and is tried on reconnecting
        self._identity.refuse()
        self._part("AuthError", fit(error.error))
        self._due = self._identity.may_ask(self._due)
        if self._identity.exhausted:
            self._hold()

    def _closed(self, reason: str) -> None:
        if self._phase not in ("connecting", "open"):
            return
        if self._version == Version() and reason.startswith("InternalServerError"):
            # A deployment that has lost its data refuses to be behind the client.
            self._max_observed = None
        self._phase = "backoff"  # so that nothing is left to close
        self._part(reason, fit(reason))

    def _part(self, reason: str, say: str) -> None:
        self._leave("backoff")
        self.last_error = say
        if self._close_reason is None:
            self._close_reason = reason
        wait = backoff.delay(reason, self._failures, self._chance())
        self._failures += 1
        self._due = self._now.mono + wait

    def _leave(self, phase: Phase) -> None:
        if self._phase in ("connecting", "open"):
            self._effects.append(events.Close())
        self._phase, self._due, self.connected_at = phase, inf, None

    def _modify(self, modifications: list[dict[str, Any]]) -> None:
        if modifications and self._phase == "open":
            self._send(requests.modify_query_set(self._query_set, modifications))
            self._query_set += 1

    def _send(self, text: str) -> None:
        self._effects.append(events.Send(text))
