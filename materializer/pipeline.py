"""Joins the stages: what is wanted is fetched, placed, entered and announced.

The newest snapshot replaces an older one, so nothing piles up. A job has one worker
at a time; its outputs are fetched side by side, within the limit for all downloads.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from materializer import outputs, wording
from materializer.config import Settings
from materializer.delivery import Delivery
from materializer.errors import DiskTrouble
from materializer.fetch import Fetcher
from materializer.gallery import Gallery, items, ledger
from materializer.model import Account, Job, Query, Snapshot
from materializer.place import Places, disk_trouble
from materializer.plan import Work, conclude, is_quiet, plan

log = logging.getLogger(__name__)

DISK_PAUSE = 30.0
"""Seconds until a disk that could take nothing is tried again."""

PATIENCE = 2.0
"""Seconds that a finished job waits for one that was completed before it."""


class Pipeline:
    """The stages from a snapshot to the outbox.

    Args:
        emit: tells local clients what happens to an account's jobs: owner, topic,
            type, data.
        on_announced: called after announcements were committed.
        on_failed: called after a failure was recorded that the person must be told.
    """

    def __init__(
        self,
        gallery: Gallery,
        fetcher: Fetcher,
        places: Places,
        settings: Settings,
        *,
        emit: Callable[[str, str, str, dict[str, Any]], None],
        on_announced: Callable[[], None],
        on_failed: Callable[[], None],
    ) -> None:
        self._gallery = gallery
        self._delivery = Delivery(fetcher, places, settings)
        self._places = places
        self._settings = settings
        self._emit = emit
        self._on_announced = on_announced
        self._on_failed = on_failed
        self._wanted: tuple[Account, Snapshot] | None = None
        self._looked = False
        self._reached: tuple[Account, dict[Query, int]] | None = None
        self._wake = asyncio.Event()
        self._bell = asyncio.Event()
        self.in_flight: dict[tuple[str, str], int] = {}
        self.disk_trouble: str | None = None

    def offer(self, account: Account, snapshot: Snapshot) -> None:
        """Take what the feed says now in place of what it said before."""
        if self._wanted and self._wanted[0] == account and not self._looked:
            # What nobody has looked at yet keeps its place in the backlog.
            backlog = self._wanted[1].backlog or snapshot.backlog
            snapshot = replace(snapshot, backlog=backlog)
        self._wanted = (account, snapshot)
        self._looked = False
        self._wake.set()

    def wake(self) -> None:
        """Look again at what the feed says: the ledger has changed."""
        self._wake.set()

    async def changes(self) -> AsyncIterator[None]:
        """Yield at once, and then whenever something was done."""
        while True:
            bell = self._bell
            yield
            await bell.wait()

    async def run(self) -> None:
        """Work until cancelled; what is under way then is parked by the kill rules."""
        async with asyncio.TaskGroup() as workers:
            while True:
                self._wake.clear()
                due = await self._look(workers)
                try:
                    async with asyncio.timeout(_until(due)):
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
            if self._wanted and self._looked:
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
        while not self._looked or self.in_flight:
            if self.disk_trouble is not None:
                raise DiskTrouble(self.disk_trouble)
            await self._bell.wait()

    async def _is_open(self, owner: str, job_id: str) -> bool:
        known = await self._gallery.read(ledger.known, owner, [job_id])
        job = known.get(job_id)
        return job.state == "pending" if job else not self._looked

    def _reach(self, account: Account) -> dict[Query, int]:
        """How far the account's lists reach, all that they show being known."""
        whose, reached = self._reached or (None, {})
        return reached if whose == account else {}

    async def _look(self, workers: asyncio.TaskGroup) -> int | None:
        """Start what is due; return when to look again, in ms, or None."""
        if self._wanted is None:
            return None
        wanted = account, snapshot = self._wanted
        jobs = [job.job_id for job in snapshot.jobs]
        # Before the ledger is read: a job that settles meanwhile is not due again.
        busy = {job_id for owner, job_id in self.in_flight if owner == account.owner}
        try:
            with disk_trouble():
                known = await self._gallery.read(
                    ledger.known, account.owner, [*jobs, *snapshot.absent]
                )
            todo = plan(
                snapshot,
                known,
                now=_now(),
                policy=self._settings.open_policy,
                fresh_ms=int(self._settings.fresh_window * 1000),
            )
            failed = [job for job in todo.failed if job.job_id not in busy]
            await self._record(account, failed)
            await self._give_up(account, [*{*todo.gone} - busy])
            work = [part for part in todo.work if part.job.job_id not in busy]
            await self._start(workers, account, snapshot, work)
        except DiskTrouble as error:
            self._pause(error)
            return _now() + int(DISK_PAUSE * 1000)
        if wanted is self._wanted:
            self._looked = True
        self._ring()
        return todo.wake_at

    async def _record(self, account: Account, failed: Sequence[Job]) -> None:
        if not failed:
            return
        fit = [wording.kept(job) for job in failed]
        with disk_trouble():
            await self._gallery.write(
                ledger.fail, account, [(job, not is_quiet(job)) for job in fit]
            )
        for job in fit:
            self._tell(account, job, "failed", job.error.message if job.error else None)
        self._on_failed()

    async def _give_up(self, account: Account, job_ids: Sequence[str]) -> None:
        if job_ids:
            with disk_trouble():
                await self._gallery.write(ledger.give_up, account, job_ids)
            log.warning("the backend knows nothing of %s", ", ".join(job_ids))
            self._on_failed()

    async def _start(
        self,
        workers: asyncio.TaskGroup,
        account: Account,
        snapshot: Snapshot,
        work: Sequence[Work],
    ) -> None:
        stems: dict[str, str] = {}
        reached = snapshot.reached
        with disk_trouble():
            if work:
                stems = await self._gallery.write(ledger.remember, account, work)
            if (account, reached) != self._reached:
                await self._gallery.write(ledger.advance, account, _now(), reached)
        self._reached = account, reached  # all that the snapshot shows is known now
        for part in work:
            self.in_flight[account.owner, part.job.job_id] = part.job.finished_at
            self._tell(account, part.job, "fetching")
            workers.create_task(self._work(account, part, stems[part.job.job_id]))

    async def _work(self, account: Account, work: Work, stem: str) -> None:
        """Materialize one job; whatever happens, the pipeline goes on."""
        try:
            await self._materialize(account, work, stem)
            self.disk_trouble = None
        except DiskTrouble as error:
            self._pause(error)
            await asyncio.sleep(DISK_PAUSE)
        except Exception:
            # The edge of a worker: a slip of ours must not stop the other jobs.
            log.exception("job %s could not be worked on", work.job.job_id)
            await asyncio.sleep(DISK_PAUSE)
        finally:
            del self.in_flight[account.owner, work.job.job_id]
            self._wake.set()
            self._ring()

    async def _materialize(self, account: Account, work: Work, stem: str) -> None:
        promised = outputs.extract(work.job.output)
        missing = [out for out in promised.outputs if out.index not in work.have]
        placed, errors = await self._delivery.deliver_each(
            work.job, missing, stem, partial(self._emit, account.owner)
        )
        settlement = conclude(
            work,
            recognised=promised.recognised,
            placed=placed,
            before=await self._gallery.read(
                items.placed, account.owner, work.job.job_id
            ),
            errors=errors,
            now=_now(),
            chance=random.random(),  # noqa: S311 -- spreads retries, guards nothing
        )
        if settlement.payloads:
            await self._turn(account.owner, work.job)
        with disk_trouble():
            await self._gallery.write(
                ledger.settle, account, settlement, _now(), self._reach(account)
            )
        if settlement.state != "pending":
            await self._places.sweep(stem)
        self._tell(
            account,
            work.job,
            settlement.state,
            settlement.error[1] if settlement.error else None,
        )
        if settlement.payloads:
            self._on_announced()
        if settlement.tell:
            self._on_failed()
        self._ring()

    async def _turn(self, owner: str, job: Job) -> None:
        """Let jobs that finished earlier be announced first, for a moment's price."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while any(
                    other == owner and finished_at < job.finished_at
                    for (other, _), finished_at in self.in_flight.items()
                ):
                    await self._bell.wait()

    def _tell(
        self, account: Account, job: Job, state: str, error: str | None = None
    ) -> None:
        data = {"jobId": job.job_id, "state": state}
        if error is not None:
            data["error"] = error
        log.info("job %s (%s): %s", job.job_id, job.capability, error or state)
        self._emit(account.owner, "job", state, data)

    def _pause(self, error: DiskTrouble) -> None:
        if self.disk_trouble is None:
            log.error("%s", error)
        self.disk_trouble = str(error)
        self._ring()

    def _ring(self) -> None:
        """Let everybody who waits for a change look again."""
        self._bell.set()
        self._bell = asyncio.Event()


def _now() -> int:
    return time.time_ns() // 1_000_000


def _until(due: int | None) -> float | None:
    return None if due is None else max(0.0, (due - _now()) / 1000)
