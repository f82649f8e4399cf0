"""Keeps the feed subscribed for whoever is signed in, and the pipeline fed.

It stands between credentials and feed: the feed asks it for the token, so that it can
choose the account's queries before the deployment hears of the account. Otherwise one
account would for a moment be asked from where another has settled.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from materializer import __version__
from materializer.config import Settings
from materializer.convex.token import Token
from materializer.credentials import Credentials
from materializer.errors import DiskTrouble, SettingsInvalid
from materializer.feed import Feed, FeedStatus
from materializer.gallery import Gallery, ledger
from materializer.model import Account, Snapshot
from materializer.pipeline import Pipeline
from materializer.place import disk_trouble
from materializer.plan import hidden_before
from materializer.presence import Events, Presence

log = logging.getLogger(__name__)

RESUBSCRIBE_AT = 50
"""How many settled rows a result carries before the feed is asked from later on."""

NO_DEPLOYMENT = (
    "no Convex deployment is known: give --convex-url, set STELLA_CONVEX_URL, or put"
    " convexUrl into the token file"
)


class Subscriber:
    """The feed's token source and its only listener.

    Args:
        since: ms; from when on the feed is asked at first, whatever the cursor says.
        on_account: called when somebody else, or nobody, is signed in.
        on_snapshot: called when a snapshot was offered to the pipeline.
        on_signed_out: called with the reason when the feed has nobody to ask for.
    """

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        gallery: Gallery,
        pipeline: Pipeline,
        presence: Presence,
        events: Events,
        *,
        since: int | None,
        on_account: Sequence[Callable[[], None]],
        on_snapshot: Callable[[], None],
        on_signed_out: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._gallery = gallery
        self._pipeline = pipeline
        self._presence = presence
        self._events = events
        self._since = since
        self._on_account = on_account
        self._on_snapshot = on_snapshot
        self._on_signed_out = on_signed_out
        self._feed: Feed | None = None
        self._asked: dict[str, asyncio.Future[bool]] = {}
        self._askers = Counter[str]()
        self._hidden: frozenset[str] = frozenset()
        self._full = False

    async def run(self) -> None:
        """Keep one feed to the deployment that the sign-in names, until cancelled."""
        changes = self._credentials.changes()
        async with asyncio.TaskGroup() as tasks:
            running: asyncio.Task[None] | None = None
            while True:
                url = await self._deployment()
                if url and (self._feed is None or self._feed.status.url != url):
                    if running is not None:
                        running.cancel()
                    running = tasks.create_task(self._follow(url))
                await anext(changes)

    async def current(self, *, force: bool) -> Token | None:
        """Return the token for the feed, its account's queries being chosen.

        Raises:
            MaterializerError: it cannot be had just now.
        """
        token = await self._credentials.current(force=force)
        await self._adopt(token)
        return token

    def changes(self) -> AsyncIterator[None]:
        """Yield whenever the token may be another one."""
        return self._credentials.changes()

    async def materialize(self, account: Account, job_id: str) -> bool:
        """Return when a job has settled, or False when the backend has no such job."""
        known = await self._gallery.read(ledger.known, account.owner, [job_id])
        if job_id in known:
            await self._pipeline.settled(account.owner, job_id)
            return True
        loop = asyncio.get_running_loop()
        there = self._asked.setdefault(job_id, loop.create_future())
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

    async def _deployment(self) -> str | None:
        """Return the URL of the deployment; without one nobody can be signed in."""
        try:
            await self._credentials.ask()
        except SettingsInvalid as error:
            log.warning("%s", error)
        url = self._settings.convex_url or self._credentials.grant.convex_url
        if url is None and self._feed is not None:
            url = self._feed.status.url  # a bare token leaves the feed where it is
        if url is None:
            self._tell(FeedStatus("signed_out", "", last_error=NO_DEPLOYMENT))
        return url

    async def _follow(self, url: str) -> None:
        def on_status(status: FeedStatus) -> None:
            if feed is self._feed:
                self._tell(status)

        self._feed = feed = Feed(url, self, __version__, on_status=on_status)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(feed.run())
            async for snapshot in feed.snapshots():
                account = Account(url, snapshot.owner)
                self._pipeline.offer(account, snapshot)
                self._answer(snapshot)
                try:
                    await self._look_behind(account, snapshot)
                except DiskTrouble as error:  # the next snapshot is another chance
                    log.warning("%s", error)
                self._on_snapshot()

    async def _adopt(self, token: Token | None) -> None:
        """Take note of who is signed in, and choose the queries to ask."""
        feed = self._feed
        account = Account(feed.status.url, token.owner) if feed and token else None
        if account == self._presence.account:
            return
        self._presence.account = account
        if account is not None:
            self._presence.last_owner = account.owner
            with disk_trouble():
                await self._gallery.write(ledger.signed_in, account.owner)
            await self._subscribe()
        state = "signed_in" if account else "signed_out"
        log.info("%s", state.replace("_", " "))
        self._events.emit("auth", state, {"owner": self._presence.owner})
        for tell in self._on_account:
            tell()

    async def _subscribe(self) -> None:
        account = self._presence.account
        if self._feed is None or account is None:
            return
        first = _now() - int(self._settings.first_run_lookback * 1000)
        with disk_trouble():
            succeeded, failed = [
                await self._gallery.write(ledger.since, account, query, first=first)
                for query in ledger.QUERIES
            ]
        since = self._since
        self._feed.want(
            succeeded if since is None else since,
            failed if since is None else since,
            {*self._asked, *self._hidden},
        )

    async def _look_behind(self, account: Account, snapshot: Snapshot) -> None:
        """Ask for open jobs that are not shown, and no longer for what has settled."""
        if snapshot.unreadable:
            log.warning("%d jobs of the feed are unreadable", snapshot.unreadable)
        self._report_gap(hidden_before(snapshot))
        visible = {job.job_id for job in snapshot.succeeded or ()}
        with disk_trouble():
            open_jobs = await self._gallery.read(ledger.open_jobs, account)
            settled = await self._gallery.read(ledger.settled_below, account, visible)
        hidden = frozenset(open_jobs) - (visible - self._hidden)
        if settled >= RESUBSCRIBE_AT:
            self._since = None
        if hidden != self._hidden or settled >= RESUBSCRIBE_AT:
            self._hidden = hidden
            await self._subscribe()

    def _report_gap(self, before: int | None) -> None:
        if before is not None and not self._full:
            reason = "the feed's page is full, so it may hide older jobs"
            log.warning("%s", reason)
            self._events.emit(
                "feed", "gap", {"state": "gap", "reason": reason, "before": before}
            )
        self._full = before is not None

    def _answer(self, snapshot: Snapshot) -> None:
        jobs = (*(snapshot.succeeded or ()), *(snapshot.failed or ()))
        shown = {job.job_id for job in jobs}
        for job_id, there in self._asked.items():
            if not there.done() and job_id in shown | snapshot.absent:
                there.set_result(job_id in shown)

    def _tell(self, status: FeedStatus) -> None:
        before, self._presence.feed = self._presence.feed, status
        if status.state == before.state:
            return
        log.info("feed: %s", status.state)
        data: dict[str, Any] = {"state": status.state}
        if status.last_error:
            data["reason"] = status.last_error
        self._events.emit("feed", status.state, data)
        if status.state == "signed_out":
            self._on_signed_out(status.last_error or "nobody is signed in")


def _now() -> int:
    return time.time_ns() // 1_000_000
