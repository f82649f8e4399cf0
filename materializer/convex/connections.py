"""The connections of a session: how each began, stands and ended."""

from __future__ import annotations

from collections.abc import Sequence

from materializer.convex import backoff, requests
from materializer.convex.messages import Transition, Version
from materializer.errors import FeedMisspoke


class Connections:
    """What is known of all connections, and where the present one stands.

    Args:
        session_id: a UUID, by which the deployment knows the session again.

    Attributes:
        count: how many there have been.
        version: what the deployment has told of last.
    """

    def __init__(self, session_id: str) -> None:
        self.count = 0
        self.version = Version()
        self._session_id = session_id
        self._query_set = 0
        self._observed: int | None = None
        self._close_reason: str | None = "InitialConnect"
        self._failures = 0

    def open(self, wall: float) -> str:
        """Begin the next one; return its first message."""
        said = self.count, self._close_reason, self._observed
        self.count += 1
        self.version, self._query_set = Version(), 0
        self._close_reason = None  # the first reason after this counts
        return requests.connect(self._session_id, *said, int(wall * 1000))

    def modify(self, modifications: Sequence[object]) -> str:
        """Return the next step of the query set."""
        self._query_set += 1
        return requests.modify_query_set(self._query_set - 1, modifications)

    def follow(self, transition: Transition) -> None:
        """Go on to the end of a Transition.

        Raises:
            FeedMisspoke: it does not follow what came before; nothing has changed.
        """
        start, end = transition.start, transition.end
        if start != self.version:
            raise FeedMisspoke("the server sent a Transition that does not follow")
        if not start.reaches(end) or end.query_set > self._query_set:
            raise FeedMisspoke("the server sent a Transition to an impossible version")
        self.version = end
        self.observe(end.ts)

    def observe(self, ts: int) -> None:
        """Note how far the deployment's data have come."""
        self._observed = max(self._observed or 0, ts)

    def end(self, reason: str, chance: float, *, ours: bool) -> float:
        """Note why it ended or was not made; return the seconds until the next.

        `ours` is whether we have ended it.
        """
        if self.version == Version() and reason.startswith("InternalServerError"):
            # A deployment that has lost its data refuses to be behind the client.
            self._observed = None
        if self._close_reason is None:
            self._close_reason = reason
        self._failures += 1
        return backoff.delay(reason, self._failures - 1, chance, ours=ours)

    def succeed(self) -> None:
        """Note that all is as it was before the last one ended."""
        self._failures = 0
