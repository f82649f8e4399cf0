"""Media jobs as the deployment serves them: what to ask, how to read the answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from materializer.convex.events import Deliver
from materializer.convex.messages import QueryFailure
from materializer.convex.queries import Result
from materializer.model import Job, Snapshot

LIMIT = 200

_JOB = "job "
_Args: TypeAlias = dict[str, object]


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


def read_snapshot(deliver: Deliver) -> tuple[Snapshot, str | None]:
    """Return what the answers say, and what was wrong with them, if anything."""
    answers = dict(deliver.results)
    reading = _Reading()
    succeeded = reading.rows(answers.pop("succeeded", None))
    failed = reading.rows(answers.pop("failed", None))
    full = any(rows is not None and len(rows) >= LIMIT for rows in (succeeded, failed))
    for job in reading.singles(answers.values()):
        if job.succeeded:
            succeeded = _merged(succeeded, job)
        elif job.ended:
            failed = _merged(failed, job)
    snapshot = Snapshot(
        owner=deliver.owner,
        succeeded=None if succeeded is None else tuple(succeeded),
        failed=None if failed is None else tuple(failed),
        backlog=deliver.first,
        full=full,
        unreadable=reading.unreadable,
        absent=frozenset(n.removeprefix(_JOB) for n, a in answers.items() if a is None),
    )
    return snapshot, reading.complaint


class _Reading:
    """Rows become jobs; those that cannot are counted."""

    def __init__(self) -> None:
        self.unreadable = 0
        self.complaint: str | None = None

    def rows(self, answer: Result) -> list[Job] | None:
        if isinstance(answer, list):
            return self._jobs(answer)
        if not isinstance(answer, QueryFailure):
            self.complaint = "the deployment's list of jobs is no list"
        return None

    def singles(self, answers: Iterable[Result]) -> list[Job]:
        # null is a job that does not exist, or is somebody else's
        found = [a for a in answers if not isinstance(a, QueryFailure | None)]
        return self._jobs(found)

    def _jobs(self, rows: Iterable[object]) -> list[Job]:
        jobs = []
        for row in rows:
            try:
                jobs.append(Job.from_row(row))
            except ValueError:
                self.unreadable += 1
        return jobs


def _merged(jobs: list[Job] | None, job: Job) -> list[Job]:
    jobs = jobs or []
    if any(known.job_id == job.job_id for known in jobs):
        return jobs
    return sorted([*jobs, job], key=lambda j: j.finished_at, reverse=True)
