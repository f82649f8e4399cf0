"""Which files a directory has, by what stands before their extension."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from materializer.place.directory import is_name

_SMALL = 64
_FRESH = 1.0
_LOCK = ".lock"


class Listing:
    """Finds the file of an output without knowing its extension, in any thread.

    A small directory is read for each question. A large one is read once a second at
    most, so that thousands of questions do not cost thousands of readings: what
    others put there is found up to a second late, what is `add`ed at once.

    Args:
        names: reads the directory.
    """

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names
        self._reading = threading.Lock()
        self._files: dict[str, str] = {}
        self._locks: dict[str, list[str]] = {}
        self._read_at = -_FRESH

    def lacks(self, beginning: str) -> bool:
        """Whether it is known, without a look, that `find` finds nothing. Is quick."""
        known = beginning in self._files or beginning in self._locks
        return self._is_fresh() and not known

    def find(self, beginning: str) -> tuple[str | None, list[str]]:
        """Return the file `<beginning>.<extension>`, and the locks of such a file.

        Raises:
            OSError: the directory cannot be read.
        """
        with self._reading:
            if not self._is_fresh():
                self._read()
            return self._files.get(beginning), self._locks.get(beginning, [])

    def add(self, name: str) -> None:
        """Take note of a file that was put there."""
        self._files[_beginning(name)] = name

    def forget(self) -> None:
        """Read the directory for the next question, however large it is."""
        self._read_at = -_FRESH

    def _is_fresh(self) -> bool:
        return len(self._files) > _SMALL and time.monotonic() - self._read_at < _FRESH

    def _read(self) -> None:
        began = time.monotonic()
        files: dict[str, str] = {}
        locks: dict[str, list[str]] = {}
        for name in filter(is_name, self._names()):
            if name.endswith(_LOCK):
                file = name.removesuffix(_LOCK)
                locks.setdefault(_beginning(file), []).append(name)
            elif "." in name:
                files[_beginning(name)] = name
        self._files, self._locks, self._read_at = files, locks, began


def _beginning(name: str) -> str:
    return name.rpartition(".")[0]
