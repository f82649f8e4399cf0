"""The methods' names and what each takes, as the local clients know them.

What is not known to a model is ignored, so that newer clients can talk to us; what is
known must have its type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_camel

from materializer.ipc.jsonlines import INVALID_PARAMS, RpcError
from materializer.model import JobState, Kind

Topic = Literal["job", "download", "feed", "auth", "notification", "gallery"]
TOPICS: frozenset[Topic] = frozenset(get_args(Topic))
Name = Annotated[str, Field(min_length=1, max_length=200)]
# A limit also refuses half a surrogate pair, which JSON can spell and nobody can store.
Text = Annotated[str, Field(max_length=4096)]
# What is saved under a name of ours keeps its own, whatever that is.
JobId = Annotated[str, Field(min_length=1, max_length=4096)]
ItemId = Annotated[str, Field(min_length=1, max_length=4096 + 11)]
# JavaScript's integers end here, and so do the rows of any database.
Seq = Annotated[int, Field(ge=0, lt=2**53)]


class Params(BaseModel):
    """Base of all parameters; camel case on the wire."""

    # What nobody calls costs no memory: a validator is built at its first use.
    model_config = ConfigDict(
        alias_generator=to_camel,
        defer_build=True,
        extra="ignore",
        frozen=True,
        strict=True,
    )


class NoParams(Params):
    """`gallery.rebuild`, `auth.clear`, `daemon.status`, `daemon.shutdown`."""


class Hello(Params):
    """`hello`: who calls, and the protocol it speaks."""

    client: Name
    protocol: Literal[1]


class DisplaySubscribe(Params):
    """`display.subscribe`: from where on; None is where the consumer left off.

    A client has one subscription: another one takes the place of the first.
    """

    consumer: Name
    after: Seq | None = None


class DisplayAck(Params):
    """`display.ack`: everything up to `seq` has been shown."""

    consumer: Name
    seq: Seq


class DisplaySuppress(Params):
    """`display.suppress`: whether, while the client is connected, nothing opens."""

    suppressed: bool


class EventsSubscribe(Params):
    """`events.subscribe`: which events; None is all of them.

    A client that `presents` shows notifications to the person.
    """

    topics: list[Topic] | None = None
    presents: bool = False


class GalleryList(Params):
    """`gallery.list`: one page, newest first; None does not narrow it."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: Text | None = None
    kind: Kind | None = None
    capability: Text | None = None
    job_id: Text | None = None
    search: Text | None = None


class OneItem(Params):
    """`gallery.get`."""

    id: ItemId


class GalleryRemove(Params):
    """`gallery.remove`: for ever; the file stays unless it is to go as well."""

    id: ItemId
    delete_file: bool = False


class JobList(Params):
    """`job.list`: the newest jobs; None does not narrow it."""

    state: JobState | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class OneJob(Params):
    """`job.get`, `job.materialize`, `job.retry`, `job.claim`."""

    job_id: JobId


class NotificationShown(Params):
    """`notification.shown`: the person has it on the screen."""

    number: Seq


class NotificationSnooze(Params):
    """`notification.snooze`: for so long, in ms, the person is told of nothing."""

    for_ms: Annotated[int, Field(ge=0, le=366 * 86_400_000)]


class AuthSet(Params):
    """`auth.set`: a token, and where it is good."""

    token: Annotated[SecretStr, Field(min_length=1)]
    convex_url: str | None = None
    site_url: str | None = None


PARAMS: Mapping[str, type[Params]] = {
    "hello": Hello,
    "display.subscribe": DisplaySubscribe,
    "display.ack": DisplayAck,
    "display.suppress": DisplaySuppress,
    "events.subscribe": EventsSubscribe,
    "gallery.list": GalleryList,
    "gallery.get": OneItem,
    "gallery.remove": GalleryRemove,
    "gallery.rebuild": NoParams,
    "job.get": OneJob,
    "job.list": JobList,
    "job.materialize": OneJob,
    "job.retry": OneJob,
    "job.claim": OneJob,
    "notification.shown": NotificationShown,
    "notification.snooze": NotificationSnooze,
    "auth.set": AuthSet,
    "auth.clear": NoParams,
    "daemon.status": NoParams,
    "daemon.shutdown": NoParams,
}

P = TypeVar("P", bound=Params)


def reader(model: type[P]) -> Callable[[object], P]:
    """Make the function that turns what a client sent into `model`.

    It raises RpcError (-32602) naming the first field that is wrong, and never what
    was in it.
    """

    def read(sent: object) -> P:
        try:
            return model.model_validate({} if sent is None else sent)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(step) for step in fault["loc"]) or "params"
            raise RpcError(INVALID_PARAMS, f"{where}: {fault['msg']}") from None

    return read
