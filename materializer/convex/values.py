"""Convex values: their JSON form and their Python form.

| Convex  | JSON                    | Python  |
|---------|-------------------------|---------|
| null    | `null`                  | None    |
| boolean | `true`                  | bool    |
| float64 | `1.0`, `{"$float": ..}` | float   |
| int64   | `{"$integer": ..}`      | Int64   |
| bytes   | `{"$bytes": ..}`        | bytes   |
| string  | `"text"`                | str     |
| array   | `[..]`                  | list    |
| object  | `{..}`                  | dict    |

All errors are ValueErrors that name the place, as in `$.jobs[2].size`, and never
show the value itself.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

MAX_DEPTH = 64
MAX_KEY = 1024
EXACT = 2**53


class _NoValue(ValueError):
    """Why something is no value, and where; the place grows on the way out."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.place = ""

    def __str__(self) -> str:
        return f"${self.place[:80]}: {self.args[0]}"


@dataclass(frozen=True, slots=True)
class Int64:
    """A 64-bit integer, which Convex keeps apart from its floats.

    Raises:
        ValueError: the number does not fit.
    """

    value: int

    def __post_init__(self) -> None:
        if not -(2**63) <= self.value < 2**63:
            raise ValueError("an Int64 must fit into 64 bits")


class Absent(Enum):
    """What is not there, where null would be a value."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT

Value: TypeAlias = (
    "bool | float | Int64 | bytes | str | list[Value] | dict[str, Value] | None"
)


def encode(value: object) -> Any:
    """Return what `json.dumps` needs to write `value` for Convex.

    Integers become floats, as plain numbers are on the other side; other sequences,
    mappings and buffers become arrays, objects and bytes. Leave a key out where an
    argument is optional: None is null, not absent.

    Raises:
        ValueError: something in it is no Convex value.
    """
    return _encode(value, 0)


def decode(data: Any) -> Value:
    """Return the value that parsed JSON stands for; every plain number is a float.

    Raises:
        ValueError: it stands for none.
    """
    return _DECODERS[type(data)](data, 0)


def canonical(value: object) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces, floats with a dot.

    Raises:
        ValueError: something in it is no Convex value.
    """
    return json.dumps(
        encode(value),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )


def same(one: object, other: object) -> bool:
    """Whether both are one value, which for Python's `==` true and 1.0 are as well.

    The order of an object's keys counts: it is the order in which they arrived.
    """
    return one is other or (one == other and repr(one) == repr(other))


def _encode(value: object, depth: int) -> Any:
    match value:
        case None | bool():
            return value
        case str():
            return _text(value, depth)
        case int():
            if abs(value) > EXACT:
                raise _NoValue("an integer beyond 2^53 must be an Int64")
            return float(value)
        case float():
            return _encode_float(value)
        case Int64():
            return {"$integer": _base64(struct.pack("<q", value.value))}
        case bytes() | bytearray() | memoryview():
            return {"$bytes": _base64(value)}
        case Sequence():
            return _encode_array(value, _inner(depth))
        case Mapping():
            return _encode_object(value, _inner(depth))
        case _:
            raise _NoValue(f"{type(value).__name__} is no Convex value")


def _encode_array(value: Sequence[object], depth: int) -> list[Any]:
    array: list[Any] = []
    for index, item in enumerate(value):
        try:
            array.append(_encode(item, depth))
        except _NoValue as error:
            error.place = f"[{index}]{error.place}"
            raise
    return array


def _encode_object(value: Mapping[Any, object], depth: int) -> dict[str, Any]:
    fields = {}
    _check_keys(value)
    for key, inner in value.items():
        try:
            fields[key] = _encode(inner, depth)
        except _NoValue as error:
            error.place = f".{key}{error.place}"
            raise
    return fields


def _encode_float(value: float) -> Any:
    if math.isfinite(value) and not (value == 0 and math.copysign(1, value) < 0):
        return value
    # One bit pattern for all NaNs, so that equal values have equal texts.
    return {
        "$float": _base64(struct.pack("<d", math.nan if math.isnan(value) else value))
    }


def _decode_array(data: list[Any], depth: int) -> list[Value]:
    array: list[Value] = []
    depth = _inner(depth)
    for index, item in enumerate(data):
        if item is None or (type(item) is str and item.isascii()):
            array.append(item)
            continue
        try:
            array.append(_DECODERS[type(item)](item, depth))
        except _NoValue as error:
            error.place = f"[{index}]{error.place}"
            raise
    return array


def _decode_object(data: dict[str, Any], depth: int) -> Value:
    depth = _inner(depth)
    # Results are large, so their keys are looked at together first.
    keys = "".join(data)
    if "$" in keys or len(keys) > MAX_KEY or not _plain(keys):
        if len(data) == 1 and keys.startswith("$"):
            return _decode_special(keys, data[keys])
        _check_keys(data)
    fields: dict[str, Value] = {}
    for key, inner in data.items():
        # Almost all that comes is plain text, which needs no call.
        if inner is None or (type(inner) is str and inner.isascii()):
            fields[key] = inner
            continue
        try:
            fields[key] = _DECODERS[type(inner)](inner, depth)
        except _NoValue as error:
            error.place = f".{key}{error.place}"
            raise
    return fields


def _decode_number(data: float, _: int) -> float:
    try:
        number = float(data)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _NoValue("the number is too large")
    return number


def _decode_special(key: str, inner: object) -> Value:
    if key == "$bytes":
        return _unbase64(inner)
    if key == "$integer":
        return Int64(int.from_bytes(_eight(inner), "little", signed=True))
    if key == "$float":
        number = float(struct.unpack("<d", _eight(inner))[0])
        if math.isfinite(number) and _encode_float(number) == number:
            raise _NoValue("an ordinary number inside $float")
        return number
    raise _NoValue("a key that starts with $")


def _text(text: str, _: int) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _NoValue("text with a lone surrogate") from error
    return text


_DECODERS: dict[type, Callable[[Any, int], Value]] = {
    type(None): lambda data, _: data,
    bool: lambda data, _: data,
    int: _decode_number,
    float: _decode_number,
    str: _text,
    list: _decode_array,
    dict: _decode_object,
}


def _inner(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise _NoValue(f"nested deeper than {MAX_DEPTH}")
    return depth + 1


def _eight(data: object) -> bytes:
    raw = _unbase64(data)
    if len(raw) != 8:
        raise _NoValue(f"{len(raw)} bytes where 8 belong")
    return raw


def _unbase64(data: object) -> bytes:
    if not isinstance(data, str):
        raise _NoValue("no base64 text")
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise _NoValue("broken base64") from error


def _base64(raw: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(raw).decode("ascii")


def _check_keys(data: Mapping[Any, object]) -> None:
    for key in data:
        if not isinstance(key, str):
            raise _NoValue("a key that is no text")
        if len(key) > MAX_KEY:
            raise _NoValue(f"a key longer than {MAX_KEY}")
        if key.startswith("$"):
            raise _NoValue("a key that starts with $")
        if not _plain(key):
            raise _NoValue("a key with other than printable ASCII")


def _plain(key: str) -> bool:
    return key.isascii() and key.isprintable()
