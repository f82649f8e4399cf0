"""What a job's row keeps of its request: everything but the bytes in it."""

from __future__ import annotations

import re
from typing import Any

from materializer.devserver.asked import Asked, Inline, data_uri

_MAX_DEPTH = 6
_LONG = 2048
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]+", re.ASCII)
_TYPE = re.compile(r"data:([^;,\s]+);base64,", re.ASCII | re.IGNORECASE)


def summary(asked: Asked, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the request as its row keeps it; `fields` are those of the provider."""
    kept = {
        "prompt": asked.prompt,
        "aspectRatio": asked.aspect_ratio,
        "source": _described(asked.source or asked.source_url),
        "sources": {key: _described(item) for key, item in asked.sources.items()},
        "input": redacted(fields),
    }
    return {key: value for key, value in kept.items() if value}


def redacted(value: Any, depth: int = 0) -> Any:
    """Return a JSON value without inline bytes, and with nothing six levels down."""
    match value:
        case str():
            return _redacted_text(value.strip())
        case list():
            return [redacted(item, depth + 1) for item in value if depth < _MAX_DEPTH]
        case dict():
            return {
                key: redacted(item, depth + 1)
                for key, item in value.items()
                if depth < _MAX_DEPTH
            }
        case _:
            return value


def _redacted_text(text: str) -> str:
    if data_uri(text):
        return "[data-uri omitted]"
    if len(text) > _LONG and _BASE64.fullmatch(text):
        return "[base64 omitted]"
    return text


def _described(source: str | Inline) -> dict[str, str]:
    if isinstance(source, Inline):
        told = {"kind": "base64_object", "mimeType": source.mime_type}
    elif source[:5].lower() == "data:":
        match = _TYPE.match(source)
        told = {"kind": "data_uri", "mimeType": match[1] if match else ""}
    else:
        told = {"kind": "url", "url": source} if source else {}
    return {key: value for key, value in told.items() if value}
