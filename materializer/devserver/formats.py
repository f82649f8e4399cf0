"""How messages and values are written: exactly, or easy to read but lossy."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

from materializer.convex.values import Int64, decode

# By each name that a client may use.
ENCODED = ("convex_encoded_json", "convex_json")
READABLE = ("json", "convex_clean_json")


def text_of(message: Any) -> str:
    """Return the one text of some JSON: keys sorted, no spaces, floats with a dot."""
    return json.dumps(
        message,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )


def written(value: Any, name: str) -> Any:
    """Return the JSON of a value, given in its exact form, in the format named so."""
    return value if name in ENCODED else _readable(decode(value))


def _readable(value: Any) -> Any:
    match value:
        case Int64(number):
            return str(number)
        case bytes():
            return base64.b64encode(value).decode()
        case float() if not math.isfinite(value):
            return str(value).replace("nan", "NaN").replace("inf", "Infinity")
        case list():
            return [_readable(item) for item in value]
        case dict():
            return {key: _readable(item) for key, item in value.items()}
        case _:
            return value
