"""What became of jobs is entered in the ledger and then told, in that order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from materializer import wording
from materializer.gallery import Gallery, ledger
from materializer.model import Account, DisplayUpdate, Job, Query, Settlement
from materializer.place import disk_trouble
from materializer.plan import is_quiet

log = logging.getLogger(__name__)


class Recorder:
    """The pipeline's pen and voice.

    Every method that waits raises DiskTrouble when the ledger cannot be written.

    Args:
        emit: tells local clients what happens to an account's jobs: owner, topic,
            type, data.
        on_announced: called with an account's announcements that were committed.
        on_failed: called after a failure was recorded that the person must be told.
        is_quiet: whether nothing is to be opened now.
    """

    def __init__(
        self,
        gallery: Gallery,
        *,
        emit: Callable[[str, str, str, dict[str, Any]], None],
        on_announced: Callable[[str, Sequence[DisplayUpdate]], None],
        on_failed: Callable[[], None],
        is_quiet: Callable[[], bool],
    ) -> None:
        self._gallery = gallery
        self._emit = emit
        self._on_announced = on_announced
        self._on_failed = on_failed
        self._is_quiet = is_quiet

    def begun(self, account: Account, job: Job) -> None:
        """Tell of a job that is being worked on."""
        self._tell(account, job, "fetching")

    async def failed(self, account: Account, jobs: Sequence[Job]) -> None:
        """Enter jobs that failed upstream, their words cut to what may be kept."""
        if not jobs:
            return
        fit = [wording.kept(job) for job in jobs]
        with disk_trouble():
            await self._gallery.write(
                ledger.fail, account, [(job, not is_quiet(job)) for job in fit]
            )
        for job in fit:
            self._tell(account, job, "failed", job.error.message if job.error else None)
        self._on_failed()

    async def gone(self, account: Account, job_ids: Sequence[str]) -> None:
        """Close jobs that the backend does not know."""
        if job_ids:
            with disk_trouble():
                given_up = await self._gallery.write(ledger.give_up, account, job_ids)
            log.warning("the backend knows nothing of %s", ", ".join(job_ids))
            for job_id in given_up:
                data = {"jobId": job_id, "state": "failed", "error": ledger.GONE[1]}
                self._emit(account.owner, "job", "failed", data)
            self._on_failed()

    async def settle(
        self,
        account: Account,
        settlement: Settlement,
        now: int,
        reached: Mapping[Query, int],
    ) -> list[DisplayUpdate]:
        """Enter what an attempt came to; return what is to be announced.

        `now` and `reached` are as in `advance`.
        """
        if self._is_quiet():
            settlement = replace(settlement, action="register")
        with disk_trouble():
            return await self._gallery.write(
                ledger.settle, account, settlement, now, reached
            )

    def settled(
        self,
        account: Account,
        settlement: Settlement,
        updates: Sequence[DisplayUpdate],
    ) -> None:
        """Tell what an attempt came to, once that is entered."""
        error = settlement.error[1] if settlement.error else None
        self._tell(account, settlement.job, settlement.state, error)
        for placed in settlement.placed:
            if not placed.companion:
                data = {"id": f"{settlement.job.job_id}_{placed.index}"}
                self._emit(account.owner, "gallery", "added", data)
        if settlement.payloads:
            self._on_announced(account.owner, updates)
        if settlement.tell:
            self._on_failed()

    def _tell(
        self, account: Account, job: Job, state: str, error: str | None = None
    ) -> None:
        data = {"jobId": job.job_id, "state": state}
        if error is not None:
            data["error"] = error
        level = logging.DEBUG if state == "fetching" else logging.INFO
        log.log(level, "job %s (%s): %s", job.job_id, job.capability, error or state)
        self._emit(account.owner, "job", state, data)
