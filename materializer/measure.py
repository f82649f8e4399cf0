"""How large a picture is, and how long a sound or a film, from its first bytes.

What would need more than a look at the headers is left unsaid.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from materializer.containers import (
    Ended,
    Source,
    TooManySteps,
    boxes,
    chunks,
    elements,
    id3_end,
    mpeg_frame,
    within,
)

_LONGEST_MS = 10**11
_STREAMED = 0x7FFFF000  # writers that cannot seek back leave a length above this

_SVG_ROOT = re.compile(rb"<(?:[\w-]+:)?svg\b[^<>]*>")
_SVG_VIEW = re.compile(rb"\sviewBox\s*=\s*[\"']([^\"']*)[\"']")
_SVG_NUMBER = rb"\d{1,9}(?:\.\d{1,9})?"
_SVG_SIDES = tuple(
    re.compile(rb"\s%b\s*=\s*[\"']\s*(%b)(?:px)?\s*[\"']" % (side, _SVG_NUMBER))
    for side in (b"width", b"height")
)

_SEGMENT = b"\x18\x53\x80\x67"
_INFO = b"\x15\x49\xa9\x66"
_TIMESTAMP_SCALE = b"\x2a\xd7\xb1"
_DURATION = b"\x44\x89"

_Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Measures:
    """Width and height in pixels, duration in milliseconds, each where it is known."""

    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None


def measure(extension: str, head: bytes) -> Measures:
    """Return what the first bytes of a file of this kind say about its extent."""
    source = within(head)
    try:
        if size_of := _SIZES.get(extension):
            size = size_of(source)
            return Measures(*size) if size and min(size) > 0 else Measures()
        if seconds_of := _SECONDS.get(extension):
            seconds = seconds_of(source)
            if seconds and 0 < seconds * 1000 < _LONGEST_MS:
                return Measures(duration_ms=round(seconds * 1000))
    except (Ended, TooManySteps, ZeroDivisionError, OverflowError):
        pass
    return Measures()


def _png(source: Source) -> _Size | None:
    if source.take(12, 4) != b"IHDR":
        return None
    return source.number(16, 4), source.number(20, 4)


def _gif(source: Source) -> _Size:
    return source.number(6, 2, "little"), source.number(8, 2, "little")


def _jpeg(source: Source) -> _Size | None:
    at = 2
    while source.number(at, 1) == 0xFF:
        marker = source.number(at + 1, 1)
        if marker == 0xFF:
            at += 1
        elif marker in range(0xC0, 0xD0) and marker not in {0xC4, 0xC8, 0xCC}:
            return source.number(at + 7, 2), source.number(at + 5, 2)
        else:
            at += 2 + source.number(at + 2, 2)
    return None


def _webp(source: Source) -> _Size | None:
    form = source.take(12, 4)
    if form == b"VP8X":
        return source.number(24, 3, "little") + 1, source.number(27, 3, "little") + 1
    if form == b"VP8L":
        bits = source.number(21, 4, "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = source.number(26, 2, "little"), source.number(28, 2, "little")
    return width & 0x3FFF, height & 0x3FFF


def _bmp(source: Source) -> _Size:
    if source.number(14, 4, "little") == 12:
        return source.number(18, 2, "little"), source.number(20, 2, "little")
    width, height = struct.unpack("<ii", source.take(18, 8))
    return width, abs(height)  # a negative height is a picture from the top down


def _ico(source: Source) -> _Size | None:
    entries = (source.take(6 + 16 * n, 2) for n in range(source.number(4, 2, "little")))
    sizes = ((width or 256, height or 256) for width, height in entries)
    return max(sizes, default=None)


def _tiff(source: Source) -> _Size | None:
    order = "little" if source.take(0, 1) == b"I" else "big"
    if source.number(2, 2, order) != 42:
        return None
    at = source.number(4, 4, order)
    sides: dict[int, int] = {}
    for n in range(source.number(at, 2, order)):
        entry = at + 2 + 12 * n
        length = {3: 2, 4: 4}.get(source.number(entry + 2, 2, order))
        if length:
            tag = source.number(entry, 2, order)
            sides[tag] = source.number(entry + 8, length, order)
        if {256, 257} <= sides.keys():
            return sides[256], sides[257]
    return None


def _heif(source: Source) -> _Size | None:
    # Tiles, thumbnails and masks have an extent too, none larger than the picture's.
    return max(
        (
            (source.number(start + 4, 4), source.number(start + 8, 4))
            for start, _ in _boxes_at(source, b"meta", b"iprp", b"ipco", b"ispe")
        ),
        key=lambda size: size[0] * size[1],
        default=None,
    )


def _svg(source: Source) -> _Size | None:
    root = _SVG_ROOT.search(source.take(0, source.size))
    if root is None:
        return None
    sides = [side[1] for form in _SVG_SIDES if (side := form.search(root[0]))]
    if len(sides) != 2:
        view = _SVG_VIEW.search(root[0])
        sides = re.split(rb"[\s,]+", view[1].strip())[2:] if view else []
    if len(sides) != 2 or not all(re.fullmatch(_SVG_NUMBER, side) for side in sides):
        return None
    return round(float(sides[0])), round(float(sides[1]))


def _mp4(source: Source) -> float | None:
    if _boxes_at(source, b"moov", b"mvex"):
        return None  # fragments follow, of which the header knows nothing
    for start, _ in _boxes_at(source, b"moov", b"mvhd"):
        wide = source.number(start, 1) == 1
        scale = source.number(start + (20 if wide else 12), 4)
        length = 8 if wide else 4
        duration = source.number(start + (24 if wide else 16), length)
        return None if duration == 256**length - 1 else duration / scale
    return None


def _boxes_at(source: Source, *path: bytes) -> list[_Size]:
    """Return start and end of every box at a path, as far as the head goes."""
    places = [(0, source.size)]
    for name in path:
        inner = []
        for start, end in places:
            # Of those on a path, this one alone has a version before its boxes.
            for kind, at, to in boxes(source, start, min(end, source.size)):
                if kind == name:
                    inner.append((at + 4 if name == b"meta" else at, to))
        places = inner
    return places


def _matroska(source: Source) -> float | None:
    for segment in elements(source, 0, source.size):
        if segment.kind == _SEGMENT:
            for info in elements(source, segment.start, segment.end or source.size):
                if info.kind == _INFO:
                    return _info_seconds(source, info.start, info.end or source.size)
    return None


def _info_seconds(source: Source, start: int, end: int) -> float | None:
    scale, duration = 1_000_000, None
    for part in elements(source, start, end):
        length = (part.end or part.start) - part.start
        if part.kind == _TIMESTAMP_SCALE:
            scale = source.number(part.start, length)
        elif part.kind == _DURATION and length in {4, 8}:
            form = ">f" if length == 4 else ">d"
            (duration,) = struct.unpack(form, source.take(part.start, length))
    return None if duration is None else float(duration) * scale / 1e9


def _wav(source: Source) -> float | None:
    rate = 0
    for kind, start, end in chunks(source, 12, source.size):
        if kind == b"fmt ":
            rate = source.number(start + 8, 4, "little")
        elif kind == b"data":
            length = end - start
            return length / rate if length < _STREAMED else None
    return None


def _aiff(source: Source) -> float | None:
    for kind, start, _ in chunks(source, 12, source.size, "big"):
        if kind == b"COMM":
            frames = source.number(start + 2, 4)
            exponent = source.number(start + 8, 2) - 16383 - 63
            return float(frames / (source.number(start + 10, 8) * 2.0**exponent))
    return None


def _flac(source: Source) -> float | None:
    at = id3_end(source.take(0, min(10, source.size)))
    if source.number(at + 4, 1) & 0x7F:
        return None
    bits = source.number(at + 18, 8)
    return (bits & 0xFFFFFFFFF) / (bits >> 44)


def _mp3(source: Source) -> float | None:
    at = id3_end(source.take(0, min(10, source.size)))
    frame = mpeg_frame(source.take(at, 4))
    if frame is None:
        return None
    tag = at + 4 + frame.side_info
    if source.take(tag, 4) in {b"Xing", b"Info"} and source.number(tag + 7, 1) & 1:
        return source.number(tag + 8, 4) * frame.samples / frame.rate
    if source.take(at + 36, 4) == b"VBRI":
        return source.number(at + 50, 4) * frame.samples / frame.rate
    return None


_SIZES: dict[str, Callable[[Source], _Size | None]] = {
    "png": _png,
    "jpg": _jpeg,
    "gif": _gif,
    "webp": _webp,
    "bmp": _bmp,
    "ico": _ico,
    "tiff": _tiff,
    "avif": _heif,
    "heic": _heif,
    "svg": _svg,
}
_SECONDS: dict[str, Callable[[Source], float | None]] = {
    "mp4": _mp4,
    "mov": _mp4,
    "m4a": _mp4,
    "webm": _matroska,
    "mkv": _matroska,
    "wav": _wav,
    "aiff": _aiff,
    "flac": _flac,
    "mp3": _mp3,
}
