"""The feed's hands: connects, keeps time, asks for tokens, passes snapshots on.

What to do is the session's to decide. Of the answers that arrive together only the
newest is read, since it replaces the older.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

from materializer.convex import events
from materializer.convex.events import Moment, State
from materializer.convex.session import Session
from materializer.convex.token import Token
from materializer.errors import MaterializerError
from materializer.feed import jumps
from materializer.feed.line import Line, sync_uri
from materializer.media_jobs import read_snapshot, wanted
from materializer.model import Snapshot

# A system that does not tell of a sleep has us look at the clocks, and a timer stands
# still in sleep: it may have that long to go. Two seconds after a wake it should be
# connected again.
GLANCE = 1.8
QUESTION_SECONDS = 30.0


class TokenSource(Protocol):
    """What the feed wants of credentials."""

    async def current(self, *, force: bool) -> Token | None:
        """Return the token, or None when nobody is signed in."""

    def changes(self) -> AsyncIterator[None]:
        """Yield whenever it is worth asking again."""


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """Where the feed stands, as in `daemon.status`; times are ms since 1970.

    Attributes:
        refused: whether it is signed out because the deployment refused the token.
    """

    state: State
    url: str
    connected_at: int | None = None
    reconnects: int = 0
    last_error: str | None = None
    refused: bool = False


class Feed:
    """The subscriptions to one deployment, kept alive for as long as `run` runs.

    Args:
        url: of the deployment, as `address.convex_url` gives it.
        credentials: where tokens come from.
        client_version: of this program, told to the deployment.
        on_snapshot: called with the newest snapshot, from the event loop; one that
            it replaced untold hands its backlog on to it.
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
        on_snapshot: Callable[[Snapshot], None],
        on_status: Callable[[FeedStatus], None] = lambda status: None,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.status = FeedStatus("stopped", url)
        self._uri = sync_uri(url)
        self._credentials = credentials
        self._client = f"stella-{client_version}"
        self._on_snapshot = on_snapshot
        self._on_status = on_status
        self._wall = wall
        self._session = Session(str(uuid.uuid4()), chance)
        self._news: events.Deliver | None = None
        self._complaint: str | None = None
        self._line: Line | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._broken: asyncio.Future[None]
        self._told: tuple[object, ...] = ()
        self._questions = 0
        self._is_told = False

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
        queries = wanted(since_succeeded, since_failed, extra_job_ids)
        self._decide([events.QueriesWanted(queries)])
        if self._news:  # later: whoever wants may be reading the last ones
            asyncio.get_running_loop().call_soon(self._guard, self._hand_over)

    async def run(self) -> None:
        """Keep the subscriptions alive, until cancelled.

        Raises:
            ExceptionGroup: of what `on_snapshot` or `on_status` raised.
        """
        self._broken = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._follow_credentials())
                with jumps.told(lambda: self._guard(self._wake)) as self._is_told:
                    self._receive([events.Started()])
                    try:
                        await self._broken
                    finally:
                        self._tasks = None  # what is told from now on starts nothing
                        if self._timer is not None:
                            self._timer.cancel()
        finally:
            self._receive([events.Stopped()])

    def _receive(self, together: Sequence[events.Event]) -> None:
        self._decide(together)
        self._hand_over()

    def _decide(self, together: Sequence[events.Event]) -> None:
        loop = asyncio.get_running_loop()
        moment = Moment(self._wall(), loop.time())
        for event in together:
            for effect in self._session.receive(event, moment):
                self._perform(effect)
        self._tell()
        self._keep_time(loop)

    def _tell(self) -> None:
        session = self._session
        state, trouble = session.state, session.last_error
        if state == "live" and self._complaint:
            trouble = self._complaint  # which says also what list it is that fails
        since, connections, refused = (
            session.connected_at,
            session.connections,
            session.refused,
        )
        news = state, since, connections, trouble, refused
        if news == self._told:  # as after almost every message
            return
        self._told = news
        status = FeedStatus(
            state=state,
            url=self.status.url,
            connected_at=None if since is None else int(since * 1000),
            reconnects=max(0, connections - 1),
            last_error=trouble,
            refused=refused,
        )
        if status != self.status:
            self.status = status
            self._on_status(status)

    def _perform(self, effect: events.Effect) -> None:
        match effect:
            case events.Deliver():  # first: almost all are
                self._news = _newest(effect, self._news)
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
            case events.Settled():
                pass  # queries are all that it asks

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        if self._tasks is None:
            raise RuntimeError("the feed does not run")
        return self._tasks.create_task(work)

    def _keep_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that the session is woken when it wants, or looks at the clocks.

        A timer that is early enough is left alone, so that a message costs no timer.
        """
        if self._tasks is None:
            return
        due, idle = self._session.wake_at, self.status.state == "signed_out"
        if not (idle or self._is_told):
            due = min(due, loop.time() + GLANCE)
        if self._timer is not None:
            if self._timer.when() <= due and not idle:
                return
            self._timer.cancel()
        self._timer = None if due == inf else loop.call_at(due, self._guard, self._wake)

    def _wake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._receive([events.Woke(self._line.heard if self._line else -inf)])

    def _hand_over(self) -> None:
        deliver, self._news = self._news, None
        if deliver is None or self._tasks is None:
            return
        snapshot, complaint = read_snapshot(deliver)
        if complaint != self._complaint:
            self._complaint = complaint
            self._tell()
        self._on_snapshot(snapshot)

    def _guard(self, work: Callable[..., None], *args: object) -> None:
        """Do what nobody waits for; `run` ends with what goes wrong in it."""
        try:
            work(*args)
        except Exception as error:  # whatever it is, the next one may hear of it
            if self._broken.done():
                raise
            self._broken.set_exception(error)

    async def _follow_credentials(self) -> None:
        async for _ in self._credentials.changes():
            self._start(self._ask(force=False))  # an earlier one may take its time

    async def _ask(self, *, force: bool) -> None:
        self._questions = question = self._questions + 1
        event = await self._answer(force=force)
        if question == self._questions:  # else a later answer is nearer to the truth
            self._receive([event])

    async def _answer(self, *, force: bool) -> events.Event:
        try:
            async with asyncio.timeout(QUESTION_SECONDS):
                return events.TokenChanged(await self._credentials.current(force=force))
        except TimeoutError:
            return events.TokenUnavailable("the token's source does not answer")
        except MaterializerError as error:
            return events.TokenUnavailable(str(error))

    def _connect(self) -> None:
        def tell(together: Sequence[events.Event]) -> None:
            if line is self._line:  # else it was closed, and is heard no more
                self._guard(self._receive, together)

        self._line = line = Line(self._uri, self._client, tell)
        line.task = self._start(line.run())


def _newest(deliver: events.Deliver, lost: events.Deliver | None) -> events.Deliver:
    """Return what replaces answers that nobody has seen; a backlog stays one."""
    if lost is not None and lost.first and lost.owner == deliver.owner:
        return replace(deliver, first=True)
    return deliver
