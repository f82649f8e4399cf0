"""Notices to the person: each once, and the truth about whether it arrived.

They tell of failed jobs, of a sign-in that the deployment refuses, of a disk that
cannot take what there is, and of a gallery that was repaired. Each takes the first way
that there is: a client that shows notifications, this desktop, or else the log and
`daemon.status`. Clients hear of all; a notice that is not about one job has the `jobId`
null.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress

from materializer import wording
from materializer.audience import Audience
from materializer.config import Level
from materializer.gallery import Gallery, items, ledger, repair, wishes
from materializer.model import JobRecord
from materializer.notify import Click, Notifier
from materializer.presence import Events, Presence
from materializer.storm import Storm
from materializer.wording import Note

log = logging.getLogger(__name__)

SWITCHED_OFF = "notifications are switched off"

# With these levels the person wants to know of failed jobs, and of anything else.
_OF_JOBS: tuple[Level, ...] = ("all", "failures")
_OF_ALL: tuple[Level, ...] = ("all",)


class Notices:
    """Tells of what it is told, and of failures that the ledger holds as not yet told.

    Args:
        notifier: shows them on this desktop.
        audience: the clients that tell the person themselves.
        level: of what the person wants to be told.
        click: what happens to who clicks on a note about files.

    Attributes:
        level: may be changed at any time.
    """

    def __init__(
        self,
        gallery: Gallery,
        notifier: Notifier,
        presence: Presence,
        events: Events,
        audience: Audience,
        *,
        level: Level,
        click: Click,
    ) -> None:
        self._gallery = gallery
        self._notifier = notifier
        self._presence = presence
        self._events = events
        self._audience = audience
        self._click = click
        self.level = level
        audience.on_change = self.wake
        self._storm = Storm()
        # What was shown and could not be entered yet: it is not shown again.
        self._shown: dict[tuple[str, str], tuple[JobRecord, str]] = {}
        self._repair_shown: str | None = None
        self._news: dict[str, Note] = {}
        self._look_at: float | None = None
        self._due = asyncio.Event()
        self._due.set()  # an earlier run may have left some

    def wake(self) -> None:
        """Look for failures: after one was recorded, or somebody signed in."""
        self._due.set()

    def sign_in_refused(self, words: str | None) -> None:
        """Tell that the deployment refuses the sign-in, in its own words.

        None takes that back: it does no longer.
        """
        note = None if words is None else wording.sign_in_refused(words)
        self._change("sign-in", note)

    def disk_trouble(self, words: str | None) -> None:
        """Tell that files wait for the disk, and why; None: they no longer do."""
        note = None if words is None else wording.disk_trouble(words)
        self._change("disk", note)

    def _change(self, subject: str, note: Note | None) -> None:
        if note is None:
            self._news.pop(subject, None)
        else:
            self._news[subject] = note
            self._due.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._look_at):
                    await self._due.wait()
            self._due.clear()
            rest = await self._rest()
            self._look_at = clock() + rest if rest > 0 else None
            if rest > 0:
                continue
            await self._tell_news()
            try:
                await self._tell_of_repair()
                await self._tell_of_failures(clock())
            except OSError as error:  # what is due stays so until the next look
                log.warning("%s", error)

    async def _rest(self) -> float:
        """Return for how many seconds the person wants to be left alone."""
        try:
            until = await self._gallery.read(wishes.snoozed_until)
        except OSError as error:  # which is one more reason to tell what there is
            log.warning("%s", error)
            return 0.0
        return until / 1000 - time.time()

    async def _tell_news(self) -> None:
        news, self._news = self._news, {}
        for subject, note in news.items():
            # No folder mends a sign-in.
            click = None if subject == "sign-in" else self._click
            told = await self._show(note, None, click, _OF_ALL)
            self._report(note, subject, None, *told)

    async def _tell_of_repair(self) -> None:
        damaged = await self._gallery.read(repair.note)
        if damaged is None:
            return
        if damaged != self._repair_shown:
            note = wording.repaired(damaged)
            told = await self._show(note, None, self._click, _OF_ALL)
            self._repair_shown = damaged
            self._report(note, "gallery", None, *told)
        await self._gallery.write(repair.noted)

    async def _tell_of_failures(self, now: float) -> None:
        owner = self._presence.shown_owner
        if owner is None:
            return
        due = [
            record
            for record in await self._gallery.read(items.to_tell, owner)
            if not await self._was_shown(owner, record)
            and not self._audience.expects((owner, record.job.job_id))
        ]
        share = self._storm.share(len(due), now)
        self._look_at = share.look_at
        groups = [[record] for record in due[: share.alone]]
        if share.together:
            groups.append(due[share.alone : share.alone + share.together])
        for records in groups:
            if self._presence.shown_owner != owner:
                break  # the account's turn to be told has passed
            try:
                await self._tell(owner, records, share.in_all)
            except OSError as error:  # the others are told all the same
                log.warning("%s: %s", _subject(records), error)

    async def _tell(
        self, owner: str, records: Sequence[JobRecord], in_all: int
    ) -> None:
        newest = _note(records[-1])
        alone = len(records) == 1
        note = newest if alone else wording.several(len(records), in_all, newest)
        job_id = records[0].job.job_id if alone else None
        shown, outcome = await self._show(note, job_id, self._click, _OF_JOBS)
        self._report(note, _subject(records), job_id, shown, outcome)
        for record in records:
            self._shown[owner, record.job.job_id] = record, outcome
        await self._enter(owner, [record.job.job_id for record in records], outcome)

    async def _enter(self, owner: str, job_ids: Sequence[str], outcome: str) -> None:
        # Told is told after it was shown: a crash in between tells it twice, not never.
        await self._gallery.write(ledger.told, owner, job_ids, outcome)
        for job_id in job_ids:
            self._shown.pop((owner, job_id), None)

    async def _was_shown(self, owner: str, record: JobRecord) -> bool:
        """Whether it was, and could not be entered then, which is tried again."""
        known, outcome = self._shown.get((owner, record.job.job_id), (None, ""))
        if known != record:
            return False
        try:
            await self._enter(owner, [record.job.job_id], outcome)
        except OSError as error:
            log.warning("%s: %s", _subject([record]), error)
        return True

    def _report(
        self, note: Note, subject: str, job_id: str | None, shown: bool, outcome: str
    ) -> None:
        self._presence.notifications = outcome
        log.log(
            logging.INFO if shown else logging.WARNING,
            "job %s: %s: %s (%s)" if job_id else "%s: %s: %s (%s)",
            job_id or subject,
            note.title,
            note.body,
            outcome,
        )
        self._events.emit(
            "notification",
            "shown" if shown else "not_shown",
            {
                "jobId": job_id,
                "title": note.title,
                "body": note.body,
                "shown": shown,
            },
        )

    async def _show(
        self,
        note: Note,
        job_id: str | None,
        click: Click | None,
        levels: Collection[Level],
    ) -> tuple[bool, str]:
        if self.level not in levels:
            return False, SWITCHED_OFF
        if await self._audience.show(note, job_id):
            return True, "shown through the app"
        shown = await self._notifier.show(note, click)
        if shown.shown:
            return True, f"shown through {shown.channel}"
        return False, f"not shown: {shown.reason}"


def _subject(records: Sequence[JobRecord]) -> str:
    if len(records) == 1:
        return f"job {records[0].job.job_id}"
    return f"{len(records)} jobs"


def _note(record: JobRecord) -> Note:
    if record.job.status != "succeeded":
        return wording.failed(record.job)
    if record.state == "unrecognised":
        return wording.unrecognised(record.job, record.items[0].file_name)
    return wording.not_saved(record.job, len(record.items), record.error or "")
