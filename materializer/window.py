"""The window on the feed: from when on, and for which single jobs, it is asked.

Both follow the ledger. Each list is asked for from its cursor on, and every open job
that no list shows, be it older or just submitted here, by its id until it has ended.
So is a job whose link is gone, anew after each attempt: a new question makes the
deployment sign a new link.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from materializer.config import Settings
from materializer.errors import DiskTrouble
from materializer.feed import Feed
from materializer.gallery import Gallery, ledger
from materializer.media_jobs import Question, hidden_before, next_question
from materializer.model import QUERIES, Account, Snapshot
from materializer.pipeline import Pipeline
from materializer.place import disk_trouble
from materializer.presence import Events, Presence

log = logging.getLogger(__name__)

GAP = "the feed's page is full, so it may hide older jobs"


class Window:
    """Chooses what one account's feed is asked, and asks anew as jobs settle.

    Args:
        since: ms; from when on the lists are asked for at first, whatever the cursors
            say. Once the first answer is in the ledger, the cursors count.
    """

    def __init__(
        self,
        settings: Settings,
        gallery: Gallery,
        pipeline: Pipeline,
        presence: Presence,
        events: Events,
        *,
        since: int | None,
    ) -> None:
        self._settings = settings
        self._gallery = gallery
        self._pipeline = pipeline
        self._presence = presence
        self._events = events
        self._since = since
        self._feed: Feed | None = None
        self._account: Account | None = None
        self._question: Question | None = None
        self._shown: Snapshot | None = None
        self._renewed: dict[str, int] = {}

    async def open(self, feed: Feed, account: Account) -> None:
        """Choose the first question on behalf of somebody who has signed in.

        Raises:
            DiskTrouble: the ledger cannot be read.
        """
        self._feed, self._account = feed, account
        self._question = self._shown = self._presence.gap = None
        self._renewed = {}
        lookback = int(self._settings.first_run_lookback * 1000)
        with disk_trouble():
            cursors = await self._gallery.write(
                ledger.cursors, account, first=_now() - lookback
            )
        if self._since is not None:
            cursors = dict.fromkeys(QUERIES, self._since)
        if account == self._account:  # else somebody else has signed in meanwhile
            self._want(feed, Question(cursors["succeeded"], cursors["failed"]))

    def show(self, account: Account, snapshot: Snapshot) -> None:
        """Take note of an answer."""
        if account != self._account:
            return
        before, self._shown = self._shown, snapshot
        if snapshot.unreadable > (before.unreadable if before else 0):
            log.warning("%d rows of the feed cannot be read", snapshot.unreadable)
        gap = hidden_before(snapshot, before)
        if gap is not None:
            log.warning("%s", GAP)
            data = {"state": "gap", "reason": GAP, "before": gap}
            self._events.emit("feed", "gap", data)
        if gap is not None or snapshot.backlog:
            self._presence.gap = gap

    async def keep(self) -> None:
        """Ask anew whenever what was done calls for it, until cancelled."""
        async for _ in self._pipeline.changes():
            try:
                await self._ask()
            except DiskTrouble as error:  # the next change is another chance
                log.warning("%s", error)

    async def materialize(self, account: Account, job_id: str) -> None:
        """Return when a job has settled, or is not in the ledger: there is none.

        It is entered there first, so that it is asked for even if nobody waits for it.

        Raises:
            DiskTrouble: it could not be entered.
        """
        with disk_trouble():
            await self._gallery.write(ledger.submit, account, job_id, _now())
        self._pipeline.wake()
        await self._pipeline.settled(account.owner, job_id)

    async def _ask(self) -> None:
        """Follow the ledger, once it has all that the answer shows."""
        feed, account = self._feed, self._account
        before, shown = self._question, self._shown
        if feed is None or account is None or before is None or shown is None:
            return
        if not self._pipeline.has_looked:
            return  # it says when it has
        self._since = None
        with disk_trouble():
            standing = await self._gallery.read(ledger.standing, account)
        if account != self._account or before is not self._question:
            return  # somebody has signed in meanwhile
        question = next_question(
            before, shown, standing.cursors, standing.open_jobs, standing.gone
        )
        tried_since = standing.gone.items() - self._renewed.items()
        again = {job_id for job_id, _ in tried_since} & before.job_ids
        self._renewed = standing.gone
        if again:  # only a question that is not being asked can be asked anew
            self._want(feed, replace(question, job_ids=question.job_ids - again))
        if again or question != before:
            self._want(feed, question)

    def _want(self, feed: Feed, question: Question) -> None:
        self._question = question
        feed.want(question.succeeded, question.failed, question.job_ids)


def _now() -> int:
    return time.time_ns() // 1_000_000
