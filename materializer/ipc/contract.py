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
from materializer.model import Kind

Topic = Literal["job", "download", "feed", "auth", "notification", "gallery"]
TOPICS: frozenset[Topic] = frozenset(get_args(Topic))
Name = Annotated[str, Field(min_length=1, max_length=200)]
# What is saved under a name of ours keeps its own, whatever that is.
JobId = Annotated[str, Field(min_length=1, max_length=4096)]
# JavaScript's integers end here, and so do the rows of any database.
Seq = Annotated[int, Field(ge=0, lt=2**53)]


class Params(BaseModel):
    """Base of all parameters; camel case on the wire."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="ignore", frozen=True, strict=True
    )


class NoParams(Params):
    """`auth.clear`, `daemon.status`, `daemon.shutdown`."""


class Hello(Params):
    """`hello`: who calls, and the protocol it speaks."""

    client: Name
    protocol: Literal[1]


class DisplaySubscribe(Params):
    """`display.subscribe`: from where on; None is where the consumer left off."""

    consumer: Name
    after: Seq | None = None


class DisplayAck(Params):
    """`display.ack`: everything up to `seq` has been shown."""

    consumer: Name
    seq: Seq


class EventsSubscribe(Params):
    """`events.subscribe`: which events; None is all of them."""

    topics: list[Topic] | None = None


class GalleryList(Params):
    """`gallery.list`: one page, newest first; None does not narrow it."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: str | None = None
    kind: Kind | None = None
    capability: str | None = None
    job_id: str | None = None
    search: str | None = None


class OneJob(Params):
    """`job.get`, `job.materialize`."""

    job_id: JobId


class AuthSet(Params):
    """`auth.set`: a token, and where it is good."""

    token: Annotated[SecretStr, Field(min_length=1)]
    convex_url: str | None = None
    site_url: str | None = None


PARAMS: Mapping[str, type[Params]] = {
    "hello": Hello,
    "display.subscribe": DisplaySubscribe,
    "display.ack": DisplayAck,
    "events.subscribe": EventsSubscribe,
    "gallery.list": GalleryList,
    "job.get": OneJob,
    "job.materialize": OneJob,
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
