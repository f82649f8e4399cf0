"""What is done in the outputs directory and its `.partial/`, blocking."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from materializer.errors import OutputDamaged
from materializer.place.directory import Directory

LOCK_STALE = 120.0
"""Seconds after which a lock of another program counts as left behind."""

_FRESH = 0.2  # seconds for which the directories are taken to be where they were
_PART = re.compile(r"(.+)_[0-9]+\.[^_]+", re.DOTALL)
_CANNOT_LINK = {
    errno.EPERM,
    errno.EACCES,
    errno.EXDEV,
    errno.EMLINK,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
}


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells a file from what it was before: its bytes, and when it was written.

    The time is in ms.
    """

    bytes: int
    written_at: int


class Files:
    """Both directories, held from their first use on; for any thread.

    They are opened anew when something else has come in their place. A `.partial` that
    is missing stands for a disk that is not attached, so it is never made here.

    Methods raise OSError when the disk does not play along, DiskTrouble when a link
    leads out of the state directory, and ValueError for what is no file's name.

    Attributes:
        left: the stems of the files that were in `.partial` when it was opened.
    """

    def __init__(self, outputs: Path, partial: Path) -> None:
        self._paths = outputs, partial
        self._lock = threading.Lock()
        self._held: tuple[Directory, Directory] | None = None
        self._looked_at = 0.0
        self.left: set[str] | None = None

    def open(self, path: Path, flags: int) -> int:
        """Open a regular file that is directly in one of the two; return a descriptor.

        No link is followed, and a new file is its owner's alone.
        """
        for directory, where in zip(self._directories(), self._paths, strict=True):
            if path.parent == where:
                return directory.open_file(path.name, flags)
        raise ValueError(f"{path} is not in the outputs directory")

    def free(self) -> int:
        """Return how many bytes the disk can still take."""
        return shutil.disk_usage(self._outputs().handle).free

    def names(self) -> list[str]:
        """Return the names in the outputs directory."""
        return self._outputs().names()

    def stamps(self, names: Iterable[str]) -> dict[str, Stamp]:
        """Return the stamps of those of the outputs that are there."""
        outputs = self._outputs()
        found = {}
        for name in names:
            with suppress(FileNotFoundError):
                known = outputs.stat(name)
                if stat.S_ISREG(known.st_mode):
                    found[name] = Stamp(known.st_size, known.st_mtime_ns // 1_000_000)
        return found

    def unlink(self, name: str) -> None:
        """Remove an output, if it is there."""
        self._outputs().unlink(name)

    def first(self, names: Iterable[str]) -> str | None:
        """Return the first of these that stands there as an output, as no link does."""
        for name, known in self._there(names):
            if stat.S_ISREG(known.st_mode):
                return name
        return None

    def are_held(self, names: Iterable[str]) -> bool:
        """Whether another program is writing one of these, as its lock says."""
        now = time.time()
        locks = self._there(f"{name}.lock" for name in names)
        return any(abs(now - known.st_mtime) < LOCK_STALE for _, known in locks)

    def written(self, part: str) -> int:
        """Return how long a part file is."""
        try:
            return self._partial().stat(part).st_size
        except FileNotFoundError:
            return 0

    def sync(self) -> None:
        """Make the names in the outputs directory survive a power cut."""
        self._outputs().sync()

    def sync_part(self, part: str) -> None:
        """Make the content of a part file survive a power cut."""
        partial = self._partial()
        with _while_there():
            partial.sync_file(part)

    def sync_output(self, name: str) -> None:
        """Make the content of an output survive a power cut."""
        outputs = self._outputs()
        with _while_there():
            outputs.sync_file(name)

    def rename(self, part: str, name: str) -> None:
        """Make a part file an output, in place of what has that name.

        What was noted beside it is removed.
        """
        outputs, partial = self._directories()
        with _while_there():
            partial.require_file(part)
            partial.move(part, outputs, name)
        partial.unlink(f"{part}.json")

    def rename_link(self, part: str, name: str) -> None:
        """Make what `link` has made an output."""
        self.rename(part, name)
        # A file that has the name already keeps both of them.
        self._partial().unlink(part)

    def link(self, name: str, part: str) -> None:
        """Make a part file of an output, which stays; with a copy if need be."""
        outputs, partial = self._directories()
        partial.unlink(part)
        with _while_there():
            outputs.sync_file(name)
            try:
                outputs.link(name, partial, part)
            except OSError as error:
                if error.errno not in _CANNOT_LINK:
                    raise
                _copy(outputs, name, partial, part)

    def sweep(self, is_over: Callable[[str], bool]) -> None:
        """Remove from `.partial` what is of the stems that are over."""
        partial = self._partial()
        for name in partial.names():
            part = _PART.fullmatch(name)
            if part is not None and is_over(part[1]):
                partial.unlink(name)

    def _there(self, names: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
        outputs = self._outputs()
        for name in filter(outputs.has, names):
            with suppress(FileNotFoundError):  # it has gone since
                yield name, outputs.stat(name)

    def _outputs(self) -> Directory:
        return self._directories()[0]

    def _partial(self) -> Directory:
        return self._directories()[1]

    def _directories(self) -> tuple[Directory, Directory]:
        with self._lock:
            held, paths = self._held, self._paths
            if held is None or not held[1].is_at(paths[1]):  # nor is what it is in
                outputs = Directory.open(paths[0], within=paths[0].parents[1])
                held = outputs, outputs.child(paths[1].name)
                parts = filter(None, map(_PART.fullmatch, held[1].names()))
                self.left = {part[1] for part in parts} | (self.left or set())
                self._held = held
            return held


@contextmanager
def _while_there() -> Iterator[None]:
    """Tell a file that has gone from a directory that has."""
    try:
        yield
    except FileNotFoundError as error:
        raise OutputDamaged("its file was removed before it was complete") from error


def _copy(of: Directory, name: str, to: Directory, new: str) -> None:
    with (
        os.fdopen(of.open_file(name, os.O_RDONLY), "rb") as source,
        os.fdopen(
            to.open_file(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb"
        ) as copy,
    ):
        shutil.copyfileobj(source, copy, 2**20)
        copy.flush()
        os.fsync(copy.fileno())
