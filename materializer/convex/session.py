"""One conversation with a Convex deployment, without the socket.

    stopped ─Started─▶ asking ─token─▶ connecting ─Opened─▶ open
                         ▲  └─none, refused─▶ signed_out     │
                         └──── backoff ◀──── Closed ─────────┘

It never goes on anonymously: without a usable token there is no connection. A token
is asked for before each connection, and again before it expires.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Literal

from materializer.convex import backoff, events, messages
from materializer.convex.calls import Calls
from materializer.convex.chunks import Chunks
from materializer.convex.connections import Connections
from materializer.convex.events import Effect, Event, Moment, State
from materializer.convex.identity import Identity
from materializer.convex.queries import Queries
from materializer.convex.token import Token
from materializer.convex.words import fit
from materializer.errors import FeedMisspoke

SILENCE = 45.0  # without a byte from the server, which pings every 5 s
SLEPT = 10.0  # by which the wall clock gains on the other: a sleep, not a correction

Phase = Literal["stopped", "asking", "signed_out", "connecting", "open", "backoff"]


class Session:
    """The state machine: one event in, the effects out, nothing done.

    Args:
        session_id: a UUID, the same for all connections of this session.
        chance: gives numbers in [0, 1) that spread the attempts of many clients.

    Attributes:
        last_error: words about what went wrong last, until all is well again.
        connected_at: the wall time since which the connection stands, or None.
    """

    def __init__(self, session_id: str, chance: Callable[[], float]) -> None:
        self.last_error: str | None = None
        self.connected_at: float | None = None
        self._chance = chance
        self._effects: list[Effect] = []
        self._phase: Phase = "stopped"
        self._due = inf
        self._now = Moment(0, 0)
        self._account: str | None = None
        self._identity = Identity()
        self._queries = Queries()
        self._calls = Calls()
        self._connections = Connections(session_id)
        self._chunks = Chunks()
        self._heard = 0.0
        self._synced = False

    @property
    def state(self) -> State:
        """Where the conversation stands, in the words of `daemon.status`."""
        if self._phase == "open":
            return "live" if self._synced else "authenticating"
        return "connecting" if self._phase == "asking" else self._phase

    @property
    def connections(self) -> int:
        """How many connections have stood so far."""
        return self._connections.count

    @property
    def refused(self) -> bool:
        """Whether it is signed out because the deployment will not have the token."""
        return self._phase == "signed_out" and self._identity.refused

    @property
    def wake_at(self) -> float:
        """The `mono` at which Woke is due; infinity when only events can help."""
        if self._phase != "open":
            return self._due
        dues = self._identity.refresh_at, self._queries.retry_at
        return min(self._heard + SILENCE, *dues)

    def receive(self, event: Event, now: Moment) -> list[Effect]:
        """Take what happened; return what is to be done, in that order.

        Raises:
            ValueError: what is wanted has an unusable path, argument or key; nothing
                has changed.
        """
        before, self._now = self._now, now
        if (now.wall - now.mono) - (before.wall - before.mono) > SLEPT:
            self._awake()
        self._take(event)
        self._look_at_the_clock()
        effects, self._effects = self._effects, []
        return effects

    def _take(self, event: Event) -> None:
        match event:
            case events.Received(message):  # first: almost all are
                self._received(message)
            case events.Started():
                self._phase, self._due = "backoff", self._now.mono
            case events.QueriesWanted(queries):
                self._modify(self._queries.want(queries))
            case events.MutationWanted() | events.ActionWanted():
                self._call(event)
            case _ if self._phase == "stopped":
                pass
            case events.Stopped():
                self._leave("stopped", "the session was stopped")
            case events.Opened():
                self._opened()
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

    def _awake(self) -> None:
        """Connect anew at once: the sleep has frozen the socket, or the wait for it."""
        if self._phase in ("connecting", "open"):
            self._part("WokeUp", "the computer was asleep")
        if self._phase == "backoff":
            soon = self._now.mono + backoff.delay(
                "WokeUp", 0, self._chance(), ours=True
            )
            self._due = min(self._due, soon)

    def _ask(self, *, fresh: bool) -> None:
        force = self._identity.ask(self._now.mono, fresh=fresh)
        self._effects.append(events.NeedToken(force))

    def _token_event(
        self, event: events.TokenChanged | events.TokenUnavailable
    ) -> None:
        if isinstance(event, events.TokenChanged) and event.token:
            self._account = event.token.owner
        if isinstance(event, events.TokenUnavailable):
            self.last_error = fit(event.reason)
            if self._phase == "open":
                self._identity.refresh_later(self._now)
            elif self._phase in ("asking", "signed_out"):
                self._hold()
        elif event.token is None:
            if self._phase == "open":
                self._send(self._identity.change(None))
            self._identity.token = None
            self.last_error = "nobody is signed in"
            self._hold()
        elif self._phase == "open" and event.token == self._identity.token:
            self._identity.refresh_later(self._now)
        elif self._phase == "open":
            self._send(self._identity.change(event.token))
        elif self._phase != "backoff" or self._identity.mended_by(event.token):
            self._start_with(event.token)  # otherwise it is asked for in due time

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
        self._leave("signed_out", self.last_error or "no token")
        self._due = self._now.mono + self._identity.hold()

    def _opened(self) -> None:
        token = self._identity.token
        if self._phase != "connecting" or token is None:
            return
        self._chunks.clear()
        self._heard, self._synced = self._now.mono, False
        self._phase, self.connected_at = "open", self._now.wall
        self._send(self._connections.open(self._now.wall))
        self._send(self._identity.open(token))
        self._send(self._connections.modify(self._queries.restart()))
        self._effects += self._calls.send(token.owner)

    def _received(self, message: str | bytes) -> None:
        if self._phase != "open":
            return
        self._heard = self._now.mono
        try:
            self._hear(messages.parse(message))
        except FeedMisspoke as error:
            self._part("ProtocolViolation", str(error))

    def _hear(self, message: messages.ServerMessage) -> None:
        match self._chunks.take(message):
            case messages.Transition() as transition:
                self._transition(transition)
            case messages.Response() as response:
                self._effects += self._calls.answer(response, self._connections)
                self._settle()
            case messages.AuthError() as refusal:
                self._auth_error(refusal)
            case messages.FatalError(error):
                self._part("FatalError", fit(error))
            case _:
                pass  # the server is there

    def _transition(self, transition: messages.Transition) -> None:
        start, end = transition.start, transition.end
        self._identity.owner(end.identity)
        self._connections.follow(transition)
        for modification in transition.modifications:
            self._queries.apply(modification)
        if end.identity > start.identity and self._identity.newest(end.identity):
            self._identity.confirm(self._now)
        self._settle()

    def _settle(self) -> None:
        """Tell what is new, answers to queries before the ends of calls."""
        version = self._connections.version
        owner = self._identity.owner(version.identity)
        if owner is not None and self._queries.complete:
            self._synced = True
            if self._identity.newest(version.identity):
                self._identity.accept()
            self.last_error = self._queries.check(self._now.mono)
            if news := self._queries.news(owner):
                self._effects.append(events.Deliver(owner, *news))
        self._effects += self._calls.show(version.ts)
        if self._synced and not self._calls.overdue:
            self._connections.succeed()

    def _auth_error(self, error: messages.AuthError) -> None:
        if not self._identity.concerned(error, self._connections.version.identity):
            return  # a newer token has been sent, and is tried on reconnecting
        self._identity.refuse()
        self._part("AuthError", fit(error.error))
        self._due = self._identity.may_ask(self._due)
        if self._identity.exhausted:
            self._hold()

    def _closed(self, reason: str) -> None:
        if self._phase not in ("connecting", "open"):
            return
        self._phase = "backoff"  # so that nothing is left to close
        self._part(reason, fit(reason), ours=False)

    def _part(self, reason: str, say: str, *, ours: bool = True) -> None:
        self._leave("backoff", say)
        self.last_error = say
        if reason.startswith(backoff.HOPELESS):
            self._effects += self._calls.abandon(say)
        wait = self._connections.end(reason, self._chance(), ours=ours)
        self._due = self._now.mono + wait

    def _leave(self, phase: Phase, say: str) -> None:
        if self._phase in ("connecting", "open"):
            self._effects.append(events.Close())
        end = self._calls.drop if phase == "backoff" else self._calls.abandon
        self._effects += end(say)
        self._phase, self._due, self.connected_at = phase, inf, None

    def _modify(self, modifications: list[dict[str, Any]]) -> None:
        if self._phase == "open":
            if modifications:
                self._send(self._connections.modify(modifications))
            self._settle()

    def _call(self, wanted: events.MutationWanted | events.ActionWanted) -> None:
        self._calls.want(wanted, self._account)
        if self._phase == "open" and self._account:
            self._effects += self._calls.send(self._account)
        elif self._phase in ("stopped", "signed_out"):
            say = self.last_error or f"the session is {self._phase}"
            self._effects += self._calls.abandon(say)

    def _send(self, text: str) -> None:
        self._effects.append(events.Send(text))
