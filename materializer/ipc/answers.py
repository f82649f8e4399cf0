"""What comes back from each method, and what comes unasked, to local clients.

For documents and tests; the daemon itself does without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from materializer.ipc import values
from materializer.ipc.jsonlines import CONFLICT, NOT_FOUND, NOT_SIGNED_IN
from materializer.ipc.values import Count, Ms, Seq, Told
from materializer.model import JobState


@dataclass(frozen=True, slots=True)
class Answer:
    """A method as its caller wants to know it.

    Attributes:
        does: what it does, in Markdown.
        example: parameters that are good.
        errors: its own codes and when they come, beside those of every method.
    """

    result: type[Told]
    does: str
    example: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[int, str] = field(default_factory=dict)


_NO_JOB = {NOT_FOUND: "the job is not known"}
_NO_ITEM = {NOT_FOUND: "there is no such item"}
_FEED = {NOT_SIGNED_IN: "nobody is signed in"}
_JOB = {"jobId": "3f1c"}

ANSWERS: Mapping[str, Answer] = {
    "hello": Answer(
        values.Welcome,
        "Says who calls, and learns who answers. It comes first, but nothing needs it.",
        {"client": "my-app 1.0", "protocol": 1},
    ),
    "display.subscribe": Answer(
        values.Cursor,
        "From now on every display update with a greater `seq` than the cursor comes as"
        " a notification, in order, new ones included. Without `after` the cursor is"
        " where this consumer has acknowledged; a new consumer starts at the newest"
        " update. A connection has one subscription: another takes its place. With"
        " `page`, the address at `http://127.0.0.1:<port>/` of a page that shows what"
        " there is, a click on a notification opens that page for as long as you are"
        " connected.",
        {"consumer": "sidebar"},
    ),
    "display.ack": Answer(
        values.Cursor,
        "Everything up to `seq` has been shown. This is kept for each consumer and"
        " account; an older `seq` changes nothing.",
        {"consumer": "sidebar", "seq": 1},
    ),
    "display.suppress": Answer(
        values.Suppressed,
        "While it holds and this connection lives, no update is to `open` anything.",
        {"suppressed": True},
    ),
    "events.subscribe": Answer(
        values.Nothing,
        "From now on events of these topics come as notifications; without `topics`, of"
        " all. They are not kept for those who are away. With `presents` you show"
        " notifications to the person, in place of the daemon: each comes to you as an"
        " event of type `show`, whatever the topics; answer it with"
        " `notification.shown` within two seconds, or it is shown otherwise. Of several"
        " such clients the last one is asked. A connection has one subscription:"
        " another takes its place.",
        {"topics": ["job", "feed"]},
    ),
    "gallery.list": Answer(
        values.Page,
        "A page of the gallery, newest first (`createdAt`, then `id`). `search` looks"
        " for words in prompt, capability and file name. For the next page, ask the"
        " same with `cursor` set to `nextCursor`.",
        {"limit": 20, "kind": "image", "search": "lamp"},
    ),
    "gallery.get": Answer(
        values.GalleryItem, "One item.", {"id": "3f1c_0"}, errors=_NO_ITEM
    ),
    "gallery.remove": Answer(
        values.Removed,
        "Takes an item out of the gallery for ever; with `deleteFile`, its file too."
        " Every consumer is told by an update.",
        {"id": "3f1c_0"},
        errors=_NO_ITEM,
    ),
    "gallery.rebuild": Answer(
        values.Rebuilt,
        "Enters the files of the outputs directory that the gallery does not know.",
    ),
    "job.get": Answer(values.Job, "What is known of one job.", _JOB, errors=_NO_JOB),
    "job.list": Answer(
        values.Jobs, "The newest jobs, or those in one state.", {"state": "failed"}
    ),
    "job.materialize": Answer(
        values.Job,
        "As `job.get`, once the job has settled: all there is of it is on disk, or it"
        " has failed. The backend is asked for a job that is not known yet.",
        _JOB,
        errors=_NO_JOB | _FEED,
    ),
    "job.retry": Answer(
        values.Job,
        "Tries at once, and with all attempts, to get what is missing of a job; answers"
        " as `job.get`.",
        _JOB,
        errors=_NO_JOB
        | _FEED
        | {CONFLICT: "it failed where it was made, so there is nothing to fetch"},
    ),
    "job.claim": Answer(
        values.Nothing,
        "You present this job yourself: it is saved all the same, but its update never"
        " says `open`. The job need not be known yet.",
        _JOB,
        errors=_FEED,
    ),
    "notification.shown": Answer(
        values.Nothing,
        "You have shown the notification with this `number` to the person. After two"
        " seconds this changes nothing any more.",
        {"number": 1},
    ),
    "notification.snooze": Answer(
        values.Snoozed,
        "For so long nothing is shown to the person, by anybody; 0 ends that. What"
        " fails meanwhile is told afterwards.",
        {"forMs": 3600000},
    ),
    "auth.set": Answer(
        values.SignedIn,
        "Signs in with this token until `auth.clear`, whatever the daemon was started"
        " with.",
        {"token": "eyJhbGciOiJub25lIn0.eyJpc3MiOiJhIiwic3ViIjoiYiJ9.c2ln"},
    ),
    "auth.clear": Answer(
        values.Nothing, "Goes back to the token that the daemon was started with."
    ),
    "daemon.status": Answer(values.Status, "What the daemon is doing."),
    "daemon.shutdown": Answer(
        values.Nothing,
        "Ends the daemon; what is under way is taken up at its next start.",
    ),
}


class JobChange(Told):
    """A job has got into a state."""

    job_id: str
    state: JobState
    error: str | None = None


class Progress(Told):
    """At most four a second of each file."""

    job_id: str
    index: Count
    received_bytes: Count
    total_bytes: Count | None = None


class FeedChange(Told):
    """The connection has got into a state."""

    state: str
    """As in `daemon.status`; or `gap`: a full answer may hide older jobs."""
    reason: str | None = None
    before: Ms | None = None
    """With `gap`: completions before this moment may be hidden."""


class AuthChange(Told):
    """Who is signed in now."""

    owner: str | None


class Notification(Told):
    """What the person was told, is to be told, or could not be told."""

    job_id: str | None
    """Null where it is not about one job."""
    title: str
    body: str
    shown: bool
    number: Seq | None = None
    """With `show`: what `notification.shown` is to be called with."""


class GalleryChange(Told):
    """One item has changed; with `rebuilt`, many may have."""

    id: str | None = None
    added: Count | None = None


class Event(Told):
    """Base of all events."""

    at: Ms


class JobEvent(Event):
    """A job has got into a state."""

    topic: Literal["job"]
    type: JobState
    data: JobChange


class DownloadEvent(Event):
    """Bytes have come."""

    topic: Literal["download"]
    type: Literal["progress"]
    data: Progress


class FeedEvent(Event):
    """The connection to the backend has got into a state; `type` is that state."""

    topic: Literal["feed"]
    type: str
    data: FeedChange


class AuthEvent(Event):
    """Somebody has signed in or out."""

    topic: Literal["auth"]
    type: Literal["signed_in", "signed_out"]
    data: AuthChange


class NotificationEvent(Event):
    """The person was told something, or should have been; `show`, which only a client
    that presents gets: show it."""

    topic: Literal["notification"]
    type: Literal["shown", "not_shown", "show"]
    data: Notification


class GalleryEvent(Event):
    """An item was added or removed; `rebuilt`: some were found on disk; `missing`: a
    file has gone; `found`: it is back; `changed`: it is another now; `damaged`: what is
    there now is not whole; `thumbnail`: a preview is there."""

    topic: Literal["gallery"]
    type: Literal[
        "added",
        "removed",
        "rebuilt",
        "missing",
        "found",
        "changed",
        "damaged",
        "thumbnail",
    ]
    data: GalleryChange


EVENTS: tuple[type[Event], ...] = (
    JobEvent,
    DownloadEvent,
    FeedEvent,
    AuthEvent,
    NotificationEvent,
    GalleryEvent,
)
