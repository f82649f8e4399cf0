"""Who is signed in, whose things are shown, and who listens and shows them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from materializer.feed import FeedStatus
from materializer.ipc import jsonlines
from materializer.ipc.connection import Connection
from materializer.model import Account


@dataclass(slots=True)
class Presence:
    """The state of the daemon that people can read.

    Whoever changes `feed` or `account` calls `changed`.

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
    _bell: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _ends: dict[asyncio.Timeout, Account] = field(default_factory=dict, repr=False)

    @property
    def owner(self) -> str | None:
        """Who is signed in, or None."""
        return self.account.owner if self.account else None

    @property
    def shown_owner(self) -> str | None:
        """Whose items are shown."""
        return self.owner or self.last_owner

    @property
    def asker(self) -> Account | None:
        """On whose behalf the feed can be asked, or None while signed out."""
        return None if self.feed.refused else self.account

    def changed(self) -> None:
        """Let those who wait for somebody to come, or to go, look again."""
        self._bell.set()
        self._bell = asyncio.Event()
        now = asyncio.get_running_loop().time()
        for end in [end for end, whose in self._ends.items() if whose != self.asker]:
            del self._ends[end]
            end.reschedule(now)

    async def changes(self) -> AsyncIterator[None]:
        """Yield at once, and after each change; several may be one."""
        while True:
            bell = self._bell
            yield
            await bell.wait()

    async def known(self) -> None:
        """Return when it is known who is signed in, or that nobody is."""
        while self.account is None and self.feed.state != "signed_out":
            await self._bell.wait()

    @asynccontextmanager
    async def during(self, account: Account) -> AsyncIterator[None]:
        """Do something for as long as the feed can be asked on this account's behalf.

        Raises:
            TimeoutError: it no longer can.
        """
        async with asyncio.timeout(None) as end:
            self._ends[end] = account
            try:
                yield
            finally:
                self._ends.pop(end, None)


class Pages:
    """The pages on which clients show what there is, in a browser of this computer."""

    def __init__(self) -> None:
        self._open: list[str] = []

    @property
    def newest(self) -> str | None:
        """The address of the one that came last, or None; from any thread."""
        return next(reversed(self._open), None)

    async def keep(self, address: str) -> None:
        """Count a page among them until cancelled."""
        self._open.append(address)
        try:
            await asyncio.Event().wait()
        finally:
            self._open.remove(address)


class Events:
    """Tells the clients that asked for it what happens, as it happens."""

    def __init__(self) -> None:
        self._listeners: dict[Connection, frozenset[str] | None] = {}

    def emit(self, topic: str, type_: str, data: dict[str, Any]) -> None:
        """Tell everybody who listens to `topic`; never waits."""
        at = time.time_ns() // 1_000_000
        event = {"topic": topic, "type": type_, "at": at, "data": data}
        line = jsonlines.notification("event", event)
        for connection, topics in list(self._listeners.items()):
            if topics is None or topic in topics:
                connection.tell(line)

    async def listen(
        self, connection: Connection, topics: frozenset[str] | None
    ) -> None:
        """Count a client among the listeners until cancelled; None is all topics."""
        self._listeners[connection] = topics
        try:
            await asyncio.Event().wait()
        finally:
            self._listeners.pop(connection, None)
