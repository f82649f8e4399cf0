"""The methods' names and what each takes, as the local clients know them.

What is not known to a class is ignored, so that newer clients can talk to us; what is
known must have its type. These are dataclasses that pydantic's core reads, and not its
models: what makes those takes 4 MiB, and a tenth of a second of the first answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import partial
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic_core import SchemaValidator, ValidationError
from pydantic_core import core_schema as core

from materializer.ipc.jsonlines import INVALID_PARAMS, RpcError
from materializer.model import JobState, Kind, camel

Topic = Literal["job", "download", "feed", "auth", "notification", "gallery"]
TOPICS: frozenset[Topic] = frozenset(get_args(Topic))
# JavaScript's integers end here, and so do the rows of any database.
SEQ_END = 2**53

# The second part of an annotation makes what the core goes by.
Name = Annotated[str, partial(core.str_schema, min_length=1, max_length=200)]
# A limit also refuses half a surrogate pair, which JSON can spell and nobody can store.
Text = Annotated[str, partial(core.str_schema, max_length=4096)]
# What is saved under a name of ours keeps its own, whatever that is.
JobId = Annotated[str, partial(core.str_schema, min_length=1, max_length=4096)]
ItemId = Annotated[str, partial(core.str_schema, min_length=1, max_length=4096 + 11)]
Limit = Annotated[int, partial(core.int_schema, ge=1, le=500)]
Seq = Annotated[int, partial(core.int_schema, ge=0, lt=SEQ_END)]
Span = Annotated[int, partial(core.int_schema, ge=0, le=366 * 86_400_000)]
Page = Annotated[
    str, partial(core.str_schema, pattern=r"^http://127\.0\.0\.1:\d{1,5}/$")
]
Secret = Annotated[str, partial(core.str_schema, min_length=1)]


@dataclass(frozen=True, slots=True)
class Params:
    """Base of all parameters; camel case on the wire."""


@dataclass(frozen=True, slots=True)
class NoParams(Params):
    """`gallery.rebuild`, `auth.clear`, `daemon.status`, `daemon.shutdown`."""


@dataclass(frozen=True, slots=True)
class Hello(Params):
    """`hello`: who calls, and the protocol it speaks."""

    client: Name
    protocol: Literal[1]


@dataclass(frozen=True, slots=True)
class DisplaySubscribe(Params):
    """`display.subscribe`: from where on; None is where the consumer left off.

    A client has one subscription: another one takes the place of the first. A `page` is
    where it shows what there is: a click on a notification opens that page.
    """

    consumer: Name
    after: Seq | None = None
    page: Page | None = None


@dataclass(frozen=True, slots=True)
class DisplayAck(Params):
    """`display.ack`: everything up to `seq` has been shown."""

    consumer: Name
    seq: Seq


@dataclass(frozen=True, slots=True)
class DisplaySuppress(Params):
    """`display.suppress`: whether, while the client is connected, nothing opens."""

    suppressed: bool


@dataclass(frozen=True, slots=True)
class EventsSubscribe(Params):
    """`events.subscribe`: which events; None is all of them.

    A client that `presents` shows notifications to the person.
    """

    topics: list[Topic] | None = None
    presents: bool = False


@dataclass(frozen=True, slots=True)
class GalleryList(Params):
    """`gallery.list`: one page, newest first; None does not narrow it."""

    limit: Limit = 50
    cursor: Text | None = None
    kind: Kind | None = None
    capability: Text | None = None
    job_id: Text | None = None
    search: Text | None = None


@dataclass(frozen=True, slots=True)
class OneItem(Params):
    """`gallery.get`."""

    id: ItemId


@dataclass(frozen=True, slots=True)
class GalleryRemove(Params):
    """`gallery.remove`: for ever; the file stays unless it is to go as well."""

    id: ItemId
    delete_file: bool = False


@dataclass(frozen=True, slots=True)
class JobList(Params):
    """`job.list`: the newest jobs; None does not narrow it."""

    state: JobState | None = None
    limit: Limit = 50


@dataclass(frozen=True, slots=True)
class OneJob(Params):
    """`job.get`, `job.materialize`, `job.retry`, `job.claim`."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class NotificationShown(Params):
    """`notification.shown`: the person has it on the screen."""

    number: Seq


@dataclass(frozen=True, slots=True)
class NotificationSnooze(Params):
    """`notification.snooze`: for so long, in ms, the person is told of nothing."""

    for_ms: Span


@dataclass(frozen=True, slots=True)
class AuthSet(Params):
    """`auth.set`: a token, and where it is good."""

    token: Secret = field(repr=False)
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

_STRICT = core.CoreConfig(strict=True, extra_fields_behavior="ignore")


def reader(model: type[P]) -> Callable[[object], P]:
    """Make the function that turns what a client sent into `model`.

    It raises RpcError (-32602) naming the first field that is wrong, and never what
    was in it.
    """
    validator = SchemaValidator(schema(model))

    def read(sent: object) -> P:
        try:
            params: P = validator.validate_python({} if sent is None else sent)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(step) for step in fault["loc"]) or "params"
            raise RpcError(INVALID_PARAMS, f"{where}: {fault['msg']}") from None
        return params

    return read


def schema(model: type[Params]) -> core.CoreSchema:
    """Return what pydantic's core, and its JSON Schema, make of `model`."""
    hints = get_type_hints(model, include_extras=True)
    members = [_member(one, hints[one.name]) for one in fields(model)]
    return core.dataclass_schema(
        model,
        core.dataclass_args_schema(model.__name__, members),
        [one.name for one in fields(model)],
        slots=True,
        ref=model.__name__,
        strict=False,  # of its members, not of JSON where an instance could be
        config=_STRICT,
    )


def _member(one: Field[Any], hint: Any) -> core.DataclassField:
    value = _value(hint)
    if one.default is not MISSING:
        value = core.with_default_schema(value, default=one.default)
    return core.dataclass_field(one.name, value, validation_alias=camel(one.name))


def _value(hint: Any) -> core.CoreSchema:
    kind, inside = get_origin(hint), get_args(hint)
    if kind is Annotated:
        made: core.CoreSchema = inside[1]()
        return made
    if kind is Literal:
        return core.literal_schema(list(inside))
    if kind is list:
        return core.list_schema(_value(inside[0]))
    if kind in (Union, UnionType):  # with None
        return core.nullable_schema(_value(inside[0]))
    return core.bool_schema() if hint is bool else core.str_schema()
