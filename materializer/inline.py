"""Bytes that come inside a job's output: `data:` URLs and base64.

Decoded piece by piece, so that a long text costs little more memory than the bytes
that it stands for. `base64.b64decode` and `urllib.request` make several copies of the
whole, and neither takes what providers write: other alphabets, spaces, no padding.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from io import BytesIO
from urllib.parse import unquote_to_bytes

_PIECE = 64 * 1024
_LONGEST_HEAD = 1024
_SPACE = b" \t\r\n\f\v"
_STANDARD = bytes.maketrans(b"-_", b"+/")
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,99}/[\w.+-]{1,99}", re.ASCII)


def from_data_url(url: str) -> tuple[bytes, str | None]:
    """Return the bytes of a `data:` URL, and its media type where it names one.

    Raises:
        ValueError: it holds none; the text says why.
    """
    comma = url.find(",", 0, _LONGEST_HEAD)
    if comma < 0:
        raise ValueError("its data: URL has no data")
    head = url[len("data:") : comma]
    parameters = [part.strip().lower() for part in head.split(";")]
    pieces = _unquoted(url, comma + 1)
    data = _decoded(pieces) if "base64" in parameters else _joined(pieces)
    return data, media_type(head)


def media_type(text: str) -> str | None:
    """Return the type that a text names, in lower case and without its parameters."""
    match = _MEDIA_TYPE.fullmatch(text.partition(";")[0].strip().lower())
    return match[0] if match else None


def from_base64(text: str) -> bytes:
    """Return the bytes of a base64 text.

    Either alphabet, white space, and any number of `=` at the end are taken.

    Raises:
        ValueError: it is no base64, or empty; the text says so.
    """
    return _decoded(
        text[start : start + _PIECE].encode(errors="replace")
        for start in range(0, len(text), _PIECE)
    )


def _unquoted(url: str, start: int) -> Iterator[bytes]:
    while start < len(url):
        end = start + _PIECE
        # An escape is three characters long and is not cut in two.
        escape = url.rfind("%", end - 2, end)
        end = end if escape < 0 else escape + 3
        yield unquote_to_bytes(url[start:end].encode(errors="replace"))
        start = end


def _decoded(pieces: Iterable[bytes]) -> bytes:
    try:
        return _joined(_quartets(pieces))
    except binascii.Error:
        raise ValueError("its inline data is no base64") from None


def _quartets(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    ended = False
    for piece in pieces:
        coded, end, beyond = piece.translate(_STANDARD, _SPACE).partition(b"=")
        if beyond.strip(b"=") or (ended and coded):
            raise binascii.Error
        ended = ended or bool(end)
        rest += coded
        whole = len(rest) - len(rest) % 4
        yield binascii.a2b_base64(rest[:whole], strict_mode=True)
        rest = rest[whole:]
    yield binascii.a2b_base64(rest + b"=" * (-len(rest) % 4), strict_mode=True)


def _joined(pieces: Iterable[bytes]) -> bytes:
    # Unlike b"".join, it never holds the bytes twice.
    whole = BytesIO()
    whole.writelines(pieces)
    if not whole.tell():
        raise ValueError("its inline data is empty")
    return whole.getvalue()
