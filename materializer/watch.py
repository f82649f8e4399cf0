"""Watch: a file, or what is in a directory, was changed by somebody else.

The system's events only say when to look; what counts is whether the file is another
one than before. A look every minute finds what no event told.

watchfiles knows what was changed, but looks for that at each of its steps, for ever. On
Linux the kernel rings a bell before: a signal, see F_NOTIFY in fcntl(2), that is told
of while nothing runs. So only then watchfiles is asked, and idle is idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import TypeAlias

import watchfiles

if sys.platform == "linux":
    import fcntl

# The library looks for the system's events after each step, and tells of them once a
# step has brought no more: after one step or two. A new token must be used within 1 s.
STEP = 0.4
# The same after a ring: the events are on their way.
RUNG_STEP, RUNG_LOOK = 0.05, 0.5
LOOK = 60.0

logger = logging.getLogger(__name__)
_bells: set[asyncio.Event] = set()

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


async def entries(directory: Path) -> AsyncGenerator[frozenset[str] | None, None]:
    """Yield the names in a directory that were made, changed or removed.

    None is at first, and whenever the directory is there anew or some may have been
    missed: look at all of them. Whoever then asks for more before that look misses
    nothing. While the directory is away, nothing is told.
    """
    while True:
        nearest, inode = _nearest(directory)
        if nearest == directory:
            yield None
        async with contextlib.aclosing(_hints(nearest)) as hints:
            async for names in hints:
                if _nearest(directory) != (nearest, inode):
                    break
                if nearest == directory and names:
                    yield names


async def _hints(directory: Path) -> AsyncGenerator[frozenset[str], None]:
    """Yield the names that are worth a look; end when the watch has to be made anew."""
    with _ringing(directory) as bell:
        step, look = (STEP, LOOK) if bell is None else (RUNG_STEP, RUNG_LOOK)
        watching = watchfiles.awatch(
            directory,
            recursive=False,
            watch_filter=None,
            step=int(step * 1000),
            rust_timeout=int(look * 1000),
            yield_on_timeout=True,
        )
        try:
            async with contextlib.aclosing(watching):
                async for changed in watching:
                    yield frozenset(Path(path).name for _, path in changed)
                    while not (bell is None or await _rung(bell)):
                        yield frozenset()  # the look of every minute
        # The library's own errors are RuntimeErrors, of a class it does not export.
        except (OSError, RuntimeError) as error:
            logger.info("cannot watch %s, looking every minute: %s", directory, error)
            await asyncio.sleep(LOOK)
            yield frozenset()


@contextlib.contextmanager
def _ringing(directory: Path) -> Iterator[asyncio.Event | None]:
    """Have an event set when something happens to a directory, or in it.

    None where the system does not tell, or not everybody.
    """
    with contextlib.ExitStack() as held:
        try:
            bell = _hang(directory, held)
        except (OSError, RuntimeError):  # off in the kernel, or not the main thread
            held.close()
            bell = None
        yield bell


if sys.platform == "linux":

    def _hang(directory: Path, held: contextlib.ExitStack) -> asyncio.Event | None:
        bell = asyncio.Event()
        loop = asyncio.get_running_loop()
        if not _bells:
            # A signal that means nothing to a process which does not wait for it.
            loop.add_signal_handler(signal.SIGURG, _ring)
            # On a busy loop they may be more than fit in its pipe, which one would do.
            signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)
        _bells.add(bell)
        held.callback(_take_down, bell, loop)
        inside = fcntl.DN_CREATE | fcntl.DN_MODIFY | fcntl.DN_ATTRIB
        gone = fcntl.DN_DELETE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT
        for path, events in ((directory, inside | gone), (directory.parent, gone)):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            held.callback(os.close, fd)
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(fd, fcntl.F_NOTIFY, events)
        return bell

    def _take_down(bell: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        _bells.remove(bell)
        if not _bells:
            loop.remove_signal_handler(signal.SIGURG)

else:

    def _hang(_: Path, __: contextlib.ExitStack) -> asyncio.Event | None:
        return None


def _ring() -> None:
    # The signal does not say whose it is.
    for bell in _bells:
        bell.set()


async def _rung(bell: asyncio.Event) -> bool:
    """Wait for a ring; return whether there was one within a minute."""
    try:
        async with asyncio.timeout(LOOK):
            await bell.wait()
    except TimeoutError:
        return False
    bell.clear()
    return True


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
