"""How a download that runs in one thread is ended by another."""

from __future__ import annotations

import threading
from typing import Protocol


class _Abortable(Protocol):
    def abort(self) -> None:
        """Cut the connection."""


class Cut:
    """Ends a download from another thread."""

    def __init__(self) -> None:
        self.made = False
        self._stream: _Abortable | None = None
        self._lock = threading.Lock()

    def make(self) -> None:
        """End it: whoever waits for the connection fails at once."""
        with self._lock:
            self.made = True
            if self._stream is not None:
                self._stream.abort()

    def watch(self, stream: _Abortable | None) -> None:
        """Take the connection that is used from now on, or none."""
        with self._lock:
            self._stream = stream
            if self.made and stream is not None:
                stream.abort()
