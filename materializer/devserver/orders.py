"""The reading of an order: what `POST generate` may ask, and what is wrong with it."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from materializer.convex import values
from materializer.devserver import faults, lyria
from materializer.devserver.asked import Asked, Inline, data_uri, invalid, read
from materializer.devserver.catalog import CAPABILITIES, Capability, Order
from materializer.devserver.mapping import mapped
from materializer.devserver.redaction import summary

DOCS_URL = "https://stella.sh/docs/media"
IMAGE_FORMATS = ("png", "jpeg", "webp")
_MIME_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+", re.ASCII)


def read_order(body: bytes) -> Order:
    """Read the body of `POST generate`.

    Raises:
        GatewayError: status 400, with the sentence that the gateway answers.
    """
    asked = read(body)
    capability = CAPABILITIES.get(asked.capability)
    if capability is None or (profile := capability.profile(asked.profile)) is None:
        raise invalid(f"Unknown capability or profile. See {DOCS_URL}.")
    _check_sources(asked)
    fields = mapped(capability, profile, asked)
    _check_fields(capability, fields)
    kept = summary(asked, fields)
    _check_storable(kept)
    if capability.id == "text_to_music":
        fields |= _piece(fields)
    prompt = _prompt(capability, asked, fields)
    at_once = capability.at_once or faults.asked_for(prompt).refusal is not None
    return Order(
        capability, profile.id, prompt, asked.aspect_ratio, fields, kept, at_once
    )


def _check_sources(asked: Asked) -> None:
    if asked.source:
        _check_source("source", asked.source)
    for name, source in asked.sources.items():
        _check_source(f"sources.{name}", source)


def _check_source(name: str, source: str | Inline) -> None:
    if isinstance(source, str):
        if not _is_source(source):
            raise invalid(f"{name} must be a valid http(s) URL or data URI")
    elif not _MIME_TYPE.fullmatch(source.mime_type):
        raise invalid(f"{name}.mimeType must be a valid MIME type")
    elif not _is_base64(source.payload):
        raise invalid(f"{name}.base64 must be valid base64")


def _check_fields(capability: Capability, fields: Mapping[str, Any]) -> None:
    if not _says_what(capability, fields):
        raise invalid("prompt is required for this capability")
    if capability.source_key:
        _check_main_source(capability, fields.get(capability.source_key))
    if capability.id == "sound_effects" and not _is_duration(
        fields.get("duration_seconds")
    ):
        raise invalid("duration_seconds is required for this capability")
    if capability.category == "image":
        _check_image(fields)


def _says_what(capability: Capability, fields: Mapping[str, Any]) -> bool:
    key = capability.prompt_key
    if key is None or _is_text(fields.get(key)):
        return True
    # The documentation asks for music by weighted prompts alone.
    return capability.id == "text_to_music" and bool(fields.get("weightedPrompts"))


def _check_main_source(capability: Capability, given: Any) -> None:
    first = (given[0] if given else None) if isinstance(given, list) else given
    if capability.requires_source and not _is_source(first):
        raise invalid(
            "A valid http(s) sourceUrl or source.base64 input is required for this "
            "capability"
        )
    if first is not None and not _is_source(first):
        raise invalid("sourceUrl must be a valid http(s) URL or data URI")


def _check_image(fields: Mapping[str, Any]) -> None:
    # These two the hosted provider refuses only after it was given the job.
    count = fields.get("num_images", 1)
    if type(count) is not int or not 1 <= count <= 4:
        raise invalid("num_images must be a whole number from 1 to 4")
    if fields.get("output_format", "png") not in IMAGE_FORMATS:
        raise invalid(f"output_format must be one of {', '.join(IMAGE_FORMATS)}")


def _check_storable(kept: Mapping[str, Any]) -> None:
    try:
        # As deep as the queries will nest it.
        values.encode([{"request": kept}])
    except ValueError as error:
        raise invalid("Invalid media generation JSON body") from error


def _piece(fields: Mapping[str, Any]) -> dict[str, Any]:
    piece = lyria.piece(fields)
    if piece is None:
        raise invalid(
            "weightedPrompts and musicGenerationConfig are required for this capability"
        )
    return piece


def _prompt(capability: Capability, asked: Asked, fields: Mapping[str, Any]) -> str:
    said = asked.prompt or fields.get(capability.prompt_key or "")
    if isinstance(said, str):
        return said
    return " ".join(one["text"] for one in fields.get("weightedPrompts", ()))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_duration(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value > 0


def _is_source(value: object) -> bool:
    if not isinstance(value, str):
        return False
    with suppress(ValueError):
        parts = urlsplit(value.strip())
        return data_uri(value) or (
            parts.scheme in ("http", "https") and bool(parts.hostname)
        )
    return False


def _is_base64(digits: str) -> bool:
    try:
        # Padding may be left out.
        base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return bool(digits)
