"""What the headers of an answer say, and how a body that was cut is asked for.

Pure. A header that cannot be read says nothing; only Content-Range is read strictly,
because bytes are put where it says.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)
_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]{0,256}"', re.ASCII)
# A date is a strong validator when it was a minute old at the time (RFC 9110, 8.8.2.2).
_SETTLED = 60.0


@dataclass(frozen=True, slots=True)
class Body:
    """What a whole body was announced to be, as far as it was.

    Attributes:
        total: its length in bytes.
        sha256: its digest, in hex.
        etag: a strong entity tag.
        modified: when it last changed, as the server writes it, where it has no tag.
    """

    total: int | None = None
    sha256: str | None = None
    etag: str | None = None
    modified: str | None = None

    @property
    def resumable(self) -> bool:
        """Whether a part of it can be told from a part of something else."""
        return self.total is not None and bool(
            self.sha256 or self.etag or self.modified
        )

    @property
    def validator(self) -> str | None:
        """What If-Range takes; a server that is known by its digest needs none."""
        return self.etag or self.modified


def announced(headers: Mapping[str, str], *, total: int | None) -> Body:
    """Return what the headers of a body, or of a range of one, say of the whole.

    Args:
        headers: of the answer, names in lower case.
        total: the length of the whole.
    """
    tag = _tag(headers)
    return Body(total, _digest(headers), tag, None if tag else _modified(headers))


def length(headers: Mapping[str, str]) -> int | None:
    """Return the length of what follows, where it is announced."""
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def content_range(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """Return where a range begins, and the length of the whole that it ends; or None.

    A range that stops before the end of the whole was not asked for, nor was one
    whose length is another than it says.
    """
    match = _RANGE.fullmatch(headers.get("content-range", ""))
    if match is None:
        return None
    first, last, total = map(int, match.groups())
    said = length(headers)
    if first > last or last != total - 1 or said not in (None, total - first):
        return None
    return first, total


def retry_after(
    headers: Mapping[str, str], now: datetime | None = None
) -> float | None:
    """Return the seconds to wait that the source asks for, as such or as a date."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    when = _date(text)
    if when is None:
        return None
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


def _digest(headers: Mapping[str, str]) -> str | None:
    """Return the SHA-256 of the whole from the headers that tell it."""
    told = [headers.get("digest", ""), headers.get("repr-digest", "")]
    if checksum := headers.get("x-amz-checksum-sha256"):
        told.append(f"sha-256={checksum}")
    for field in ",".join(told).split(","):
        name, _, value = field.strip().partition("=")
        if name.lower() == "sha-256":
            try:
                raw = base64.b64decode(value.strip(":"), validate=True)
            except ValueError:
                continue
            if len(raw) == 32:
                return raw.hex()
    return None


def _tag(headers: Mapping[str, str]) -> str | None:
    tag = headers.get("etag", "")
    return tag if _STRONG_TAG.fullmatch(tag) else None


def _modified(headers: Mapping[str, str]) -> str | None:
    text = headers.get("last-modified", "")
    when, now = _date(text), _date(headers.get("date", ""))
    if when is None or now is None or (now - when).total_seconds() < _SETTLED:
        return None
    return text


def _date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
