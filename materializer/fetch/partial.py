"""What has come of a body so far: the part file, and a note of what it is a part of.

The note stands beside the file. It holds no link, only what tells whether a server
still has the same body. A crash of the program leaves everything that was written; a
crash of the computer may leave holes, so after one only what had been synced counts.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from materializer.fetch.headers import Body

_SYNC_EVERY = 128 * 2**20
# Beside the copying, which a sync would halt.
_SYNCERS = ThreadPoolExecutor(4, "sync")

Opener = Callable[[str, int], int]
"""Opens a path with flags, as `os.open` does, and returns the descriptor."""

Read = Callable[[int, int], bytes]
"""Gives so many bytes of a file, from an offset on: offset, count."""


def private(path: str, flags: int) -> int:
    """Open a file that, where it is new, is its owner's alone: an Opener."""
    return os.open(path, flags, 0o600)


@dataclass(frozen=True, slots=True)
class Note:
    """What a part file is a part of.

    Attributes:
        source: a digest of the link without its query, which a new signature changes.
        boot: of the computer, when it was written.
        synced: so many bytes survive a crash of the computer.
    """

    body: Body
    source: str
    boot: str
    synced: int = 0


class Partial:
    """A part file, open for writing. Use it as a context manager.

    Args:
        path: of the part file.
        url: where the body comes from.
        opener: opens files.

    Attributes:
        size: how many bytes of it count.
        body: what they are a part of, if they can be told from those of another.
    """

    def __init__(self, path: Path, url: str, opener: Opener) -> None:
        self.path = path
        self._url = url
        self._note_path = path.with_name(f"{path.name}.json")
        self._opener = opener
        self._file = _open_own(path, opener)
        self._there = os.fstat(self._file).st_size
        note = self._read_note() if self._there else None
        self.body = note.body if note else Body()
        self.size = _trusted(note, self._there) if note else 0
        self._synced = self.size
        self._noted = False
        self._syncing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._syncing is not None:
            wait([self._syncing])
        os.close(self._file)

    def restart(self) -> None:
        """Forget what there is."""
        self._end_sync()
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self.size = self._synced = self._there = 0
        self.body, self._noted = Body(), False
        self._note_path.unlink(missing_ok=True)

    def begin(self, body: Body) -> None:
        """Go on, or begin, with what `body` announces, from `size` on."""
        self.body = body
        if self._there > self.size:
            os.ftruncate(self._file, self.size)
        if self._there:
            os.lseek(self._file, self.size, os.SEEK_SET)

    def note(self) -> None:
        """See to it that what is written from now on can be gone on with later."""
        if not self._noted and self.body.resumable:
            self._write_note()
            self._noted = True

    def write(self, data: memoryview) -> None:
        """Append bytes.

        Raises:
            OSError: the disk could not take them.
        """
        while data:
            written = os.write(self._file, data)
            self.size += written
            self._there = self.size
            data = data[written:]
        if self._noted and self.size - self._synced >= _SYNC_EVERY:
            if self._syncing is not None and not self._syncing.done():
                return
            self._end_sync()
            self._syncing = _SYNCERS.submit(self._sync, self.size)

    def hash(self) -> hashlib._Hash:
        """Return the running SHA-256 of what there is."""
        digest = hashlib.sha256()
        at = 0
        while at < self.size:
            data = self.read(at, min(2**20, self.size - at))
            digest.update(data)
            at += len(data)
        return digest

    def read(self, at: int, count: int) -> bytes:
        """Return at most `count` bytes from `at` on."""
        os.lseek(self._file, at, os.SEEK_SET)
        return os.read(self._file, count)

    def finish(self) -> None:
        """Make the bytes survive a crash of the computer."""
        self._end_sync()  # which may have met an error that is not told twice
        os.fsync(self._file)

    def _sync(self, size: int) -> None:
        os.fsync(self._file)
        self._synced = size
        self._write_note()

    def _end_sync(self) -> None:
        syncing, self._syncing = self._syncing, None
        if syncing is not None:
            syncing.result()

    def _read_note(self) -> Note | None:
        try:
            with open(self._note_path, "rb", opener=self._opener) as file:
                told = json.load(file)
            note = Note(Body(**told.pop("body")), **told)
            numbers = (note.body.total, note.synced)
            if not all(type(number) is int and number >= 0 for number in numbers):
                return None
            if not note.body.resumable:
                return None
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        return note if note.source == source_of(self._url) else None

    def _write_note(self) -> None:
        note = Note(self.body, source_of(self._url), _boot(), self._synced)
        fresh = self._note_path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with open(fresh, "x", encoding="utf-8", opener=self._opener) as file:
            json.dump(asdict(note), file)
        fresh.replace(self._note_path)


def _open_own(path: Path, opener: Opener) -> int:
    """Open a file that has no second name, by which others would see it change.

    Such is left by a crash amid an adoption, and can be laid in our way.
    """
    file = opener(str(path), os.O_RDWR | os.O_CREAT)
    if os.fstat(file).st_nlink == 1:
        return file
    os.close(file)
    path.unlink()
    return opener(str(path), os.O_RDWR | os.O_CREAT | os.O_EXCL)


def _trusted(note: Note, there: int) -> int:
    """Return how many of the bytes that are there can be gone on with."""
    size = there if note.boot == _boot() else min(there, note.synced)
    # Of what is complete, the last byte is asked for again, and with it the answer
    # whether it is still the same.
    return max(0, min(size, (note.body.total or 0) - 1))


def source_of(url: str) -> str:
    """Return a digest of a link that stays when its signature is renewed."""
    parts = urlsplit(url)
    plain = f"{parts.scheme}://{parts.netloc}{parts.path}"
    return hashlib.sha256(plain.encode()).hexdigest()


@functools.cache
def _boot() -> str:
    """Return which start of the computer this is; elsewhere than on Linux, no name.

    Without one, only what was synced counts.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return os.urandom(16).hex()
