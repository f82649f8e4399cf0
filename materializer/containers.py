"""How media files are put together: boxes, chunks, elements and frames.

Only the framing, for whoever wants to measure a file or to see whether it is whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

_WINDOW = 4096
_STEPS = 200_000

# MPEG audio, by layer (1 to 3): kbit/s by bitrate index, for MPEG 1 and for 2 and 2.5.
_KBITS = {
    1: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_LOW_KBITS = {
    1: (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    3: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_RATES = (44100, 48000, 32000)


class Ended(Exception):
    """The bytes end before what they announce; the text may say before what."""


class TooManySteps(Exception):
    """The file has more parts than anybody should walk through."""


class Source:
    """Bytes with random access, read through a small window.

    Args:
        size: how many there are.
        read: gives `count` bytes from `offset` on.
    """

    def __init__(self, size: int, read: Callable[[int, int], bytes]) -> None:
        self.size = size
        self._read = read
        self._steps = 0
        self._at = 0
        self._window = b""

    def take(self, at: int, count: int) -> bytes:
        """Return exactly `count` bytes.

        Raises:
            Ended: there are not so many.
            TooManySteps: this was asked too often.
        """
        self._steps += 1
        if self._steps > _STEPS:
            raise TooManySteps
        if at + count > self.size:
            raise Ended
        start = at - self._at
        if start < 0 or start + count > len(self._window):
            self._window = self._read(at, min(max(count, _WINDOW), self.size - at))
            self._at = at
            start = 0
            if len(self._window) < count:
                raise Ended
        return self._window[start : start + count]

    def number(self, at: int, count: int, order: str = "big") -> int:
        """Return an unsigned integer; raises as `take` does."""
        little = order == "little"
        return int.from_bytes(self.take(at, count), "little" if little else "big")


class Element(NamedTuple):
    """An EBML element: its id, and where its content starts and ends, if it says so."""

    kind: bytes
    start: int
    end: int | None


def within(head: bytes) -> Source:
    """Return the source of bytes that are in memory."""
    return Source(len(head), lambda at, count: head[at : at + count])


def boxes(source: Source, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of ISO media boxes; stop at what cannot be one.

    The end is as announced, perhaps beyond `end`; start and end are of the content.
    """
    while at + 8 <= end:
        size, kind = struct.unpack(">I4s", source.take(at, 8))
        start = at + 8
        if size == 1:
            size = source.number(start, 8)
            start += 8
        elif size == 0:
            size = end - at
        if size < start - at or not _is_name(kind):
            return
        yield kind, start, at + size
        at += size


def chunks(
    source: Source, at: int, end: int, order: str = "little"
) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of RIFF or (`big`) IFF chunks, likewise."""
    while at + 8 <= end:
        kind, size = source.take(at, 4), source.number(at + 4, 4, order)
        if not _is_name(kind):
            return
        yield kind, at + 8, at + 8 + size
        at += 8 + size + size % 2


def elements(source: Source, at: int, end: int) -> Iterator[Element]:
    """Yield EBML elements, likewise; after one of unknown size come its children.

    Raises:
        Ended: the header of an element is cut off.
    """
    while at < end:
        header = source.take(at, min(12, end - at))
        ident = 9 - header[0].bit_length()
        if ident > 4:
            return
        if len(header) <= ident:
            raise Ended
        length = 9 - header[ident].bit_length()
        if length > 8:
            return
        start = at + ident + length
        if start > end:
            raise Ended
        size = int.from_bytes(header[ident : ident + length], "big")
        unknown = (1 << 7 * length) - 1
        size &= unknown
        yield Element(header[:ident], start, None if size == unknown else start + size)
        at = start if size == unknown else start + size


class Frame(NamedTuple):
    """The header of one MPEG audio frame: sizes in bytes, the rate in Hz."""

    length: int
    samples: int
    rate: int
    side_info: int


def mpeg_frame(header: bytes) -> Frame | None:
    """Read the four bytes that start a frame of layer 1, 2 or 3, or return None."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or bitrate in {0, 15} or rate == 3:
        return None
    first = version == 3
    hertz = _MPEG_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits = (_KBITS if first else _LOW_KBITS)[layer][bitrate] * 1000
    padding = header[2] >> 1 & 1
    if layer == 1:
        return Frame((12 * bits // hertz + padding) * 4, 384, hertz, 0)
    samples = 576 if layer == 3 and not first else 1152
    mono = header[3] >> 6 == 3
    side_info = (17 if mono else 32) if first else (9 if mono else 17)
    return Frame(samples // 8 * bits // hertz + padding, samples, hertz, side_info)


def id3_end(head: bytes) -> int:
    """Return where the ID3v2 tag in front of something ends: 0 when there is none."""
    if len(head) < 10 or head[:3] != b"ID3" or head[3] not in {2, 3, 4}:
        return 0
    if max(head[6:10]) > 127:
        return 0
    size = sum(byte << 7 * place for place, byte in enumerate(head[9:5:-1]))
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _is_name(kind: bytes) -> bool:
    return all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in kind)
