"""Manners of a process: its directories, its lock, its signals, its parent.

The lock is written by hand though `filelock` exists: whoever loses must name the
winner's process id, which has to be in the locked file itself, under the held handle.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Self

from materializer.config import Paths
from materializer.errors import AlreadyRunning, SettingsInvalid

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_M_ARENA_MAX = -8  # of <malloc.h>


def prepare_directories(paths: Paths) -> None:
    """Create what is missing of the state directory, for this user alone.

    Raises:
        SettingsInvalid: it cannot be used; what was made until then is gone again.
    """
    try:
        with contextlib.ExitStack() as undo:
            for leaf in (paths.partial, paths.logs):
                for directory in reversed((leaf, *leaf.parents)):
                    if _make(directory):
                        undo.callback(_unmake, directory)
            for directory in (paths.state, paths.outputs, paths.partial):
                tempfile.TemporaryFile(dir=directory).close()
            private_directory(paths.materializer)
            undo.pop_all()
    except OSError as error:
        raise SettingsInvalid(
            f"{paths.state} cannot hold the state: {_words(error)};"
            " choose another directory with --state-dir"
        ) from error


def private_directory(path: Path) -> None:
    """Make sure that only this user can change what is in a directory.

    Raises:
        SettingsInvalid: it is no directory, or somebody else can write to it.
        OSError: it cannot be created.
    """
    _make(path)
    held = path.lstat()
    if not stat.S_ISDIR(held.st_mode):
        raise SettingsInvalid(f"{path} must be a directory and no link to one")
    if sys.platform == "win32":
        return
    if held.st_uid != os.geteuid():
        raise SettingsInvalid(
            f"{path} belongs to user {held.st_uid}; remove it, or choose another"
            " directory with --state-dir"
        )
    if held.st_mode & 0o022:
        raise SettingsInvalid(
            f"{path} can be changed by other users; run: chmod go-w '{path}'"
        )


class InstanceLock:
    """The right to be the only daemon of a state directory, for a `with` block.

    An open file holds it, so the kernel ends it with the process, however that dies.
    The file stays: removing it could give two processes a lock each.

    Raises:
        AlreadyRunning: on entry, another process holds it.
        SettingsInvalid: on entry, the file cannot be locked at all.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as undo:
            try:
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
                undo.callback(os.close, fd)
                if not _lock(fd):
                    raise self._taken(fd)
                undo.callback(_empty, fd)
                os.ftruncate(fd, 0)
                os.write(fd, b"%d\n" % os.getpid())
            except OSError as error:
                raise SettingsInvalid(
                    f"{self._path} cannot be locked: {_words(error)}; choose a"
                    " directory on a local disk with --state-dir"
                ) from error
            self._held = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _taken(self, fd: int) -> AlreadyRunning:
        written = os.read(fd, 20).strip()
        pid = int(written) if written.isdigit() else None
        who = f"process {pid}" if pid else "another process"
        return AlreadyRunning(
            f"{who} already serves {self._path.parent.parent}; stop it first, or"
            " choose another directory with --state-dir",
            pid=pid,
        )


def _empty(fd: int) -> None:
    with contextlib.suppress(OSError):  # a pid that stays there locks nothing
        os.ftruncate(fd, 0)


def share_one_heap() -> None:
    """Let all threads share one heap, where the C library would give each its own.

    That saves 1 MiB. To be called before there are threads; elsewhere than with glibc
    it does nothing.
    """
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


@contextlib.contextmanager
def stop_on_signals(
    loop: asyncio.AbstractEventLoop, stop: asyncio.Event
) -> Iterator[None]:
    """Let the first SIGTERM, SIGINT or SIGBREAK set `stop`, and a second one kill.

    To be entered in the main thread. A killed process exits with 128 + the signal's
    number, at once; the handlers of before are put back at the end.
    """
    asked = False

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        loop.call_soon_threadsafe(stop.set)

    numbers = [signal.SIGTERM, signal.SIGINT]
    if sys.platform == "win32":
        numbers.append(signal.SIGBREAK)
    # Not loop.add_signal_handler: Windows lacks it, and it waits for a busy loop.
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def note_hangups(
    loop: asyncio.AbstractEventLoop, hangup: asyncio.Event
) -> Iterator[None]:
    """Let SIGHUP set `hangup` rather than kill; nothing where there is no SIGHUP.

    To be entered in the main thread; the handler of before is put back at the end.
    """
    if sys.platform == "win32":
        yield
        return

    def on_signal(_: int, __: FrameType | None) -> None:
        loop.call_soon_threadsafe(hangup.set)

    before = signal.signal(signal.SIGHUP, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def parent_gone(stop: asyncio.Event) -> None:
    """Set `stop` when standard input ends; to be called inside the running loop.

    A thread waits for it, since not every kind of input can be waited for otherwise.
    It never holds up the exit.
    """
    loop = asyncio.get_running_loop()

    def wait() -> None:
        # Input that cannot be read has no parent behind it either.
        with contextlib.suppress(OSError):
            while os.read(0, 65536):
                pass
        # A closed loop has nothing left to stop.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def _make(directory: Path) -> bool:
    try:
        directory.mkdir(0o700)
    except FileExistsError:
        return False
    except OSError:
        if directory.is_dir():
            return False
        raise
    return True


def _unmake(directory: Path) -> None:
    # Whatever somebody else has put there meanwhile keeps it.
    with contextlib.suppress(OSError):
        directory.rmdir()


def _lock(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            # What is locked cannot be read, so it lies behind the process id.
            os.lseek(fd, 1024, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    finally:
        os.lseek(fd, 0, os.SEEK_SET)
    return True


def _words(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror}{where}"
