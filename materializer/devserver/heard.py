"""What a sync client may say, as models that its JSON must fit; paths canonical."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from materializer.convex.messages import MAX_U32
from materializer.devserver.functions import canonical

U32 = Annotated[int, Field(ge=0, le=MAX_U32)]
Path = Annotated[str, AfterValidator(canonical)]
Args = Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1)]


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, strict=True)


class Connect(_Wire):
    """The greeting of a connection."""

    type: Literal["Connect"]
    session_id: UUID
    connection_count: U32
    last_close_reason: str | None = None
    max_observed_timestamp: str | None = None
    client_ts: int | None = None


class Add(_Wire):
    """The wish to follow one query."""

    type: Literal["Add"]
    query_id: U32
    udf_path: Path
    args: Args = [{}]


class Remove(_Wire):
    """The end of that wish."""

    type: Literal["Remove"]
    query_id: U32


class ModifyQuerySet(_Wire):
    """One step of the query set."""

    type: Literal["ModifyQuerySet"]
    base_version: U32
    new_version: U32
    modifications: list[Annotated[Add | Remove, Field(discriminator="type")]]


class Authenticate(_Wire):
    """A change of identity."""

    type: Literal["Authenticate"]
    base_version: U32
    token_type: Literal["User", "Admin", "None"]
    value: str = ""


class Request(_Wire):
    """The call of a mutation or action."""

    type: Literal["Mutation", "Action"]
    request_id: U32
    udf_path: Path
    args: Args


class Event(_Wire):
    """Something about the client that is merely logged."""

    type: Literal["Event"]


Message = Connect | ModifyQuerySet | Authenticate | Request | Event
_MESSAGE: TypeAdapter[Message] = TypeAdapter(
    Annotated[Message, Field(discriminator="type")]
)


def parse(text: str) -> Message:
    """Read one message; unknown fields are ignored.

    Raises:
        ValueError: it is none. Of what was in it the words show at most its type.
    """
    try:
        return _MESSAGE.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"{where} {problem['msg']}".strip()) from error
