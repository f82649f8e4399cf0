"""Convex sync messages: what the server says, as a closed union of values.

A timestamp is an unsigned 64-bit integer, written as the base64 of its eight
little-endian bytes. Values, which hold links, are not shown by `repr`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from pydantic_core import from_json

from materializer.convex.values import ABSENT, Absent, Value, decode
from materializer.errors import FeedMisspoke

MAX_TIMESTAMP = 2**63 - 1
MAX_U32 = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Version:
    """Where a connection stands: its query set, its identity, the data's time."""

    query_set: int = 0
    identity: int = 0
    ts: int = 0

    def reaches(self, later: Version) -> bool:
        """Whether the other is no step back in any part."""
        return (
            self.query_set <= later.query_set
            and self.identity <= later.identity
            and self.ts <= later.ts
        )


@dataclass(frozen=True, slots=True)
class QueryFailure:
    """A query whose function threw: a result like any other.

    Attributes:
        message: the deployment's words.
        data: what a ConvexError carried, which may be null; another has none.
    """

    message: str = field(repr=False)
    data: Value | Absent = field(default=ABSENT, repr=False)


@dataclass(frozen=True, slots=True)
class QueryUpdated:
    """A query has a new value; without a journal it keeps the one it has."""

    query_id: int
    value: Value = field(repr=False)
    journal: str | Absent | None = ABSENT


@dataclass(frozen=True, slots=True)
class QueryFailed:
    """A query has failed; without a journal it keeps the one it has."""

    query_id: int
    failure: QueryFailure
    journal: str | Absent | None = ABSENT


@dataclass(frozen=True, slots=True)
class QueryRemoved:
    """A query is no longer part of the query set."""

    query_id: int


Modification: TypeAlias = QueryUpdated | QueryFailed | QueryRemoved


@dataclass(frozen=True, slots=True)
class Transition:
    """All that changed between two versions, visible together."""

    start: Version
    end: Version
    modifications: tuple[Modification, ...] = ()


@dataclass(frozen=True, slots=True)
class TransitionChunk:
    """A piece of the text of a Transition that is too large for one message."""

    chunk: str = field(repr=False)
    part_number: int
    total_parts: int
    transition_id: str


@dataclass(frozen=True, slots=True)
class Response:
    """The end of a mutation or an action.

    Attributes:
        mutation: whether it is a mutation's.
        result: its value; the message where it failed.
        ts: from when on queries show what it did; 0 where it is no mutation's success.
        data: what a ConvexError carried, which may be null; another has none.
    """

    request_id: int
    mutation: bool
    success: bool
    result: Value = field(repr=False)
    ts: int = 0
    data: Value | Absent = field(default=ABSENT, repr=False)


@dataclass(frozen=True, slots=True)
class AuthError:
    """An identity was refused.

    Attributes:
        base_version: the identity version the server last told of, where known.
        attempted: whether an Authenticate was refused; else an identity that had
            been accepted has expired.
    """

    error: str
    base_version: int | None
    attempted: bool


@dataclass(frozen=True, slots=True)
class FatalError:
    """The server understood that the client is wrong, and says how."""

    error: str


@dataclass(frozen=True, slots=True)
class Ping:
    """The server is there."""


ServerMessage: TypeAlias = (
    Transition | TransitionChunk | Response | AuthError | FatalError | Ping
)


def encode_timestamp(ts: int) -> str:
    """Return the wire form of a timestamp.

    Raises:
        ValueError: it is negative or beyond 2^63 - 1.
    """
    if not 0 <= ts <= MAX_TIMESTAMP:
        raise ValueError("a timestamp lies between 0 and 2^63 - 1")
    return base64.b64encode(ts.to_bytes(8, "little")).decode("ascii")


def decode_timestamp(text: object) -> int:
    """Return the timestamp of a wire form.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(text, str):
        raise ValueError("a timestamp is a base64 text")
    return _timestamp(text)


@lru_cache(maxsize=4)  # each comes twice: a Transition starts where the last one ended
def _timestamp(text: str) -> int:
    raw = base64.b64decode(text, validate=True)
    ts = int.from_bytes(raw, "little")
    if len(raw) != 8 or ts > MAX_TIMESTAMP:
        raise ValueError("a timestamp has eight bytes and lies below 2^63")
    return ts


def parse(text: str | bytes) -> ServerMessage:
    """Read one message of the server, strictly; unknown fields are ignored.

    Raises:
        FeedMisspoke: it breaks the protocol. The words never show its contents.
    """
    if isinstance(text, bytes):
        raise FeedMisspoke("the server sent a binary message")
    try:
        # The standard library's takes almost three times as long.
        data = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise FeedMisspoke("the server sent something that is no JSON") from error
    kind = data.get("type") if isinstance(data, dict) else None
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise FeedMisspoke("the server sent a message of unknown type")
    try:
        return reader(data)
    except (ValueError, KeyError) as error:
        raise FeedMisspoke(f"the server sent a malformed {kind}") from error


def _transition(data: dict[str, Any]) -> Transition:
    changes = data["modifications"]
    if not isinstance(changes, list):
        raise ValueError("modifications is no array")
    return Transition(
        start=_version(data["startVersion"]),
        end=_version(data["endVersion"]),
        modifications=tuple(map(_modification, changes)),
    )


def _modification(data: object) -> Modification:
    if not isinstance(data, dict):
        raise ValueError("a modification is no object")
    query_id, kind = _u32(data["queryId"]), data["type"]
    if kind == "QueryRemoved":
        return QueryRemoved(query_id)
    journal = data.get("journal", ABSENT)
    if journal not in (None, ABSENT):
        _str(journal)
    if kind == "QueryUpdated":
        return QueryUpdated(query_id, decode(data["value"]), journal)
    if kind == "QueryFailed":
        failure = QueryFailure(_str(data["errorMessage"]), _error_data(data))
        return QueryFailed(query_id, failure, journal)
    raise ValueError("a modification of unknown type")


def _transition_chunk(data: dict[str, Any]) -> TransitionChunk:
    part, total = _u32(data["partNumber"]), _u32(data["totalParts"])
    if part >= total:
        raise ValueError("partNumber must be below totalParts")
    return TransitionChunk(_str(data["chunk"]), part, total, _str(data["transitionId"]))


def _response(data: dict[str, Any]) -> Response:
    mutation = data["type"] == "MutationResponse"
    success = _bool(data["success"])
    return Response(
        _u32(data["requestId"]),
        mutation,
        success,
        decode(data["result"]) if success else _str(data["result"]),
        decode_timestamp(data["ts"]) if mutation and success else 0,
        _error_data(data),
    )


def _error_data(data: dict[str, Any]) -> Value | Absent:
    return decode(data["errorData"]) if "errorData" in data else ABSENT


def _auth_error(data: dict[str, Any]) -> AuthError:
    base = data.get("baseVersion")
    return AuthError(
        _str(data["error"]),
        None if base is None else _u32(base),
        # Old servers leave the field out; to them every error is about an attempt.
        _bool(data.get("authUpdateAttempted", True)),
    )


_READERS: dict[str, Callable[[dict[str, Any]], ServerMessage]] = {
    "Transition": _transition,
    "TransitionChunk": _transition_chunk,
    "MutationResponse": _response,
    "ActionResponse": _response,
    "AuthError": _auth_error,
    "FatalError": lambda data: FatalError(_str(data["error"])),
    "Ping": lambda _: Ping(),
}


def _version(data: object) -> Version:
    if not isinstance(data, dict):
        raise ValueError("a version is no object")
    return Version(
        _u32(data["querySet"]), _u32(data["identity"]), decode_timestamp(data["ts"])
    )


def _u32(data: object) -> int:
    if type(data) is not int or not 0 <= data <= MAX_U32:  # true is an int too
        raise ValueError("no unsigned 32-bit integer")
    return data


def _str(data: object) -> str:
    if not isinstance(data, str):
        raise ValueError("no text")
    data.encode()  # a lone surrogate could not be written anywhere
    return data


def _bool(data: object) -> bool:
    if not isinstance(data, bool):
        raise ValueError("no boolean")
    return data
