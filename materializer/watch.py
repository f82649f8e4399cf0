"""Watch: a file was changed by somebody else.

The system's events only say when to look; what counts is whether the file is another
one than before. A look every minute finds what no event told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TypeAlias

import watchfiles

# The library looks for the system's events after each step, and tells of them once a
# step has brought no more: after one step or two. A new token must be used within 1 s.
STEP = 0.4
LOOK = 60.0

logger = logging.getLogger(__name__)

_Mark: TypeAlias = tuple[int, ...] | None


async def changes(path: Path) -> AsyncGenerator[None, None]:
    """Yield after each change of a file, until closed or cancelled.

    The file and its directories may come and go; that counts where it makes or ends
    the file. Changes within two steps are one.
    """
    known = _mark(path)
    while True:
        directory, inode = _nearest(path.parent)
        async with contextlib.aclosing(_hints(directory)) as hints:
            async for _ in hints:
                latest = _mark(path)
                if latest != known:
                    known = latest
                    yield
                # A watched directory that is gone is silent for ever.
                if _nearest(path.parent) != (directory, inode):
                    break


async def _hints(directory: Path) -> AsyncGenerator[None, None]:
    """Yield when it is worth a look; end when the watch has to be made anew."""
    watching = watchfiles.awatch(
        directory,
        recursive=False,
        watch_filter=None,
        step=int(STEP * 1000),
        rust_timeout=int(LOOK * 1000),
        yield_on_timeout=True,
    )
    try:
        async with contextlib.aclosing(watching):
            async for _ in watching:
                yield
    # The library's own errors are RuntimeErrors, of a class it does not export.
    except (OSError, RuntimeError) as error:
        logger.info("cannot watch %s, looking every minute: %s", directory, error)
        await asyncio.sleep(LOOK)
        yield


def _nearest(directory: Path) -> tuple[Path, int]:
    """Return the directory, or the nearest one above it that exists, and its inode."""
    for candidate in (directory, *directory.parents):
        with contextlib.suppress(OSError):
            return candidate, candidate.stat().st_ino
    return directory, 0


def _mark(path: Path) -> _Mark:
    """Return what tells one content of a file from another; None without a file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
