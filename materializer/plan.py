"""Wanted minus have is work; what to announce, what failed, when to try again.

Pure: the feed's snapshot and the ledger's knowledge go in, values come out. A lost
message, a duplicate, a crash and a restart are one case here, because only levels
are compared.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from materializer.errors import FetchError
from materializer.model import (
    CANCELED_STATUSES,
    FOUND,
    OPEN_STATUSES,
    Action,
    Job,
    JobState,
    Placed,
    Settlement,
    Snapshot,
)
from materializer.retry import (
    Tried,
    gravest,
    is_renewed,
    next_attempt,
    passing,
)

OpenPolicy = Literal["open", "register", "never"]

OVERLAP_MS = 2 * 60 * 1000
"""How far below the last settled completion the feed is asked to begin."""

_LARGE = re.compile("video|3d|model_|mesh", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger says of one job.

    `have` are the indices already in the gallery or removed from it by the person;
    `link_gone` is whether the last attempt ended with a link that is no longer good.
    """

    state: JobState
    status: str
    action: Action = "register"
    attempts: int = 0
    next_attempt_at: int | None = None
    have: frozenset[int] = frozenset()
    link_gone: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """A job to materialize now, and how it will be announced.

    Attributes:
        have: the indices that are not missing.
        attempts: made so far.
        link_gone: whether the last of them ended with a link that is no longer good.
        tried: what else is remembered of it.
        ahead: whether it is made before its time, since the output is another one.
    """

    job: Job
    action: Action
    have: frozenset[int] = frozenset()
    attempts: int = 0
    link_gone: bool = False
    tried: Tried | None = None
    ahead: bool = False


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
    busy: Collection[str],
    tried: Mapping[str, Tried],
    now: int,
    policy: OpenPolicy,
    fresh_ms: int,
) -> Plan:
    """Subtract what the ledger knows from what the feed says.

    `now` is in ms. A job that is new in the backlog is announced quietly, unless it
    is the newest there and fresh; one that is new later is opened when fresh. A failure
    changes nothing about a job that is here, and a success takes a failure back. One of
    which only files were found so far is told quietly, with what is missing. A job
    whose link was gone is work as soon as it has another output than was `tried`. For
    jobs that are `busy`, being at work, nothing is planned.
    """
    every = sorted(snapshot.jobs, key=_completion)
    jobs = [job for job in every if job.job_id not in busy]
    wanted = [job for job in jobs if job.succeeded]
    newest = max((job.finished_at for job in every if job.succeeded), default=0)
    work: list[Work] = []
    due: list[int] = []
    for job in wanted:
        seen = known.get(job.job_id)
        if seen is None or _unseen(seen):
            late = snapshot.backlog and job.finished_at < newest
            fresh = now - job.finished_at <= fresh_ms and not late
            work.append(Work(job, "open" if fresh and policy == "open" else "register"))
        elif seen.status == FOUND:
            work.append(Work(job, "register", seen.have))
        elif seen.state == "pending":
            again = _again(job, seen, tried.get(job.job_id), now)
            if isinstance(again, Work):
                work.append(again)
            else:
                due.append(again)
    shown = {job.job_id for job in every}
    open_jobs = {job_id for job_id, seen in known.items() if seen.state == "pending"}
    failed = [
        job
        for job in jobs
        if not job.succeeded and (job.job_id not in known or job.job_id in open_jobs)
    ]
    gone = sorted(snapshot.absent & open_jobs - shown - {*busy})
    return Plan(tuple(work), tuple(failed), tuple(gone), min(due, default=None))


def is_quiet(job: Job) -> bool:
    """Whether an upstream failure is no news: the person canceled it."""
    return job.status in CANCELED_STATUSES


def is_large(job: Job) -> bool:
    """Whether a job may bring a film or a 3D model, by its words and its output's."""
    output = job.output if isinstance(job.output, Mapping) else {}
    return any(_LARGE.search(str(word)) for word in (job.capability, *output))


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
    is, is announced once, with the last attempt. One output that may still come keeps
    the job open, whatever became of the others.
    """
    attempts = work.attempts + 1
    again = next_attempt(
        attempts,
        errors,
        work.tried,
        link_gone=work.link_gone,
        now=now,
        chance=chance,
    )
    if again is not None:
        return Settlement(
            work.job,
            "pending",
            tuple(placed),
            attempts=attempts,
            next_attempt_at=again,
            error=gravest(passing(errors)),
        )
    error = gravest(errors)
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


def _again(job: Job, seen: Known, tried: Tried | None, now: int) -> Work | int:
    """Return the next attempt at an open job, or when it is due, in ms."""
    due = seen.next_attempt_at or now
    ahead = due > now
    if ahead and not (seen.link_gone and is_renewed(job, tried)):
        return due
    return Work(
        job,
        seen.action,
        seen.have,
        seen.attempts,
        seen.link_gone,
        tried,
        ahead,
    )


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
