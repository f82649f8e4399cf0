"""One file of the outputs directory, read anew: what it is now."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from materializer import naming, structure
from materializer.model import Inline, Kind, Output, Placed, Remote
from materializer.place import Places
from materializer.sniff import HEAD, Media, is_page, sniff

_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a file is.

    Attributes:
        written_at: when it was written last, in ms.
        flaw: why it is not what it is called, in words, or None.
    """

    placed: Placed
    written_at: int
    flaw: str | None


def inspect(
    places: Places,
    name: str,
    index: int,
    kind: Kind | None = None,
    *,
    companion: bool = False,
) -> Inspected:
    """Read an output that is there; without `kind` its content says what it is.

    It blocks.

    Raises:
        OSError: it cannot be read, or is being written to.
    """
    path = places.outputs / name
    with open(path, "rb", opener=places.opener) as file:
        known = os.fstat(file.fileno())
        media = sniff(file.read(HEAD))
        output = _output(name, index, kind or _kind(media), companion=companion)
        sha256 = digest(file)
        text = None
        if output.kind == "text" and not companion:
            file.seek(0)
            text = file.read().decode("utf-8", "replace")
        flaw = _flaw(output, media, known.st_size, file)
        after = os.fstat(file.fileno())
    if (known.st_size, known.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OSError(errno.EBUSY, "it is being written to")
    placed = Placed(
        index,
        output.kind,
        str(path),
        known.st_size,
        sha256,
        naming.mime_type(output, media),
        width=media.width if media else None,
        height=media.height if media else None,
        duration_ms=media.duration_ms if media else None,
        text=text,
        companion=companion,
    )
    return Inspected(placed, known.st_mtime_ns // _MS, flaw)


def digest(file: BufferedReader) -> str:
    """Return the SHA-256 of a whole file, in hexadecimal. It blocks."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _output(name: str, index: int, kind: Kind, *, companion: bool) -> Output:
    """Return the output whose file would be called so."""
    ours = kind == "text" or companion
    source = Inline(b"") if ours else Remote("")
    return Output(index, kind, source, file_name=name, companion=companion)


def _kind(media: Media | None) -> Kind:
    return "download" if media is None or media.kind == "text" else media.kind


def _flaw(
    output: Output, media: Media | None, size: int, file: BufferedReader
) -> str | None:
    def read(offset: int, count: int) -> bytes:
        file.seek(offset)
        return file.read(count)

    if not size and output.kind != "text":
        return "it is empty"
    if is_page(media):
        return "it is a web page"
    suffix = Path(output.file_name or "").suffix.removeprefix(".")
    if suffix not in (naming.extension(output, media), "bin"):  # which says nothing
        return f"its content is not {suffix.upper()}"
    return structure.flaw(media, size, read) if media else None
