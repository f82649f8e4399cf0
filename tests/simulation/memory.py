"""A directory for one trial after the other, in memory where the system has such."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 -- a fresh directory is made in it


@contextmanager
def in_memory() -> Iterator[Path]:
    """Give a directory for the length of a block."""
    where = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield Path(folder)
