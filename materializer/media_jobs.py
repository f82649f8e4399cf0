"""Media jobs as the deployment serves them: what to ask, how to read the answers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from materializer.convex.events import Deliver
from materializer.convex.messages import QueryFailure
from materializer.convex.queries import Result
from materializer.convex.words import fit
from materializer.model import OPEN_STATUSES, QUERIES, Job, Query, Snapshot
from materializer.rows import read_job

LIMIT = 200

_JOB = "job "
_Args: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask: for both lists from when on, in ms, and for single jobs."""

    succeeded: int
    failed: int
    job_ids: frozenset[str] = frozenset()


def wanted(
    since_succeeded: int, since_failed: int, job_ids: Iterable[str]
) -> dict[str, tuple[str, _Args]]:
    """Return the queries for both lists, times in ms, and for single jobs."""
    lists: dict[str, tuple[str, _Args]] = {
        "succeeded": (
            "media_jobs:listSucceededSince",
            {"since": since_succeeded, "limit": LIMIT},
        ),
        "failed": (
            "media_jobs:listFailedSince",
            {"since": since_failed, "limit": LIMIT},
        ),
    }
    return lists | {
        f"{_JOB}{job_id}": ("media_jobs:getByJobId", {"jobId": job_id})
        for job_id in job_ids
    }


def next_question(
    before: Question,
    shown: Snapshot,
    cursors: Mapping[Query, int],
    open_jobs: Collection[str],
    gone: Collection[str],
) -> Question:
    """Return what to ask after `before` was answered with `shown`.

    A list is asked for from its cursor on as soon as half of its rows lie behind that:
    every completion sends the whole list again, and so does asking anew. Open jobs that
    no list shows are asked for by id, and so are those whose link is `gone`: a question
    that is new is answered with a new link.
    """
    listed = {job.job_id for rows in shown.listed.values() for job in rows}
    return Question(
        _since(before.succeeded, cursors["succeeded"], shown.succeeded or ()),
        _since(before.failed, cursors["failed"], shown.failed or ()),
        (frozenset(open_jobs) - listed) | frozenset(gone),
    )


def hidden_before(shown: Snapshot, before: Snapshot | None) -> int | None:
    """Return the completion, in ms, before which jobs may be hidden, or None.

    They are where a page is full, unless it reaches back to what the list showed
    `before`.
    """
    reached = before.reached if before else {}
    hidden = []
    for query in shown.full:
        oldest = min((job.finished_at for job in shown.listed[query]), default=0)
        if oldest > reached.get(query, -1):
            hidden.append(oldest)
    return max(hidden, default=None)


def read_snapshot(deliver: Deliver) -> tuple[Snapshot, str | None]:
    """Return what the answers say, and what was wrong with them, if anything.

    Of a job that is in a list and was asked for by id too, the row that was updated
    later counts, else the one that was asked for.
    """
    answers = dict(deliver.results)
    reading = _Reading()
    lists: dict[Query, tuple[Job, ...] | None] = {
        query: reading.listed(query, answers.pop(query, None)) for query in QUERIES
    }
    listed = {job.job_id: job for rows in lists.values() for job in rows or ()}
    snapshot = Snapshot(
        deliver.owner,
        lists["succeeded"],
        lists["failed"],
        tuple(
            job
            for job in reading.singles(answers.values())
            if not _is_older(job, listed.get(job.job_id))
        ),
        backlog=deliver.first,
        full=frozenset(reading.full),
        unreadable=reading.unreadable,
        absent=frozenset(n.removeprefix(_JOB) for n, a in answers.items() if a is None),
    )
    return snapshot, reading.complaint


class _Reading:
    """Rows become jobs that have ended; those that cannot are counted."""

    def __init__(self) -> None:
        self.full: set[Query] = set()
        self.unreadable = 0
        self._complaints: list[str] = []

    @property
    def complaint(self) -> str | None:
        """What was wrong, in words, or None."""
        count = self.unreadable
        rows = [f"{count} rows of the feed cannot be read"] if count else []
        return "; ".join([*self._complaints, *rows]) or None

    def listed(self, query: Query, answer: Result) -> tuple[Job, ...] | None:
        if isinstance(answer, list):
            if len(answer) >= LIMIT:
                self.full.add(query)
            jobs = [j for j in self._jobs(answer) if j.status not in OPEN_STATUSES]
            if query == "succeeded":
                # A word that is not known here means what its list says.
                jobs = [j if j.ended else replace(j, status=query) for j in jobs]
            return tuple(jobs)
        why = fit(answer.message) if isinstance(answer, QueryFailure) else "it is none"
        self._complaints.append(f"the list of {query} jobs cannot be had: {why}")
        return None

    def singles(self, answers: Iterable[Result]) -> tuple[Job, ...]:
        # null is a job that does not exist, or is somebody else's
        found = [a for a in answers if not isinstance(a, QueryFailure | None)]
        return tuple(job for job in self._jobs(found) if job.ended)

    def _jobs(self, rows: Iterable[object]) -> list[Job]:
        jobs = []
        for row in rows:
            try:
                jobs.append(read_job(row))
            except ValueError:
                self.unreadable += 1
        return jobs


def _is_older(job: Job, listed: Job | None) -> bool:
    if listed is None or None in (job.updated_at, listed.updated_at):
        return False
    return (job.updated_at or 0) < (listed.updated_at or 0)


def _since(asked: int, cursor: int, rows: Sequence[Job]) -> int:
    behind = sum(job.finished_at < cursor for job in rows)
    return cursor if cursor > asked and 0 < behind >= len(rows) - behind else asked
