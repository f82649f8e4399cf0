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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

MAX_DEPTH = 64
MAX_KEY = 1024
EXACT = 2**53


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


Value: TypeAlias = (
    "bool | float | Int64 | bytes | str | list[Value] | dict[str, Value] | None"
)


def encode(value: object) -> Any:
    """Return what `json.dumps` needs to write `value` for Convex.

    Integers become floats, as plain numbers are on the other side; tuples and other
    mappings become arrays and objects. Leave a key out where an argument is
    optional: None is null, not absent.

    Raises:
        ValueError: something in it is no Convex value.
    """
    return _encode(value, "$", 0)


def decode(data: object) -> Value:
    """Return the value that parsed JSON stands for; every plain number is a float.

    Raises:
        ValueError: it stands for none.
    """
    return _decode(data, "$", 0)


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


def _encode(value: object, path: str, depth: int) -> Any:
    _check_depth(path, depth)
    match value:
        case None | bool():
            return value
        case str():
            return _text(value, path)
        case int():
            if abs(value) > EXACT:
                raise ValueError(f"{path}: an integer beyond 2^53 must be an Int64")
            return float(value)
        case float():
            return _encode_float(value)
        case Int64():
            return {"$integer": _base64(struct.pack("<q", value.value))}
        case bytes():
            return {"$bytes": _base64(value)}
        case list() | tuple():
            return [_encode(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(value)]
        case Mapping():
            return {
                _key(k, path): _encode(v, f"{path}.{k}", depth + 1)
                for k, v in value.items()
            }
        case _:
            raise ValueError(f"{path}: {type(value).__name__} is no Convex value")


def _encode_float(value: float) -> Any:
    if math.isfinite(value) and not (value == 0 and math.copysign(1, value) < 0):
        return value
    # One bit pattern for all NaNs, so that equal values have equal texts.
    return {
        "$float": _base64(struct.pack("<d", math.nan if math.isnan(value) else value))
    }


def _decode(data: object, path: str, depth: int) -> Value:
    _check_depth(path, depth)
    match data:
        case None | bool():
            return data
        case str():
            return _text(data, path)
        case int() | float():
            return _decode_number(data, path)
        case list():
            return [_decode(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(data)]
        case dict():
            if len(data) == 1:
                ((key, inner),) = data.items()
                if isinstance(key, str) and key.startswith("$"):
                    return _decode_special(key, inner, path)
            return {
                _key(k, path): _decode(v, f"{path}.{k}", depth + 1)
                for k, v in data.items()
            }
        case _:
            raise ValueError(f"{path}: {type(data).__name__} is no JSON")


def _decode_number(data: float, path: str) -> float:
    try:
        number = float(data)
    except OverflowError as error:
        raise ValueError(f"{path}: the number is too large") from error
    if not math.isfinite(number):
        raise ValueError(f"{path}: the number is not finite")
    return number


def _decode_special(key: str, inner: object, path: str) -> Value:
    if key == "$bytes":
        return _unbase64(inner, path)
    if key == "$integer":
        return Int64(int.from_bytes(_eight(inner, path), "little", signed=True))
    if key == "$float":
        number = float(struct.unpack("<d", _eight(inner, path))[0])
        if math.isfinite(number) and _encode_float(number) == number:
            raise ValueError(f"{path}: an ordinary number inside $float")
        return number
    raise ValueError(f"{path}: a key that starts with $")


def _eight(data: object, path: str) -> bytes:
    raw = _unbase64(data, path)
    if len(raw) != 8:
        raise ValueError(f"{path}: {len(raw)} bytes where 8 belong")
    return raw


def _unbase64(data: object, path: str) -> bytes:
    if not isinstance(data, str):
        raise ValueError(f"{path}: no base64 text")
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise ValueError(f"{path}: broken base64") from error


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _check_depth(path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"{path[:80]}: nested deeper than {MAX_DEPTH}")


def _text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{path}: text with a lone surrogate") from error
    return text


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{path}: a key that is no text")
    if len(key) > MAX_KEY:
        raise ValueError(f"{path}: a key longer than {MAX_KEY}")
    if key.startswith("$"):
        raise ValueError(f"{path}: a key that starts with $")
    if not (key.isascii() and key.isprintable()):
        raise ValueError(f"{path}: a key with other than printable ASCII")
    return key
