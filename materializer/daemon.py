"""Builds the house top to bottom and takes it down; read it as the architecture.

    credentials ─▶ feed ─▶ pipeline (fetch, place) ─▶ gallery ─▶ announcer ─▶ clients
                                                         └─────▶ notices ─▶ the person

It expects the lock to be held and the socket to listen: those are the manners of the
process, in `cli/run.py`, and stand before this module's libraries are imported.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from materializer import __version__, watch
from materializer.announce import Announcer
from materializer.config import Settings
from materializer.credentials import Credentials
from materializer.errors import MaterializerError, SignInNeeded
from materializer.feed import Feed, FeedStatus
from materializer.fetch import Fetcher, Guard
from materializer.gallery import Gallery, ledger
from materializer.ipc.connection import Method
from materializer.methods import Methods
from materializer.model import Account, Snapshot
from materializer.notices import Notices
from materializer.notify import Notifier
from materializer.pipeline import Pipeline
from materializer.place import Places
from materializer.plan import hidden_before
from materializer.presence import Events, Presence

log = logging.getLogger(__name__)

RESUBSCRIBE_AT = 50
"""How many settled rows a result carries before the feed is asked from later on."""

_NO_DEPLOYMENT = (
    "no Convex deployment is known: give --convex-url, set STELLA_CONVEX_URL, or put"
    " convexUrl into the token file"
)


@dataclass(frozen=True, slots=True)
class Manner:
    """How one run of the daemon differs from the next.

    Attributes:
        since: ms; from when on the feed is asked this once, whatever the cursor says.
        once: leave when every job that the feed shows has settled.
    """

    since: int | None = None
    once: bool = False


class Daemon:
    """The rooms of one state directory, joined. Make it with `Daemon.open`."""

    def __init__(
        self,
        settings: Settings,
        manner: Manner,
        credentials: Credentials,
        gallery: Gallery,
        fetcher: Fetcher,
        stop: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._manner = manner
        self._gallery = gallery
        self._stop = stop
        self._fault: MaterializerError | None = None
        self._feed: Feed | None = None
        self._asked: dict[str, asyncio.Future[bool]] = {}
        self._askers = Counter[str]()
        self._hidden: frozenset[str] = frozenset()
        self._full = False
        self._events = Events()
        self._presence = Presence()
        self._credentials = credentials
        places = Places(settings.paths.outputs, settings.paths.partial)
        self._announcer = Announcer(gallery, lambda: self._presence.shown_owner)
        self._notices = Notices(
            gallery,
            Notifier() if settings.notifications else None,
            self._presence,
            self._events,
        )
        self._pipeline = Pipeline(
            gallery,
            fetcher,
            places,
            settings,
            emit=self._events.emit,
            on_announced=self._announcer.wake,
            on_failed=self._notices.wake,
        )
        self._methods = Methods(
            settings,
            self._presence,
            gallery,
            places,
            self._pipeline,
            self._announcer,
            self._events,
            self._credentials,
            materialize=self._materialize,
            stop=stop,
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        manner: Manner,
        credentials: Credentials,
        stop: asyncio.Event,
    ) -> AsyncIterator[Self]:
        """Open the database and what else must be closed again.

        Raises:
            GalleryUnusable: the database cannot be read.
        """
        paths = settings.paths
        gallery = await asyncio.to_thread(Gallery.open, paths.gallery_db, paths.outputs)
        fetcher = Fetcher(
            Guard(settings.allow_private_hosts),
            per_host=settings.max_per_host,
            idle_timeout=settings.idle_timeout,
            user_agent=f"stella-materializer/{__version__}",
        )
        try:
            daemon = cls(settings, manner, credentials, gallery, fetcher, stop)
            daemon._presence.last_owner = await gallery.read(ledger.last_owner)
            yield daemon
        finally:
            await fetcher.close()
            await gallery.close()

    @property
    def methods(self) -> Mapping[str, Method[Any]]:
        """What local clients may call."""
        return self._methods.table()

    async def run(self) -> None:
        """Work until `stop` is set.

        Raises:
            SignInNeeded: with `once`, when nobody is signed in.
        """
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(work)
                for work in (
                    self._pipeline.run(),
                    self._notices.run(),
                    self._follow_sign_in(),
                    self._follow_token_file(),
                )
            ]
            await self._stop.wait()
            log.info("stopping")
            for task in running:
                task.cancel()
        if self._fault is not None:
            raise self._fault

    async def _follow_token_file(self) -> None:
        if self._settings.token_file is not None:
            async for _ in watch.changes(self._settings.token_file):
                self._credentials.source_changed()

    async def _follow_sign_in(self) -> None:
        """Keep one feed to the deployment of whoever is signed in."""
        changes = self._credentials.changes()
        running: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as tasks:
            while True:
                url = await self._sign_in()
                if url and (self._feed is None or self._feed.status.url != url):
                    if running is not None:
                        running.cancel()
                    self._feed = feed = Feed(
                        url, self._credentials, __version__, on_status=self._on_status
                    )
                    running = tasks.create_task(self._follow_feed(feed))
                await self._subscribe()
                await anext(changes)

    async def _sign_in(self) -> str | None:
        """See who is signed in now; return the URL of the deployment, if known."""
        try:
            token = await self._credentials.current()
        except MaterializerError as error:
            log.warning("%s", error)
            token = None
        url = self._settings.convex_url or self._credentials.grant.convex_url
        if url is None and self._feed is not None:
            url = self._feed.status.url  # a bare token leaves the feed where it is
        if url is None:
            self._on_status(FeedStatus("signed_out", "", last_error=_NO_DEPLOYMENT))
        account = Account(url, token.owner) if url and token else None
        if account != self._presence.account:
            self._presence.account = account
            if account is not None:
                self._presence.last_owner = account.owner
                await self._gallery.write(ledger.signed_in, account.owner)
            state = "signed_in" if account else "signed_out"
            log.info("%s", state.replace("_", " "))
            self._events.emit("auth", state, {"owner": self._presence.owner})
            self._announcer.wake()
            self._notices.wake()
        return url

    async def _subscribe(self) -> None:
        account = self._presence.account
        if self._feed is None or account is None:
            return
        first = _now() - int(self._settings.first_run_lookback * 1000)
        since = self._manner.since
        succeeded, failed = [
            await self._gallery.write(ledger.since, account, query, first=first)
            for query in ledger.QUERIES
        ]
        self._feed.want(
            succeeded if since is None else since,
            failed if since is None else since,
            {*self._asked, *self._hidden},
        )

    async def _follow_feed(self, feed: Feed) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(feed.run())
            async for snapshot in feed.snapshots():
                account = Account(feed.status.url, snapshot.owner)
                self._pipeline.offer(account, snapshot)
                self._answer_asked(snapshot)
                await self._look_behind(account, snapshot)
                if self._manner.once:
                    tasks.create_task(self._leave_when_settled(account))

    async def _look_behind(self, account: Account, snapshot: Snapshot) -> None:
        """Ask for open jobs that are not shown, and no longer for what has settled."""
        if snapshot.unreadable:
            log.warning("%d jobs of the feed are unreadable", snapshot.unreadable)
        visible = {job.job_id for job in snapshot.succeeded or ()}
        before = hidden_before(snapshot)
        open_jobs = await self._gallery.read(ledger.open_jobs, account)
        hidden = frozenset(open_jobs) - (visible - self._hidden)
        if before is not None and not self._full:
            reason = "the feed's page is full, so it may hide older jobs"
            log.warning("%s", reason)
            self._events.emit("feed", "gap", {"reason": reason, "before": before})
        self._full = before is not None
        settled = await self._gallery.read(ledger.settled_below, account, visible)
        if hidden != self._hidden or settled >= RESUBSCRIBE_AT:
            self._hidden = hidden
            await self._subscribe()

    async def _leave_when_settled(self, account: Account) -> None:
        await self._pipeline.caught_up(account.owner)
        self._stop.set()

    async def _materialize(self, account: Account, job_id: str) -> bool:
        """Return when a job has settled, or False when the backend has no such job."""
        known = await self._gallery.read(ledger.known, account.owner, [job_id])
        if job_id in known:
            await self._pipeline.settled(account.owner, job_id)
            return True
        there = self._asked.setdefault(
            job_id, asyncio.get_running_loop().create_future()
        )
        self._askers[job_id] += 1
        try:
            await self._subscribe()
            if not await asyncio.shield(there):
                return False
            await self._pipeline.settled(account.owner, job_id)
        finally:
            self._askers[job_id] -= 1
            if not self._askers[job_id]:
                del self._asked[job_id], self._askers[job_id]
                await self._subscribe()
        return True

    def _answer_asked(self, snapshot: Snapshot) -> None:
        jobs = (*(snapshot.succeeded or ()), *(snapshot.failed or ()))
        shown = {job.job_id for job in jobs}
        for job_id, there in self._asked.items():
            if not there.done() and job_id in shown | snapshot.absent:
                there.set_result(job_id in shown)

    def _on_status(self, status: FeedStatus) -> None:
        before, self._presence.feed = self._presence.feed, status
        if status.state == before.state:
            return
        log.info("feed: %s", status.state)
        data: dict[str, Any] = {"state": status.state}
        if status.last_error:
            data["reason"] = status.last_error
        self._events.emit("feed", status.state, data)
        if self._manner.once and status.state == "signed_out":
            self._fault = SignInNeeded(status.last_error or "nobody is signed in")
            self._stop.set()


def _now() -> int:
    return time.time_ns() // 1_000_000
