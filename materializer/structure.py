"""Whether a file ends where its own structure says that it ends.

A body that is cut off without an announced length looks like a finished one; its
boxes, chunks and end marks tell. A false alarm would throw away a good file, a miss
keeps a broken one: so what cannot be followed is not called cut. One old habit is: a
GIF without its trailer, which decoders forgive, is the same as one cut by a byte.
"""

from __future__ import annotations

from collections.abc import Callable

from materializer import flac
from materializer.containers import (
    Ended,
    Source,
    TooManySteps,
    boxes,
    chunks,
    elements,
)
from materializer.sniff import Media

_STREAMED = 0x7FFFF000  # a writer that cannot seek back leaves 0 or more than this
_BLOCK = 64 * 1024

_END_OF_IMAGE = b"\xff\xd9"
_SEGMENT = b"\x18\x53\x80\x67"
_END_OF_DIRECTORY = b"PK\5\6"
_LONGEST_COMMENT = 0xFFFF
_LONGEST_PAGE = 27 + 255 + 255 * 255

_TOP_BOXES = frozenset(
    name.encode()
    for name in "ftyp styp moov moof mdat meta mfra sidx ssix prft emsg free skip wide "
    "udta uuid pdin pnot".split()
)


def flaw(media: Media, size: int, read: Callable[[int, int], bytes]) -> str | None:
    """Return what shows that the file is not whole, in words, or None.

    None also where the kind has no end that could be checked, where the file does
    not follow its format, and where it has too many parts to look at them all. The
    time is bounded whatever the file holds, and few bytes of a large one are read,
    except of a JPEG with something behind its image and of a GIF.

    Args:
        media: what the file was recognised as.
        size: of the file, in bytes.
        read: gives `count` bytes of the file from `offset` on. What it raises passes.
    """
    check = _CHECKS.get(media.extension)
    if check is None:
        return None
    end, follow = check
    try:
        follow(Source(size, read))
    except Ended as ended:
        return f"the {media.extension.upper()} ends before {str(ended) or end}"
    except TooManySteps:
        pass
    return None


def _png(source: Source) -> None:
    at = 8
    while True:
        length, kind = source.number(at, 4), source.take(at + 4, 4)
        at += 12 + length
        if not kind.isalpha():
            return
        if at > source.size:
            raise Ended
        if kind == b"IEND":
            return


def _jpeg(source: Source) -> None:
    # The picture in the metadata has an end mark of its own: look behind it.
    at = 2
    while (marker := source.take(at, 2)) != b"\xff\xda" and marker[0] == 0xFF:
        at += 1 if marker[1] == 0xFF else 2 + source.number(at + 2, 2)
        if at > source.size:
            raise Ended
    if source.take(max(at, source.size - 2), 2) != _END_OF_IMAGE:
        _find(source, _END_OF_IMAGE, at)


def _find(source: Source, mark: bytes, at: int) -> int:
    while True:
        block = source.take(at, min(_BLOCK, source.size - at))
        if (found := block.find(mark)) >= 0:
            return at + found
        if at + len(block) >= source.size:
            raise Ended
        at += len(block) - len(mark) + 1


def _gif(source: Source) -> None:
    at = 13 + _palette(source.number(10, 1))
    while (kind := source.take(at, 1)) != b";":
        if kind == b"!":
            at += 2
        elif kind == b",":
            at += 11 + _palette(source.number(at + 9, 1))
        else:
            return
        while length := source.number(at, 1):
            at += 1 + length
        at += 1


def _palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp(source: Source) -> None:
    length = source.number(4, 4, "little")
    if 0 < length < _STREAMED and 8 + length > source.size:
        raise Ended


def _chunked(order: str, last: bytes | None = None) -> Callable[[Source], None]:
    """Return a check that each chunk is whole up to and with the `last` one.

    What follows the samples is not looked at: many a writer forgets to pad them.
    """

    def follow(source: Source) -> None:
        for kind, start, end in chunks(source, 12, source.size, order):
            length = end - start
            if length >= _STREAMED or (length == 0 and kind == b"LIST"):
                return
            if end > source.size:
                raise Ended(f"its {kind.decode('latin-1').strip()} chunk does")
            if kind == last:
                return
        announced = source.number(4, 4, order)
        if 0 < announced < _STREAMED and 8 + announced > source.size:
            raise Ended

    return follow


def _iso_media(source: Source) -> None:
    seen: set[bytes] = set()
    last = b""
    for kind, _, end in boxes(source, 0, source.size):
        if _is_playable(seen, last) and kind not in _TOP_BOXES:
            return
        if end > source.size:
            raise Ended(f"its {kind.decode('latin-1')} box does")
        seen.add(kind)
        last = kind
    if not _is_playable(seen, last):
        raise Ended(f"its {'mdat' if b'moov' in seen else 'moov'} box")


def _is_playable(seen: set[bytes], last: bytes) -> bool:
    return ({b"moov", b"mdat"} <= seen and last != b"moof") or b"meta" in seen


def _matroska(source: Source) -> None:
    # A segment or cluster of unknown size lasts as long as there are elements, and
    # each of those must be whole.
    found = False
    for element in elements(source, 0, source.size):
        if element.end is not None and element.end > source.size:
            raise Ended
        found = found or element.kind == _SEGMENT
        if element.kind == _SEGMENT and element.end is not None:
            return
    if not found:
        raise Ended


def _glb(source: Source) -> None:
    if source.number(8, 4, "little") > source.size:
        raise Ended


def _ogg(source: Source) -> None:
    start = max(0, source.size - _LONGEST_PAGE)
    tail = source.take(start, source.size - start)
    at = tail.rfind(b"OggS\0")
    if at < 0:
        return
    lengths = source.take(start + at + 27, source.number(start + at + 26, 1))
    end = start + at + 27 + len(lengths) + sum(lengths)
    rest = source.take(end, min(4, max(0, source.size - end)))
    if rest and b"OggS".startswith(rest):
        raise Ended


def _zip(source: Source) -> None:
    start = max(0, source.size - 22 - _LONGEST_COMMENT)
    tail = source.take(start, source.size - start)
    found = tail.rfind(_END_OF_DIRECTORY)
    if found < 0:
        raise Ended
    at = start + found
    end = at + 22 + source.number(at + 20, 2, "little")
    if end > source.size:
        raise Ended
    # One that is followed by more may be that of an archive within this one.
    directory = source.number(at + 12, 4, "little") + source.number(
        at + 16, 4, "little"
    )
    if end < source.size and directory < at:
        raise Ended


_ISO = ("its last box does", _iso_media)
_RIFF = ("its last chunk does", _chunked("little"))
_ZIP = ("its directory of members", _zip)
_MATROSKA = ("its last element does", _matroska)

# By extension: what is missing when the file is cut, and who sees it.
_CHECKS: dict[str, tuple[str, Callable[[Source], None]]] = {
    "png": ("its IEND chunk", _png),
    "jpg": ("its end-of-image mark", _jpeg),
    "gif": ("its trailer", _gif),
    "webp": ("its last chunk does", _webp),
    "avif": _ISO,
    "heic": _ISO,
    "mp4": _ISO,
    "mov": _ISO,
    "m4a": _ISO,
    "webm": _MATROSKA,
    "mkv": _MATROSKA,
    "glb": ("its announced length", _glb),
    "wav": ("its samples do", _chunked("little", b"data")),
    "aiff": ("its samples do", _chunked("big", b"SSND")),
    "avi": _RIFF,
    "flac": ("its last frame does", flac.follow),
    "ogg": ("its last page does", _ogg),
    "opus": ("its last page does", _ogg),
    "ogv": ("its last page does", _ogg),
    "zip": _ZIP,
    "usdz": _ZIP,
}
