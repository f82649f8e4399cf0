"""The last frame of a FLAC file, found and checked from the end.

FLAC has no end mark and frames tell no length. But the header tells how many samples
there are, each frame which ones it holds, and ends in a checksum of itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from materializer.containers import Ended, Source, TooManySteps, id3_end

_BLOCKS = (0, 192, 576, 1152, 2304, 4608, 0, 0, *(256 << n for n in range(8)))
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_TAGS = (b"TAG", b"APETAGEX", b"ID3", b"LYRICSBEGIN", b"\0")
_CANDIDATES = 10_000  # far more than there are by chance
_HEADER = 16  # the longest that the header of a frame may be


class _Stream(NamedTuple):
    """What STREAMINFO says, and where the frames begin."""

    frames_at: int
    block: int
    longest_frame: int
    samples: int


class _Frame(NamedTuple):
    """Where a frame starts, and the number of the sample that follows it."""

    at: int
    until: int


def follow(source: Source) -> None:
    """Look at the end of a FLAC file.

    Raises:
        Ended: its metadata or its last frame is not whole.
        TooManySteps: it has too many blocks of metadata.
    """
    stream = _stream(source)
    if stream is None or stream.samples == 0:
        return
    start = max(stream.frames_at, source.size - 2 * stream.longest_frame)
    tail = source.take(start, source.size - start)
    frames = list(_frames(tail, stream))
    if not frames:
        if start == stream.frames_at:
            raise Ended
        return  # something else, which was put behind the sound, fills all of it
    last = max(frames, key=lambda frame: frame.until)
    if last.until < stream.samples:
        raise Ended
    if last.until == stream.samples and not _has_whole_frame(tail[last.at :]):
        raise Ended


def _stream(source: Source) -> _Stream | None:
    at = id3_end(source.take(0, min(10, source.size)))
    if source.number(at + 4, 1) & 0x7F or source.take(at, 4) != b"fLaC":
        return None
    info = source.take(at + 8, 34)
    at += 4
    last = False
    while not last:
        last = source.number(at, 1) & 0x80 != 0
        at += 4 + source.number(at + 1, 3)
    if at > source.size:
        raise Ended
    block = int.from_bytes(info[2:4], "big")
    bits = int.from_bytes(info[10:18], "big")
    channels, depth = (bits >> 41 & 7) + 1, (bits >> 36 & 31) + 1
    # No encoder writes more than the samples as they are, of which one channel may
    # be a difference and so have a bit more.
    longest = _HEADER + 2 + channels * (2 + block * (depth + 1) // 8 + 1)
    return _Stream(at, block, longest, bits & 0xFFFFFFFFF)


def _frames(data: bytes, stream: _Stream) -> Iterator[_Frame]:
    """Yield what has the header of a frame, with its checksum."""
    for tried, candidate in enumerate(_SYNC.finditer(data)):
        if tried == _CANDIDATES:
            raise TooManySteps
        at = candidate.start()
        until = _samples_until(data[at : at + _HEADER], stream)
        if until is not None:
            yield _Frame(at, until)


def _samples_until(header: bytes, stream: _Stream) -> int | None:
    if len(header) < 6 or header[3] & 1:
        return None
    code, rate = header[2] >> 4, header[2] & 15
    coded = _coded_number(header[4:])
    if code == 0 or rate == 15 or coded is None:
        return None
    number, length = coded
    at = 4 + length
    block = _BLOCKS[code]
    if code in {6, 7}:
        block = int.from_bytes(header[at : at + code - 5], "big") + 1
        at += code - 5
    at += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if len(header) <= at or _crc_8(header[: at + 1]) != 0:
        return None
    variable = header[1] & 1
    return (number if variable else number * stream.block) + block


def _coded_number(data: bytes) -> tuple[int, int] | None:
    """Read a number written like a character in UTF-8, but of up to 36 bits."""
    ones = 8 - (data[0] ^ 0xFF).bit_length()
    if ones == 0:
        return data[0], 1
    rest = data[1:ones]
    if ones == 1 or ones == 8 or any(byte & 0xC0 != 0x80 for byte in rest):
        return None
    number = data[0] & (0x7F >> ones)
    for byte in rest:
        number = number << 6 | byte & 0x3F
    return number, ones


def _crc_8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc = _CRC_8[crc ^ byte]
    return crc


def _has_whole_frame(data: bytes) -> bool:
    # Where the frame ends, the checksum of all so far is zero. That need not be where
    # the file ends: tags may follow.
    crc = 0
    for at, byte in enumerate(data, start=1):
        crc = (crc << 8 & 0xFFFF) ^ _CRC_16[crc >> 8 ^ byte]
        if crc == 0 and (at == len(data) or data.startswith(_TAGS, at)):
            return True
    return False


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    def remainder(crc: int) -> int:
        for _ in range(8):
            crc <<= 1
            crc ^= polynomial if crc >> bits else 0
        return crc

    return tuple(remainder(byte << bits - 8) for byte in range(256))


_CRC_8 = _table(0x107, 8)
_CRC_16 = _table(0x18005, 16)
