"""Wanted minus have is work; what to announce, what failed, when to try again.

Pure: the feed's snapshot and the ledger's knowledge go in, values come out. A lost
message, a duplicate, a crash and a restart are one case here, because only levels
are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from materializer.errors import FetchError, OutputRefused
from materializer.model import (
    CANCELED_STATUSES,
    OPEN_STATUSES,
    Action,
    Job,
    JobState,
    Placed,
    Settlement,
    Snapshot,
)

OpenPolicy = Literal["open", "register", "never"]

OVERLAP_MS = 2 * 60 * 1000
"""How far below the last settled completion the feed is asked to begin."""

# Seconds before the second, third, ... attempt: about a day and a half in all.
_CALENDAR = (2, 5, 15, 60, 300, 900, 3600, 3 * 3600, 8 * 3600, 24 * 3600)


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger says of one job.

    `have` are the indices already in the gallery or removed from it by the person.
    """

    state: JobState
    status: str
    action: Action = "register"
    attempts: int = 0
    next_attempt_at: int | None = None
    have: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Work:
    """A job to materialize now, and how it will be announced."""

    job: Job
    action: Action
    have: frozenset[int] = frozenset()
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows from one look at the feed and the ledger.

    Attributes:
        work: to start now, in the order of completion.
        failed: upstream failures that the ledger has not recorded yet.
        gone: open jobs that the backend does not know, or no longer.
        wake_at: when the next retry is due, in ms, or None.
    """

    work: tuple[Work, ...]
    failed: tuple[Job, ...]
    gone: tuple[str, ...]
    wake_at: int | None


def plan(
    snapshot: Snapshot,
    known: Mapping[str, Known],
    *,
    now: int,
    policy: OpenPolicy,
    fresh_ms: int,
) -> Plan:
    """Subtract what the ledger knows from what the feed says.

    `now` is in ms. A job that is new in the backlog is announced quietly, unless it
    is the newest there and fresh; one that is new later is opened when fresh. A failure
    changes nothing about a job that is here, and a success takes a failure back.
    """
    jobs = sorted(snapshot.jobs, key=_completion)
    wanted = [job for job in jobs if job.succeeded]
    newest = max((job.finished_at for job in wanted), default=0)
    work: list[Work] = []
    due: list[int] = []
    for job in wanted:
        seen = known.get(job.job_id)
        if seen is None or _unseen(seen):
            late = snapshot.backlog and job.finished_at < newest
            fresh = now - job.finished_at <= fresh_ms and not late
            work.append(Work(job, "open" if fresh and policy == "open" else "register"))
        elif seen.state == "pending":
            if seen.next_attempt_at is not None and seen.next_attempt_at > now:
                due.append(seen.next_attempt_at)
            else:
                work.append(Work(job, seen.action, seen.have, seen.attempts))
    shown = {job.job_id for job in jobs}
    open_jobs = {job_id for job_id, seen in known.items() if seen.state == "pending"}
    failed = [
        job
        for job in jobs
        if not job.succeeded and (job.job_id not in known or job.job_id in open_jobs)
    ]
    gone = sorted(snapshot.absent & open_jobs - shown)
    return Plan(tuple(work), tuple(failed), tuple(gone), min(due, default=None))


def is_quiet(job: Job) -> bool:
    """Whether an upstream failure is no news: the person canceled it."""
    return job.status in CANCELED_STATUSES


def retry_at(
    attempts: int, *, now: int, chance: float, retry_after: float | None = None
) -> int | None:
    """Return when to try again after `attempts` tries, in ms; None when never.

    `chance` in [0, 1) spreads the delay by a fifth either way; what the other side
    asked for is honoured up to an hour.
    """
    if not 1 <= attempts <= len(_CALENDAR):
        return None
    delay = _CALENDAR[attempts - 1] * (0.8 + 0.4 * chance)
    if retry_after is not None:
        delay = max(delay, min(retry_after, 3600.0))
    return now + int(delay * 1000)


def conclude(
    work: Work,
    *,
    recognised: bool,
    placed: Sequence[Placed],
    before: Sequence[Placed],
    errors: Sequence[FetchError],
    now: int,
    chance: float,
) -> Settlement:
    """Say what an attempt came to: done, to be tried again, or failed for good.

    `placed` are the files of this attempt, `before` those of earlier ones. What there
    is, is announced once, with the last attempt.
    """
    attempts = work.attempts + 1
    error = (errors[0].code, str(errors[0])) if errors else None
    passing = [error for error in errors if not isinstance(error, OutputRefused)]
    again = retry_at(
        attempts,
        now=now,
        chance=chance,
        retry_after=max((e.retry_after or 0 for e in passing), default=0),
    )
    if passing and again is not None:
        return Settlement(
            work.job,
            "pending",
            tuple(placed),
            attempts=attempts,
            next_attempt_at=again,
            error=error,
        )
    if not recognised:
        error = ("unrecognised_output", "the output has no shape that is known here")
    state: JobState = "failed" if errors else "done" if recognised else "unrecognised"
    files = sorted((*before, *placed), key=lambda file: file.index)
    return Settlement(
        work.job,
        state,
        tuple(placed),
        tuple(payloads(work.job, files)),
        work.action,
        attempts=attempts,
        error=error,
        tell=state != "done",
    )


def payloads(job: Job, placed: Iterable[Placed]) -> list[dict[str, Any]]:
    """Return the display payloads of a job: one for each group of its files.

    All images are one payload, every other file is its own, a transcript is its text.
    """
    shown = [file for file in placed if not file.companion]
    images = [file.path for file in shown if file.kind == "image"]
    assets: list[dict[str, Any]] = []
    if images:
        assets.append({"kind": "image", "filePaths": images})
    assets += [_asset(file) for file in shown if file.kind != "image"]
    return [_payload(job, asset) for asset in assets]


def _asset(file: Placed) -> dict[str, Any]:
    if file.kind == "text":
        return {"kind": "text", "text": file.text or ""}
    asset = {"kind": file.kind, "filePath": file.path}
    if file.kind in {"download", "model3d"} and file.label:
        asset["label"] = file.label
    return asset


def _payload(job: Job, asset: dict[str, Any]) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "kind": "media",
        "asset": asset,
        "jobId": job.job_id,
        "capability": job.capability,
        "createdAt": job.finished_at,
    }
    if job.prompt:
        payload["prompt"] = job.prompt
    if job.aspect_ratio:
        payload["aspectRatio"] = job.aspect_ratio
    if job.requested_size:
        width, height = job.requested_size
        payload["requestedSize"] = {"width": width, "height": height}
    return payload


def _completion(job: Job) -> int:
    return job.finished_at


def _unseen(seen: Known) -> bool:
    """Whether only a submission or an upstream failure of the job is known so far."""
    if seen.state == "pending":
        return seen.status in OPEN_STATUSES
    return seen.state == "failed" and seen.status != "succeeded"
