"""Media of an exact size: whole for whoever looks at its structure, and incompressible.

The same size and number give the same bytes; another number gives others.
"""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class File:
    """One file that is fetched.

    Attributes:
        sha256: of its content, in hexadecimal.
    """

    name: str
    size: int
    sha256: str


def png(size: int, number: int) -> bytes:
    """Return a picture of one pixel, the rest of it in a chunk that viewers skip."""
    head = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, *_GREY))
    tail = _chunk(b"IDAT", zlib.compress(b"\0\0")) + _chunk(b"IEND", b"")
    fill = size - len(head) - len(tail) - 12
    if fill < 0:
        raise ValueError("too small for a picture")
    return head + _chunk(b"noIs", _noise(number).randbytes(fill)) + tail


_GREY = (8, 0, 0, 0, 0)


def write_png(path: Path, size: int, number: int) -> File:
    """Write a picture."""
    data = png(size, number)
    path.write_bytes(data)
    return File(path.name, size, hashlib.sha256(data).hexdigest())


def write_mp4(path: Path, size: int, number: int) -> File:
    """Write a film without tracks, block by block, so that it may be of any size."""
    movie = struct.pack(">III", 0, 0, 0) + struct.pack(">II", 1000, 1000) + bytes(80)
    head = _box(b"ftyp", b"isom\0\0\2\0isomiso2") + _box(b"moov", _box(b"mvhd", movie))
    left = size - len(head) - 16
    if left < 0:
        raise ValueError("too small for a film")
    head += struct.pack(">I4sQ", 1, b"mdat", left + 16)
    digest = hashlib.sha256(head)
    noise = _noise(number)
    with path.open("wb") as file:
        file.write(head)
        while left:
            block = noise.randbytes(min(_BLOCK, left))
            digest.update(block)
            file.write(block)
            left -= len(block)
    return File(path.name, size, digest.hexdigest())


def sha256(path: Path) -> str:
    """Return the digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _noise(number: int) -> random.Random:
    return random.Random(number)  # noqa: S311 -- fills files, guards nothing


def _chunk(name: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(data, zlib.crc32(name))
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def _box(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + name + data
