"""Notices to the person: each once, and the truth about whether it arrived.

They tell of failed jobs, of a sign-in that the deployment refuses, and of a disk that
cannot take what there is. Clients hear of all; a notice that is about no job has the
`jobId` null.
"""

from __future__ import annotations

import asyncio
import logging

from materializer import wording
from materializer.gallery import Gallery, items, ledger
from materializer.model import JobRecord
from materializer.notify import Notifier
from materializer.presence import Events, Presence
from materializer.wording import Note

log = logging.getLogger(__name__)

SWITCHED_OFF = "notifications are switched off"


class Notices:
    """Tells of what it is told, and of failures that the ledger holds as not yet told.

    Args:
        notifier: shows them; None when the person has switched that off.
    """

    def __init__(
        self,
        gallery: Gallery,
        notifier: Notifier | None,
        presence: Presence,
        events: Events,
    ) -> None:
        self._gallery = gallery
        self._notifier = notifier
        self._presence = presence
        self._events = events
        self._news: dict[str, Note] = {}
        self._due = asyncio.Event()
        self._due.set()  # an earlier run may have left some

    def wake(self) -> None:
        """Look for failures: after one was recorded, or somebody signed in."""
        self._due.set()

    def sign_in_refused(self, words: str) -> None:
        """Tell that the deployment refuses the sign-in, in its own words."""
        self._news["sign-in"] = wording.sign_in_refused(words)
        self._due.set()

    def disk_trouble(self, words: str) -> None:
        """Tell that files wait for the disk, and why."""
        self._news["disk"] = Note("Saving media is paused", wording.shown(words))
        self._due.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            await self._tell_news()
            owner = self._presence.shown_owner
            if owner is not None:
                for record in await self._gallery.read(items.to_tell, owner):
                    if self._presence.shown_owner != owner:
                        break  # the account's turn to be told has passed
                    try:
                        await self._tell(owner, record)
                    except OSError as error:  # it stays due, and is told again
                        log.warning("job %s: %s", record.job.job_id, error)

    async def _tell_news(self) -> None:
        news, self._news = self._news, {}
        for subject, note in news.items():
            self._report(note, subject, None, *await self._show(note))

    async def _tell(self, owner: str, record: JobRecord) -> None:
        note = _note(record)
        shown, outcome = await self._show(note)
        job_id = record.job.job_id
        # Told is told after it was shown: a crash in between tells it twice, not never.
        await self._gallery.write(ledger.told, owner, [job_id], outcome)
        self._report(note, f"job {job_id}", job_id, shown, outcome)

    def _report(
        self, note: Note, subject: str, job_id: str | None, shown: bool, outcome: str
    ) -> None:
        self._presence.notifications = outcome
        log.log(
            logging.INFO if shown else logging.WARNING,
            "%s: %s: %s (%s)",
            subject,
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

    async def _show(self, note: Note) -> tuple[bool, str]:
        if self._notifier is None:
            return False, SWITCHED_OFF
        shown = await self._notifier.show(note)
        if shown.shown:
            return True, f"shown through {shown.channel}"
        return False, f"not shown: {shown.reason}"


def _note(record: JobRecord) -> Note:
    if record.job.status != "succeeded":
        return wording.failed(record.job)
    if record.state == "unrecognised":
        return wording.unrecognised(record.job, record.items[0].file_name)
    return wording.not_saved(record.job, len(record.items), record.error or "")
