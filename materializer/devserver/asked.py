"""The reading of the body of `POST generate`, before anything is decided.

Text is trimmed. A member of the wrong type counts as left out, as it does at the
hosted gateway.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from materializer.errors import GatewayError

_DATA_PREFIX = re.compile(r"data:[^;,\s]+;base64,", re.ASCII | re.IGNORECASE)


def data_uri(text: str) -> bool:
    """Tell whether a text is bytes in base64 that pass for a URL."""
    return _DATA_PREFIX.match(text) is not None


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _source(value: Any) -> Any:
    if isinstance(value, dict):
        return value if any(_text(value.get(key)) for key in _MEMBERS) else None
    return _text(value) or None


def _sources(value: Any) -> dict[str, Any]:
    given = ((key.strip(), _source(item)) for key, item in _object(value).items())
    return {key: item for key, item in given if key and item}


_Text = Annotated[str, BeforeValidator(_text)]
_MEMBERS = ("base64", "mimeType", "fileName")


class Inline(BaseModel):
    """A source whose bytes are in the request."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)
    base64: _Text = ""
    mime_type: _Text = ""

    @property
    def payload(self) -> str:
        """The base64 digits alone."""
        return "".join(_DATA_PREFIX.sub("", self.base64, count=1).split())

    @property
    def uri(self) -> str:
        """The source as a data URI."""
        return f"data:{self.mime_type};base64,{self.payload}"


Source = Annotated[str | Inline | None, BeforeValidator(_source)]


class Asked(BaseModel):
    """One request as it was sent."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)
    capability: _Text = Field(min_length=1)
    profile: Annotated[_Text, BeforeValidator(lambda value: _text(value).lower())] = ""
    prompt: _Text = ""
    aspect_ratio: _Text = ""
    source_url: _Text = ""
    source: Source = None
    sources: Annotated[dict[str, str | Inline], BeforeValidator(_sources)] = {}
    input: Annotated[dict[str, Any], BeforeValidator(_object)] = {}

    @property
    def main_source(self) -> str:
        """The one source as a URL: `sourceUrl` goes before `source`."""
        return self.source_url or (self.source and as_url(self.source)) or ""


def as_url(source: str | Inline) -> str:
    """Return a source as a URL or data URI."""
    return source.uri if isinstance(source, Inline) else source


def read(body: bytes) -> Asked:
    """Read a body.

    Raises:
        GatewayError: status 400: it is no JSON object that names a capability.
    """
    try:
        return Asked.model_validate_json(body)
    except ValueError as error:
        raise invalid("Invalid media generation JSON body") from error


def invalid(say: str) -> GatewayError:
    """Return the refusal of a request, to be raised."""
    return GatewayError(say, status=400)
