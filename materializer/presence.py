"""Who is signed in, whose things are shown, and who listens to what happens."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from materializer.feed import FeedStatus
from materializer.ipc.connection import Connection
from materializer.model import Account


@dataclass(slots=True)
class Presence:
    """The state of the daemon that people can read.

    Attributes:
        feed: where the feed stands.
        gap: the completion, in ms, before which the feed may hide jobs, or None.
        account: of the token that is good now, or None while signed out.
        last_owner: who was signed in last; theirs is what a signed-out person sees.
        notifications: what came of the last notification, in words, or None.
        started: when the daemon started, on the monotonic clock.
    """

    feed: FeedStatus = field(default_factory=lambda: FeedStatus("stopped", ""))
    gap: int | None = None
    account: Account | None = None
    last_owner: str | None = None
    notifications: str | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def owner(self) -> str | None:
        """Who is signed in, or None."""
        return self.account.owner if self.account else None

    @property
    def shown_owner(self) -> str | None:
        """Whose items are shown."""
        return self.owner or self.last_owner


class Events:
    """Tells the clients that asked for it what happens, as it happens."""

    def __init__(self) -> None:
        self._listeners: dict[Connection, frozenset[str]] = {}

    def emit(self, topic: str, type_: str, data: dict[str, Any]) -> None:
        """Tell everybody who listens to `topic`; never waits."""
        at = time.time_ns() // 1_000_000
        event = {"topic": topic, "type": type_, "at": at, "data": data}
        for connection, topics in list(self._listeners.items()):
            if topic in topics:
                connection.notify("event", event)

    async def listen(self, connection: Connection, topics: frozenset[str]) -> None:
        """Count a client among the listeners until cancelled."""
        self._listeners[connection] = topics
        try:
            await asyncio.Event().wait()
        finally:
            self._listeners.pop(connection, None)
