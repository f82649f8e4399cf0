"""A limit for how fast all downloads together may be."""

from __future__ import annotations

import threading
import time

_STEP = 2**20
_BURST = 0.1


class Bandwidth:
    """So many bytes a second, for any number of threads.

    Args:
        rate: bytes a second; 0 is no limit.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        # A tenth of a second's worth at most, so that a slow limit is a steady one.
        self.step = min(_STEP, max(1024, rate // 10)) if rate else _STEP
        self._due = 0.0
        self._lock = threading.Lock()

    def spend(self, count: int) -> None:
        """Return when `count` bytes that have come were not too many."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            self._due = max(self._due, now - _BURST) + count / self._rate
            wait = self._due - now
        if wait > 0:
            time.sleep(wait)  # noqa: TID251 -- of a worker thread
