"""The free space of a disk, shared out among the downloads under way.

Bytes are set aside by counting, not on the disk: `posix_fallocate` makes a file as
long as it will be, and then its length no longer tells how much of it has come, which
is what going on after a kill rests on. So another program can still fill the disk;
that is noticed when it happens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from materializer.place.trouble import disk_trouble, trouble

_SMALL = 2**20
_FRESH = 0.05  # seconds for which the disk is taken to be as full as it was


@dataclass(slots=True, eq=False)
class _Claim:
    """What one download needs: `size` bytes beyond the `had` that it had then."""

    written: Callable[[], int]
    had: int = 0
    size: int = 0

    def rest(self) -> int:
        if self.size < _SMALL:  # what has come of it is not worth a look at the disk
            return self.size
        come = max(0, self.written() - self.had)
        return max(0, self.size - come)


class Space:
    """Counts what is free and not set aside. It may be used from any thread.

    Args:
        free: returns the free bytes of the disk.
    """

    def __init__(self, free: Callable[[], int]) -> None:
        self._free = free
        self._seen = 0
        self._seen_at = -_FRESH
        self._lock = threading.Lock()
        self._claims: set[_Claim] = set()

    def require(self, keep: int) -> None:
        """Raise DiskTrouble unless more than `keep` bytes are left."""
        with self._lock:
            left = self._left()
        if left <= keep:
            raise trouble(
                "disk_full",
                f"only {_mib(left)} are free and min_free_space keeps {_mib(keep)}:"
                " free some space, and it goes on by itself",
            )

    @contextmanager
    def room(
        self, written: Callable[[], int], keep: int
    ) -> Iterator[Callable[[int], None]]:
        """Yield what sets bytes aside until the end of the block.

        Its one argument is how many are still to be written; a later call replaces an
        earlier one. It raises DiskTrouble when less than `keep` would be left free.
        `written` returns how many have been by now, so that what is on the disk
        already is not counted twice.
        """
        claim = _Claim(written)

        def reserve(size: int) -> None:
            with self._lock:
                claim.size = 0
                left = self._left()
                if left - size < keep:
                    raise trouble(
                        "disk_full",
                        f"a file of {_mib(size)} does not fit: {_mib(left)} are free,"
                        f" and min_free_space keeps {_mib(keep)}: free some space, and"
                        " it goes on by itself",
                    )
                claim.had = written() if size >= _SMALL else 0
                claim.size = size

        with self._lock:
            self._claims.add(claim)
        try:
            yield reserve
        finally:
            with self._lock:
                self._claims.remove(claim)

    def _left(self) -> int:
        now = time.monotonic()
        with disk_trouble():
            if now - self._seen_at >= _FRESH:
                self._seen, self._seen_at = self._free(), now
            return self._seen - sum(claim.rest() for claim in self._claims)


def _mib(count: int) -> str:
    return f"{max(0, count) >> 20} MiB"
