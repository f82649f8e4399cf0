"""A fence round a piece of code: what it does outside one directory is noted.

The interpreter tells of every file that is opened to be written, of every change to
names and modes, of every process and every connection. SQLite's own files are not
told of.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Event -> how many of its first arguments are paths, and where a descriptor of a
# directory that they are looked up in would stand.
_PATHS = {
    "os.chmod": (1, 2),
    "os.link": (2, 2),
    "os.mkdir": (1, 2),
    "os.remove": (1, 1),
    "os.rename": (2, 2),
    "os.rmdir": (1, 1),
    "os.symlink": (1, 2),
    "os.truncate": (1, 9),
}
_NEVER = {
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.system",
    "pty.spawn",
    "socket.bind",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
}


class _Fence:
    """What may be changed now, and what was done beyond that."""

    def __init__(self) -> None:
        self.within: str | None = None
        self.beyond: list[str] = []
        self._installed = False

    def install(self) -> None:
        """Listen from now on; it cannot be taken back, and is silent while open."""
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._hear)

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        if self.within is None:
            return
        if event in _NEVER:
            self.beyond.append(event)
        elif event == "open":
            path, _, flags = given
            if isinstance(flags, int) and flags & _WRITES:
                self._judge(event, path)
        elif event in _PATHS:
            count, at = _PATHS[event]
            if all(fd == -1 for fd in given[at:] if isinstance(fd, int)):
                for path in given[:count]:
                    self._judge(event, path)

    def _judge(self, event: str, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a descriptor, which was judged when it was opened
        whole = os.path.realpath(os.fsdecode(path))
        if os.fsdecode(path) == os.devnull:
            return
        if whole != self.within and not whole.startswith(f"{self.within}{os.sep}"):
            self.beyond.append(f"{event} {whole}")


_FENCE = _Fence()


@contextmanager
def confined(directory: Path) -> Iterator[None]:
    """Fail when the block changes anything outside a directory, or leaves the process.

    Not to be nested, nor to be used beside other threads that do such things.
    """
    _FENCE.install()
    _FENCE.beyond.clear()
    _FENCE.within = os.path.realpath(directory)
    try:
        yield
    finally:
        _FENCE.within = None
    assert not _FENCE.beyond, f"it reached beyond its directory: {_FENCE.beyond}"
