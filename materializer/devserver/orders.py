"""The reading of an order: what `POST generate` may ask, and what is wrong with it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from materializer.convex import values
from materializer.devserver.catalog import (
    CAPABILITIES,
    IMAGE_FORMATS,
    Capability,
    Order,
)
from materializer.errors import GatewayError

DOCS_URL = "https://stella.sh/docs/media"


class _Source(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True, alias_generator=to_camel)
    base64: str
    mime_type: str = ""


class _Body(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True, alias_generator=to_camel)
    capability: str = Field(min_length=1)
    profile: str = ""
    prompt: str = ""
    aspect_ratio: str = ""
    source_url: str = ""
    source: str | _Source = ""
    input: dict[str, Any] = {}


def read_order(body: bytes) -> Order:
    """Read the body of `POST generate`.

    Raises:
        GatewayError: status 400, with the sentence that the gateway answers.
    """
    try:
        asked = _Body.model_validate_json(body)
        summary = _summary(asked)
        # As deep as the queries will nest it.
        values.encode([{"request": summary}])
    except ValueError as error:
        raise _invalid("Invalid media generation JSON body") from error
    capability = CAPABILITIES.get(asked.capability)
    profile = asked.profile.lower()
    if capability is None or profile not in ("", *capability.profiles):
        raise _invalid(f"Unknown capability or profile. See {DOCS_URL}.")
    fields = _fields(capability, asked)
    _check_image_fields(fields)
    return Order(
        capability,
        profile or capability.profiles[0],
        asked.prompt or str(fields.get(capability.prompt_key or "", "")),
        asked.aspect_ratio,
        fields,
        summary,
    )


def _fields(capability: Capability, asked: _Body) -> dict[str, Any]:
    fields = dict(asked.input)
    if capability.prompt_key and asked.prompt:
        fields.setdefault(capability.prompt_key, asked.prompt)
    if (key := capability.source_key) and (source := _source(asked)):
        fields.setdefault(key, [source] if key.endswith("_urls") else source)
    if capability.source_key:
        if not fields.get(capability.source_key):
            raise _invalid(
                "A valid http(s) sourceUrl or source.base64 input is required for "
                "this capability"
            )
    elif not (_is_text(fields.get(str(capability.prompt_key))) or _weighted(fields)):
        raise _invalid("prompt is required for this capability")
    return fields


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _weighted(fields: Mapping[str, Any]) -> bool:
    return bool(fields.get("weightedPrompts"))


def _source(asked: _Body) -> str:
    if asked.source_url:
        return _checked_url("sourceUrl", asked.source_url)
    if isinstance(asked.source, str):
        return asked.source and _checked_url("source", asked.source)
    if not re.fullmatch(r"[\w.+-]+/[\w.+-]+", asked.source.mime_type, re.ASCII):
        raise _invalid("source.mimeType must be a valid MIME type")
    try:
        base64.b64decode(asked.source.base64, validate=True)
    except binascii.Error as error:
        raise _invalid("source.base64 must be valid base64") from error
    return f"data:{asked.source.mime_type};base64,{asked.source.base64}"


def _checked_url(name: str, url: str) -> str:
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme == "data" or (
            parts.scheme in ("http", "https") and parts.netloc
        ):
            return url
    raise _invalid(f"{name} must be a valid http(s) URL or data URI")


def _check_image_fields(fields: Mapping[str, Any]) -> None:
    count = fields.get("num_images", 1)
    if type(count) is not int or not 1 <= count <= 4:
        raise _invalid("num_images must be a whole number from 1 to 4")
    if fields.get("output_format", "png") not in IMAGE_FORMATS:
        raise _invalid(f"output_format must be one of {', '.join(IMAGE_FORMATS)}")


def _summary(asked: _Body) -> dict[str, Any]:
    summary = {
        "prompt": asked.prompt,
        "aspectRatio": asked.aspect_ratio,
        "source": _source_summary(asked.source_url or asked.source),
        "input": {key: _redacted(value) for key, value in asked.input.items()},
    }
    return {key: value for key, value in summary.items() if value}


def _source_summary(source: str | _Source) -> dict[str, str]:
    if isinstance(source, _Source):
        return {"kind": "base64_object", "mimeType": source.mime_type}
    if match := re.match(r"data:([^;,]*)", source):
        return {"kind": "data_uri", "mimeType": match[1]}
    return {"kind": "url", "url": source} if source else {}


def _redacted(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("data:") and ";base64," in value:
        return "[data-uri omitted]"
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    if isinstance(value, dict):
        return {key: _redacted(item) for key, item in value.items()}
    return value


def _invalid(say: str) -> GatewayError:
    return GatewayError(say, status=400)
