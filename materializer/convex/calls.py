"""Mutations and actions: what was asked for, and what became of it.

A mutation goes out again on each new connection, under its first id, until queries show
what it did: the deployment remembers which ids of a session it has carried out. An
action goes out once, since nobody can tell whether one without an answer was carried
out. Optimistic updates, which show a mutation's effect before its answer, are left to
whoever shows things.
"""

from __future__ import annotations

from dataclasses import dataclass

from materializer.convex import requests
from materializer.convex.connections import Connections
from materializer.convex.events import (
    ActionWanted,
    Effect,
    Lost,
    MutationWanted,
    Outcome,
    Returned,
    Send,
    Settled,
    Threw,
)
from materializer.convex.messages import Response
from materializer.convex.paths import canonical_path
from materializer.errors import FeedMisspoke


@dataclass(slots=True)
class _Call:
    """One mutation or action.

    Attributes:
        owner: the account it is for, or None while that is whoever signs in first.
        times: how often it has gone out.
        out: whether it has gone out on this connection.
        returned: its value, while the queries do not show yet what it did at `ts`.
    """

    key: str
    text: str
    mutation: bool
    owner: str | None
    times: int = 0
    out: bool = False
    returned: Returned | None = None
    ts: int = 0


class Calls:
    """The pending mutations and actions of one session, over all its connections.

    An id is never used twice: the deployment would take the second for the first.
    """

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}
        self._next_id = 0

    def want(self, wanted: MutationWanted | ActionWanted, owner: str | None) -> None:
        """Take a call on behalf of an account.

        Raises:
            ValueError: its key is pending, its path or an argument is unusable;
                nothing has changed.
        """
        if any(call.key == wanted.key for call in self._calls.values()):
            raise ValueError("a mutation or action of that key is pending")
        mutation = isinstance(wanted, MutationWanted)
        path = canonical_path(wanted.path)
        text = requests.call(self._next_id, path, wanted.args, mutation=mutation)
        self._calls[self._next_id] = _Call(wanted.key, text, mutation, owner)
        self._next_id += 1

    def send(self, owner: str) -> list[Effect]:
        """Send what has not gone out on this connection, which is the account's."""
        effects: list[Effect] = []
        for request_id, call in list(self._calls.items()):
            if call.out:
                continue
            if call.owner not in (None, owner):
                effects.append(self._lose(request_id, "another account has signed in"))
                continue
            call.owner, call.out = owner, True
            call.times += 1
            effects.append(Send(call.text))
        return effects

    def answer(self, response: Response, connections: Connections) -> list[Effect]:
        """Take an answer; one that nobody waits for is ignored.

        Raises:
            FeedMisspoke: it answers a mutation as an action, or the reverse.
        """
        call = self._calls.get(response.request_id)
        if call is None or call.returned:
            return []
        if call.mutation != response.mutation:
            raise FeedMisspoke("the server sent an answer of the wrong kind")
        if not response.success:
            threw = Threw(str(response.result), response.data)
            return [self._settle(response.request_id, threw)]
        call.returned, call.ts = Returned(response.result), response.ts
        connections.observe(response.ts)
        return []

    def show(self, ts: int) -> list[Effect]:
        """Settle what queries show from now on, the oldest first."""
        return [
            self._settle(request_id, call.returned)
            for request_id, call in list(self._calls.items())
            if call.returned and call.ts <= ts
        ]

    def drop(self, reason: str) -> list[Effect]:
        """Settle the actions that an ended connection leaves without an answer."""
        effects: list[Effect] = []
        for request_id, call in list(self._calls.items()):
            if call.out and not call.mutation:
                effects.append(self._lose(request_id, reason))
            call.out = False
        return effects

    def abandon(self, reason: str) -> list[Effect]:
        """Settle everything: nothing will be answered any more."""
        return [self._lose(request_id, reason) for request_id in list(self._calls)]

    @property
    def overdue(self) -> bool:
        """Whether one of an earlier connection has not settled on this one."""
        return any(call.times > 1 for call in self._calls.values())

    def _lose(self, request_id: int, reason: str) -> Settled:
        call = self._calls[request_id]
        # Of a success it only stays unknown when the queries will show it.
        return self._settle(request_id, call.returned or Lost(reason, call.times > 0))

    def _settle(self, request_id: int, outcome: Outcome) -> Settled:
        return Settled(self._calls.pop(request_id).key, outcome)
