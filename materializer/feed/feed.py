"""The feed's hands: connects, keeps time, asks for tokens, passes snapshots on.

What to do is the session's to decide. Snapshots go into a mailbox of one, since a
newer one replaces an older.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

from materializer.convex import events
from materializer.convex.events import Moment, State
from materializer.convex.session import Session
from materializer.convex.token import Token
from materializer.errors import MaterializerError
from materializer.feed.line import Line, sync_uri
from materializer.media_jobs import read_snapshot, wanted
from materializer.model import Snapshot


class TokenSource(Protocol):
    """What the feed wants of credentials."""

    async def current(self, *, force: bool) -> Token | None:
        """Return the token, or None when nobody is signed in."""

    def changes(self) -> AsyncIterator[None]:
        """Yield whenever it is worth asking again."""


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """Where the feed stands, as in `daemon.status`; times are ms since 1970."""

    state: State
    url: str
    connected_at: int | None = None
    reconnects: int = 0
    last_error: str | None = None


class Feed:
    """The subscriptions to one deployment, kept alive for as long as `run` runs.

    Args:
        url: of the deployment, as `address.convex_url` gives it.
        credentials: where tokens come from.
        client_version: of this program, told to the deployment.
        on_status: called with each new status, from the event loop.
        wall: tells the seconds since 1970.
        chance: gives numbers in [0, 1) that spread reconnections.
    """

    def __init__(
        self,
        url: str,
        credentials: TokenSource,
        client_version: str,
        *,
        on_status: Callable[[FeedStatus], None] = lambda status: None,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.status = FeedStatus("stopped", url)
        self._uri = sync_uri(url)
        self._credentials = credentials
        self._client = f"stella-{client_version}"
        self._on_status = on_status
        self._wall = wall
        self._session = Session(str(uuid.uuid4()), chance)
        self._mailbox = _Mailbox()
        self._complaint: str | None = None
        self._line: Line | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._rescheduled = asyncio.Event()

    def want(
        self,
        since_succeeded: int,
        since_failed: int,
        extra_job_ids: Iterable[str] = (),
    ) -> None:
        """Choose what to subscribe to, at any time.

        Args:
            since_succeeded: ms; succeeded jobs completed from then on.
            since_failed: ms; the same for failed jobs.
            extra_job_ids: jobs to hear of however old they are, once they have ended.
        """
        self._receive(
            events.QueriesWanted(wanted(since_succeeded, since_failed, extra_job_ids))
        )

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """Yield the newest snapshot whenever there is one that nobody has taken.

        One that is replaced before it was taken hands its backlog on to the next.
        """
        while True:
            yield await self._mailbox.take()

    async def run(self) -> None:
        """Keep the subscriptions alive, until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._keep_time())
                self._tasks.create_task(self._follow_credentials())
                self._receive(events.Started())
        finally:
            self._receive(events.Stopped())
            self._tasks = None

    def _receive(self, event: events.Event) -> None:
        moment = Moment(self._wall(), asyncio.get_running_loop().time())
        for effect in self._session.receive(event, moment):
            self._perform(effect)
        self._rescheduled.set()
        status = self._status()
        if status != self.status:
            self.status = status
            self._on_status(status)

    def _status(self) -> FeedStatus:
        session = self._session
        since = session.connected_at
        return FeedStatus(
            state=session.state,
            url=self.status.url,
            connected_at=None if since is None else int(since * 1000),
            reconnects=max(0, session.connections - 1),
            last_error=session.last_error or self._complaint,
        )

    def _perform(self, effect: events.Effect) -> None:
        match effect:
            case events.Connect():
                self._connect()
            case events.Send(text):
                if self._line:
                    self._line.send(text)
            case events.Close():
                if self._line:
                    self._line.close()
                    self._line = None
            case events.NeedToken(force):
                self._start(self._ask(force=force))
            case events.Deliver():
                snapshot, self._complaint = read_snapshot(effect)
                self._mailbox.put(snapshot)

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        if self._tasks is None:
            raise RuntimeError("the feed does not run")
        return self._tasks.create_task(work)

    async def _keep_time(self) -> None:
        while True:
            self._rescheduled.clear()
            due = self._session.wake_at
            try:
                async with asyncio.timeout_at(None if due == inf else due):
                    await self._rescheduled.wait()
            except TimeoutError:
                self._receive(events.Woke(self._line.heard if self._line else -inf))

    async def _follow_credentials(self) -> None:
        async for _ in self._credentials.changes():
            await self._ask(force=False)

    async def _ask(self, *, force: bool) -> None:
        try:
            token = await self._credentials.current(force=force)
        except MaterializerError as error:
            self._receive(events.TokenUnavailable(str(error)))
        else:
            self._receive(events.TokenChanged(token))

    def _connect(self) -> None:
        def tell(event: events.Event) -> None:
            if line is self._line:  # else it was closed, and is heard no more
                self._receive(event)

        self._line = line = Line(self._uri, self._client, tell)
        line.task = self._start(line.run())


class _Mailbox:
    """Holds the newest snapshot until somebody takes it."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._there = asyncio.Event()

    def put(self, snapshot: Snapshot) -> None:
        lost = self._snapshot
        if lost is not None and lost.backlog and lost.owner == snapshot.owner:
            snapshot = replace(snapshot, backlog=True)
        self._snapshot = snapshot
        self._there.set()

    async def take(self) -> Snapshot:
        while self._snapshot is None:
            self._there.clear()
            await self._there.wait()
        snapshot, self._snapshot = self._snapshot, None
        return snapshot
