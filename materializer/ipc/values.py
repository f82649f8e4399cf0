"""The values in what the daemon answers, and says unasked, as clients know them.

For documents and tests; the daemon itself does without. A member whose default is None
may be left out, and is never null; one that may be null is always there.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from materializer.ipc.contract import SEQ_END
from materializer.model import Action, JobState, Kind

Seq = Annotated[int, Field(ge=0, lt=SEQ_END)]
Ms = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class Told(BaseModel):
    """Base of all that is said; camel case on the wire."""

    model_config = ConfigDict(
        alias_generator=to_camel, frozen=True, use_attribute_docstrings=True
    )


class Nothing(Told):
    """An empty object."""


class Welcome(Told):
    """Who answers."""

    server: Literal["stella-materializer"]
    version: str
    protocol: Literal[1]
    pid: int
    state_dir: str
    owner: str | None
    """The account that is signed in; null when nobody is."""


class Cursor(Told):
    """How far a consumer is."""

    cursor: Seq


class Suppressed(Told):
    """What holds now."""

    suppressed: bool


class GalleryItem(Told):
    """One file of the gallery."""

    id: str
    """`<jobId>_<index>`"""
    job_id: str
    index: Count
    """Its position in the job's output."""
    kind: Kind
    path: str
    """Absolute. A transcript's is that of its text."""
    file_name: str
    bytes: Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    mime_type: str
    capability: str
    created_at: Ms
    """When the job was completed."""
    saved_at: Ms
    missing: bool
    """Whether there is no file at `path` now."""
    width: Count | None = None
    height: Count | None = None
    duration_ms: Count | None = None
    thumbnail_path: str | None = None
    """Absolute; a small preview."""
    label: str | None = None
    prompt: str | None = None
    profile: str | None = None
    aspect_ratio: str | None = None


class Page(Told):
    """Some of the gallery."""

    items: list[GalleryItem]
    next_cursor: str | None
    """For the next page; null on the last one."""
    total: Count
    """How many there are on all pages."""


class Removed(Told):
    """It is done."""

    removed: Literal[True]


class Rebuilt(Told):
    """What was found on disk."""

    added: Count
    damaged: list[str]
    """The names of files that are not whole, and stay out."""


class Job(Told):
    """What is known of one job."""

    job_id: str
    state: JobState
    """`done`: all there is, is on disk. `unrecognised`: so is an output of no known
    shape. `failed` is final, too."""
    status: str
    """The backend's word."""
    capability: str
    prompt: str | None = None
    attempts: Count
    next_attempt_at: Ms | None
    error: str | None
    """Why it is not done, in words for a person."""
    files: list[str]
    """Absolute paths, those beside the gallery's included."""
    outputs: list[GalleryItem]


class Jobs(Told):
    """Some jobs."""

    jobs: list[Job]


class SignedIn(Told):
    """Who has signed in."""

    owner: str


class Snoozed(Told):
    """How long the person is left alone."""

    snoozed_until: Ms | None


class FeedStatus(Told):
    """Where the connection to the backend stands."""

    state: Literal[
        "connecting", "authenticating", "live", "backoff", "signed_out", "stopped"
    ]
    url: str
    connected_at: Ms | None
    reconnects: Count
    last_error: str | None
    gap: Ms | None
    """Jobs that were completed before may be hidden by a full answer."""


class JobCounts(Told):
    """How many jobs are in each state."""

    pending: Count
    fetching: Count
    done: Count
    failed: Count


class GallerySize(Told):
    """How much there is."""

    items: Count
    bytes: Count


class Disk(Told):
    """Whether files can be saved."""

    free_bytes: Count | None
    paused: bool
    error: str | None = None


class Status(Told):
    """What the daemon is doing."""

    version: str
    pid: int
    uptime_ms: Count
    state_dir: str
    owner: str | None
    feed: FeedStatus
    jobs: JobCounts
    gallery: GallerySize
    disk: Disk
    since: Ms | None
    """Completions from here on are asked for."""
    notifications: str | None
    """What came of the last one."""
    snoozed_until: Ms | None
    """Until then nothing is shown."""
    open_policy: Literal["open", "register", "never"]
    """Unless it is `open`, no update opens anything; with `never`, mark none as new."""


class Images(Told):
    """All pictures of a job."""

    kind: Literal["image"]
    file_paths: list[str]


class Recording(Told):
    """A film, or sound."""

    kind: Literal["video", "audio"]
    file_path: str


class Model(Told):
    """A 3D model."""

    kind: Literal["model3d"]
    file_path: str
    label: str | None = None


class Download(Told):
    """Any other file."""

    kind: Literal["download"]
    file_path: str
    label: str


class Transcript(Told):
    """The text itself."""

    kind: Literal["text"]
    text: str


class Size(Told):
    """Width and height that were asked for."""

    width: Count
    height: Count


class DisplayPayload(Told):
    """What a Display sidebar shows; hand it on as it is."""

    kind: Literal["media"]
    asset: Annotated[
        Images | Recording | Model | Download | Transcript, Field(discriminator="kind")
    ]
    job_id: str
    capability: str
    created_at: Ms
    prompt: str | None = None
    aspect_ratio: str | None = None
    requested_size: Size | None = None


class DisplayUpdate(Told):
    """One announcement."""

    seq: Seq
    """The same for the same update for ever."""
    action: Action
    """`open`: add the payload and bring the sidebar up; `register`: add it quietly;
    `remove`: take away what it names, one file at a time."""
    replay: bool
    """Whether it was announced before you subscribed."""
    payload: DisplayPayload
