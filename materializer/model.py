"""The values that flow through the house, all frozen.

A `Job` is a row of `media_jobs`; it promises `Output`s; each becomes a `Placed`
file and a `GalleryItem`; each group of them becomes a `DisplayUpdate`. Times are
milliseconds since 1970, sizes are bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Any, Literal

Kind = Literal["image", "video", "audio", "model3d", "download", "text"]
Action = Literal["open", "register", "remove"]
JobState = Literal["pending", "fetching", "done", "failed", "unrecognised"]
Query = Literal["succeeded", "failed"]

QUERIES: tuple[Query, ...] = ("succeeded", "failed")

SUBMITTED = "submitted"
"""The status of a job that was submitted here and that the feed has not shown yet."""

FOUND = "found"
"""The status of a job of which nothing but files on this disk is known."""

OPEN_STATUSES = frozenset(
    {"queued", "pending", "in_progress", "processing", "running", SUBMITTED}
)
CANCELED_STATUSES = frozenset({"canceled", "cancelled"})
ENDED_STATUSES = frozenset({"succeeded", "failed", "unknown"}) | CANCELED_STATUSES


@dataclass(frozen=True, slots=True)
class JobError:
    """Why the backend says that a job failed, as it came."""

    message: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One row of `media_jobs`. Fields that the backend left out are None."""

    job_id: str
    status: str
    capability: str = ""
    profile: str | None = None
    prompt: str | None = None
    aspect_ratio: str | None = None
    requested_size: tuple[int, int] | None = None
    output: Any = field(default=None, repr=False)
    error: JobError | None = None
    created_at: int = 0
    updated_at: int | None = None
    completed_at: int | None = None

    @property
    def finished_at(self) -> int:
        """When the job ended, in ms: completion, else last change, else creation."""
        return self.completed_at or self.updated_at or self.created_at

    @property
    def succeeded(self) -> bool:
        """Whether there is an output to materialize."""
        return self.status == "succeeded"

    @property
    def ended(self) -> bool:
        """Whether the status is one that no longer changes; a strange word may."""
        return self.status in ENDED_STATUSES


@dataclass(frozen=True, slots=True)
class Remote:
    """Bytes behind an http(s) URL, which is a secret until the job has settled."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Inline:
    """Bytes that came with the job itself."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refused:
    """Bytes that can never be had, and why, in words for a person."""

    reason: str


@dataclass(frozen=True, slots=True)
class Output:
    """One file that a succeeded job promises.

    `index` is its position in the job's output, never compacted. A companion is kept
    beside the item it belongs to and is no gallery item of its own.
    """

    index: int
    kind: Kind
    source: Remote | Inline | Refused
    mime_type: str | None = None
    file_name: str | None = None
    label: str | None = None
    companion: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    """An output that is on disk, whole, verified and fsynced under its final name.

    `text` is the transcript itself where the output is one.
    """

    index: int
    kind: Kind
    path: str
    bytes: int
    sha256: str
    mime_type: str
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
    label: str | None = None
    text: str | None = field(default=None, repr=False)
    companion: bool = False


@dataclass(frozen=True, slots=True)
class GalleryItem:
    """One entry of the gallery, as contract `GalleryItem`; `path` is absolute."""

    id: str
    job_id: str
    index: int
    kind: Kind
    path: str
    file_name: str
    bytes: int
    sha256: str
    mime_type: str
    capability: str
    created_at: int
    saved_at: int
    missing: bool = False
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None
    thumbnail_path: str | None = None
    label: str | None = None
    prompt: str | None = None
    profile: str | None = None
    aspect_ratio: str | None = None

    def wire(self) -> dict[str, Any]:
        """Return the item as JSON for clients: camel case, unknown fields left out."""
        return {
            camel(f.name): value
            for f in fields(self)
            if (value := getattr(self, f.name)) is not None
        }


@dataclass(frozen=True, slots=True)
class DisplayUpdate:
    """One announcement. The same `seq` means the same update for ever."""

    seq: int
    action: Action
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the feed says should be, all at one moment: jobs that have ended.

    Attributes:
        owner: the account these jobs belong to.
        succeeded: rows of the succeeded query, newest first, or None while it has no
            answer, which says nothing about what there is.
        failed: the same for the failed query.
        asked: jobs that were asked for by id.
        backlog: whether this is the first answer after a (re)connection.
        full: the queries that were answered with as many rows as they may hold.
        unreadable: how many rows were left out because they had no identity.
        absent: jobs that were asked for by id and do not exist.
    """

    owner: str
    succeeded: tuple[Job, ...] | None = None
    failed: tuple[Job, ...] | None = None
    asked: tuple[Job, ...] = ()
    backlog: bool = False
    full: frozenset[Query] = frozenset()
    unreadable: int = 0
    absent: frozenset[str] = frozenset()

    @property
    def listed(self) -> dict[Query, tuple[Job, ...]]:
        """The rows of each query that was answered."""
        lists: dict[Query, tuple[Job, ...] | None] = {
            "succeeded": self.succeeded,
            "failed": self.failed,
        }
        return {query: rows for query, rows in lists.items() if rows is not None}

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every job once; where it both succeeded and failed, it succeeded."""
        jobs: dict[str, Job] = {}
        for job in (*(self.succeeded or ()), *(self.failed or ()), *self.asked):
            if job.succeeded or job.job_id not in jobs:
                jobs[job.job_id] = job
        return tuple(jobs.values())

    @property
    def reached(self) -> dict[Query, int]:
        """The newest completion that each query shows, in ms."""
        return {
            query: max(job.finished_at for job in rows)
            for query, rows in self.listed.items()
            if rows
        }


@dataclass(frozen=True, slots=True)
class Account:
    """Whose jobs, and on which deployment: what a cursor belongs to."""

    deployment: str
    owner: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What one attempt at a job came to; recorded in one transaction.

    Attributes:
        state: `pending` when it will be tried again, else final.
        placed: the files of this attempt, now under their final names.
        payloads: display payloads to announce, in order; only with a final state.
        next_attempt_at: ms, with `pending` only.
        error: why it is not done, as (code, words).
        tell: whether the person must be told of the failure.
    """

    job: Job
    state: JobState
    placed: tuple[Placed, ...] = ()
    payloads: tuple[dict[str, Any], ...] = ()
    action: Action = "register"
    attempts: int = 0
    next_attempt_at: int | None = None
    error: tuple[str, str] | None = None
    tell: bool = False


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What the ledger says of one job, for clients and notices."""

    job: Job
    state: JobState
    attempts: int
    next_attempt_at: int | None
    error: str | None
    told: str | None
    items: tuple[GalleryItem, ...] = ()
    files: tuple[str, ...] = ()


def camel(name: str) -> str:
    """Return a name as it is on the wire."""
    return re.sub(r"_(\w)", lambda m: m[1].upper(), name)
