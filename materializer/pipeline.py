"""Joins the stages: what is wanted is fetched, placed, entered and announced.

The newest snapshot replaces an older one, so nothing piles up. A job has one worker
at a time, and so many jobs are at work at once; its outputs are fetched side by side,
within the limit for all downloads.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from materializer import outputs
from materializer.backlog import Key, Task
from materializer.config import Settings
from materializer.crew import Crew
from materializer.delivery import Delivery
from materializer.errors import DiskTrouble, FetchError, LinkGone
from materializer.fetch import Fetcher
from materializer.gallery import Gallery, items, ledger
from materializer.model import (
    Account,
    DisplayUpdate,
    Placed,
    Query,
    Settlement,
    Snapshot,
)
from materializer.place import Places, disk_trouble
from materializer.plan import Work, conclude, is_large, plan
from materializer.recorder import Recorder
from materializer.retry import Tried, recall
from materializer.turns import Turn

log = logging.getLogger(__name__)

# While one job downloads, others are placed, entered or verified.
_JOBS_A_DOWNLOAD = 4


class Pipeline:
    """The stages from a snapshot to the outbox.

    Args:
        emit: tells local clients what happens to an account's jobs: owner, topic,
            type, data.
        on_announced: called with an owner's announcements that were committed.
        on_failed: called after a failure was recorded that the person must be told.
        is_quiet: whether nothing is to be opened now.
        on_disk_trouble: called with the words when files begin to wait for the disk,
            and with None when they no longer do.

    Attributes:
        in_flight: when the jobs ended that are at work, by owner and job, in ms.
        fetching: those of them whose attempt is not in the ledger yet.
        has_looked: whether the ledger has all that was offered last.
        disk_trouble: why files wait for the disk, in words, or None.
    """

    def __init__(
        self,
        gallery: Gallery,
        fetcher: Fetcher,
        places: Places,
        settings: Settings,
        *,
        emit: Callable[[str, str, str, dict[str, Any]], None],
        on_announced: Callable[[str, Sequence[DisplayUpdate]], None],
        on_failed: Callable[[], None],
        is_quiet: Callable[[], bool] = lambda: False,
        on_disk_trouble: Callable[[str | None], None] = lambda words: None,
    ) -> None:
        self._gallery = gallery
        self._delivery = Delivery(fetcher, places, settings)
        self._places = places
        self._settings = settings
        self._emit = emit
        self._on_disk_trouble = on_disk_trouble
        self._recorder = Recorder(
            gallery,
            emit=emit,
            on_announced=on_announced,
            on_failed=on_failed,
            is_quiet=is_quiet,
        )
        self._crew = Crew(
            settings.max_concurrent_downloads * _JOBS_A_DOWNLOAD,
            self._attempt,
            on_end=self._ended,
            on_trouble=self._trouble,
        )
        self._wanted: tuple[Account, Snapshot] | None = None
        self._reached: tuple[Account, dict[Query, int]] | None = None
        self._tried = defaultdict[str, dict[str, Tried]](dict)
        self._stale = False
        self._due: int | None = None
        self._wake = asyncio.Event()
        self._round = asyncio.Event()
        self._bell = asyncio.Event()
        self._changed = asyncio.Event()
        self.in_flight = self._crew.in_flight
        self.fetching: set[Key] = set()
        self.has_looked = False
        self.disk_trouble: str | None = None

    def offer(self, account: Account, snapshot: Snapshot) -> None:
        """Take what the feed says now in place of what it said before."""
        if self._wanted and self._wanted[0] == account and not self.has_looked:
            # What nobody has looked at yet keeps its place in the backlog.
            backlog = self._wanted[1].backlog or snapshot.backlog
            snapshot = replace(snapshot, backlog=backlog)
        self._wanted = (account, snapshot)
        self.has_looked = False
        self.wake()

    def wake(self) -> None:
        """Look again at what the feed says: the ledger has changed."""
        self._stale = True
        self._wake.set()

    def adopt(self, settings: Settings) -> None:
        """Go by other settings from now on, where they do not need a restart."""
        self._settings = settings
        self._delivery.adopt(settings)

    async def pulse(self) -> None:
        """Return when the stages have come round once more: they are not stuck."""
        self._wake.set()
        await self._round.wait()

    async def changes(self) -> AsyncIterator[None]:
        """Yield at once, and then whenever something else may be worth asking for.

        That is after each look at what was offered, when a link was gone, and when all
        that is due has been done: not after each job of many.
        """
        while True:
            changed = self._changed
            yield
            await changed.wait()

    async def run(self) -> None:
        """Work until cancelled; what is under way then is parked by the kill rules."""
        await self._sweep()
        async with asyncio.TaskGroup() as workers:
            while True:
                self._wake.clear()
                self._round.set()
                self._round = asyncio.Event()
                if self._stale or (self._due is not None and self._due <= _now()):
                    await self._look()
                    self._crew.start(workers)
                    self._ring(changed=True)
                try:
                    async with asyncio.timeout(_until(self._due)):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def settled(self, owner: str, job_id: str) -> None:
        """Return when a job is not open, as far as what was offered last says."""
        while True:
            bell = self._bell
            if not await self._is_open(owner, job_id):
                return
            await bell.wait()

    async def caught_up(self) -> None:
        """Return when everything that was offered last, and was told, has settled."""
        while True:
            bell = self._bell
            if self._wanted and self.has_looked and not self._crew.is_busy:
                account, snapshot = self._wanted
                told = snapshot.succeeded is not None
                if told and not await self._gallery.read(ledger.open_jobs, account):
                    return
            await bell.wait()

    async def tried(self) -> None:
        """Return when everything that is due now has been tried once.

        Raises:
            DiskTrouble: the disk cannot take it.
        """
        while self.disk_trouble is None:
            if self.has_looked and not self._crew.is_busy:
                return
            await self._bell.wait()
        raise DiskTrouble(self.disk_trouble)

    async def _is_open(self, owner: str, job_id: str) -> bool:
        if self._crew.has((owner, job_id)):
            return True
        known = await self._gallery.read(ledger.known, owner, [job_id])
        job = known.get(job_id)
        return job.state == "pending" if job else not self.has_looked

    async def _sweep(self) -> None:
        """Remove the parts of jobs that settled, or went, as the last run ended."""
        try:
            with disk_trouble():
                stems = await self._gallery.read(ledger.open_stems)
            await self._places.sweep_all_but(stems)
        except DiskTrouble as error:  # which the first job is going to meet
            log.warning("%s", error)

    async def _look(self) -> None:
        """Compare what the feed says with the ledger, and let wait what is due."""
        self._stale, self._due = False, None
        if self._wanted is None:
            return
        wanted = self._wanted
        self._crew.stop()
        try:
            await self._take_up(*wanted)
        except DiskTrouble as error:
            self._due_by(self._crew.hold(error))
        else:
            self.has_looked = wanted is self._wanted

    async def _take_up(self, account: Account, snapshot: Snapshot) -> None:
        owner, tried = account.owner, self._tried[account.owner]
        job_ids = [job.job_id for job in snapshot.jobs]
        waiting = {
            job_id: task.stem
            for job_id in job_ids
            if (task := self._crew.waiting((owner, job_id)))
        }
        decide = partial(
            plan,
            snapshot,
            # Before the ledger is read: a job that settles meanwhile is not due again.
            busy={job_id for whose, job_id in self.in_flight if whose == owner},
            tried=dict(tried),
            now=_now(),
            policy=self._settings.open_policy,
            fresh_ms=int(self._settings.fresh_window * 1000),
        )
        with disk_trouble():
            todo, stems = await self._gallery.note(
                ledger.take_up,
                account,
                [*job_ids, *snapshot.absent],
                decide,
                waiting,
                _now(),
                snapshot.reached,
            )
        stems |= waiting
        rest = [part for part in todo.work if part.job.job_id not in stems]
        for at in range(0, len(rest), ledger.BITE):
            with disk_trouble():
                stems |= await self._gallery.note(
                    ledger.remember, account, rest[at : at + ledger.BITE]
                )
        self._reached = account, snapshot.reached  # all that it shows is known now
        await self._recorder.failed(account, todo.failed)
        await self._recorder.gone(account, todo.gone)
        if rest or todo.failed:
            with disk_trouble():
                await self._gallery.note(
                    ledger.advance, account, _now(), snapshot.reached
                )
        for job_id in (*todo.gone, *(job.job_id for job in todo.failed)):
            tried.pop(job_id, None)
        tasks = [
            Task(account, part, stems[part.job.job_id], is_large(part.job))
            for part in todo.work
        ]
        self._due_by(self._crew.replace(tasks))
        self._due_by(todo.wake_at)

    async def _attempt(self, task: Task, turn: Turn) -> bool:
        """Take a job as far as it goes now; return whether the disk took a file."""
        self.fetching.add(task.key)
        try:
            return await self._take_on(task, turn)
        finally:
            self.fetching.discard(task.key)

    async def _take_on(self, task: Task, turn: Turn) -> bool:
        account, work, wanted = task.account, task.work, self._wanted
        self._recorder.begun(account, work.job)
        promised = outputs.extract(work.job.output)
        missing = [out for out in promised.outputs if out.index not in work.have]
        delivered = await self._delivery.deliver_each(
            work.job, missing, task.stem, partial(self._emit, account.owner)
        )
        placed, errors = delivered.placed, delivered.errors
        if delivered.trouble is not None:
            await self._keep(account, work, placed)
            raise delivered.trouble
        settlement = conclude(
            work,
            recognised=promised.recognised,
            placed=placed,
            before=await self._placed(task) if work.have else (),
            errors=errors,
            now=_now(),
            chance=random.random(),  # noqa: S311 -- spreads retries, guards nothing
        )
        if settlement.payloads:
            await self._crew.wait(task, turn)
        updates = await self._recorder.settle(
            account, settlement, _now(), self._reach(account)
        )
        self.fetching.discard(task.key)
        self._recorder.settled(account, settlement, updates)
        if settlement.state == "pending":
            self._remember(task, errors)
            self._due_by(settlement.next_attempt_at)
            if wanted is not self._wanted:
                self.wake()  # what was offered meanwhile may be what it waits for
        else:
            self._tried[account.owner].pop(work.job.job_id, None)
            await self._places.sweep(task.stem)
        return bool(placed)

    async def _keep(
        self, account: Account, work: Work, placed: tuple[Placed, ...]
    ) -> None:
        """Enter what the disk took before it was in trouble, so that it stays had."""
        if placed:
            held = Settlement(work.job, "pending", placed, attempts=work.attempts)
            await self._recorder.settle(account, held, _now(), {})

    async def _placed(self, task: Task) -> tuple[Placed, ...]:
        with disk_trouble():
            return await self._gallery.read(items.placed, *task.key)

    def _remember(self, task: Task, errors: Sequence[FetchError]) -> None:
        """Keep in mind what the next attempt depends on."""
        (owner, job_id), work = task.key, task.work
        tried = recall(work.job, errors, work.tried, ahead=work.ahead)
        self._tried[owner][job_id] = tried
        if any(isinstance(error, LinkGone) for error in errors):
            self._ring(changed=True)

    def _reach(self, account: Account) -> dict[Query, int]:
        """How far the account's lists reach, all that they show being known."""
        whose, reached = self._reached or (None, {})
        return reached if whose == account else {}

    def _trouble(self, words: str | None) -> None:
        """Take note of what the disk says; tell of it the first time."""
        first, self.disk_trouble = self.disk_trouble is None, words
        if words is None:
            if not first:
                log.info("the disk takes files again")
                self._on_disk_trouble(None)
        elif first:
            log.error("%s", words)
            self._on_disk_trouble(words)

    def _ended(self, look_at: int | None) -> None:
        self._due_by(look_at)
        self._ring(changed=not self._crew.is_busy)

    def _due_by(self, when: int | None) -> None:
        """Look again then, in ms, if not before."""
        if when is not None and (self._due is None or when < self._due):
            self._due = when
            self._wake.set()

    def _ring(self, *, changed: bool) -> None:
        """Let everybody who waits look again; `changed` is as in `changes`."""
        self._bell.set()
        self._bell = asyncio.Event()
        if changed and self.has_looked:
            self._changed.set()
            self._changed = asyncio.Event()


def _now() -> int:
    return time.time_ns() // 1_000_000


def _until(due: int | None) -> float | None:
    return None if due is None else max(0.0, (due - _now()) / 1000)
