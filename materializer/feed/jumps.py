"""Jumps of the clock: the computer has slept, or its time was set.

Linux tells: a timer that is far away is canceled by every jump, which the end of a
sleep is, too (timerfd_create(2)). So nobody needs to look. It is called through ctypes,
as `os` has it from Python 3.13 on only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator

_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_ABSTIME_CANCEL_ON_SET = 3


class _Due(ctypes.Structure):
    # interval, then value; each seconds and nanoseconds
    _fields_ = tuple((name, ctypes.c_long) for name in ("is", "in", "vs", "vn"))


@contextlib.contextmanager
def told(tell: Callable[[], None]) -> Iterator[bool]:
    """Call `tell`, from the running loop, after each jump within the block.

    It is False where the system does not tell of them.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as held:
        fd = _timer()
        if fd is not None:
            held.callback(os.close, fd)
            _arm(fd)

            def note() -> None:
                with contextlib.suppress(OSError):  # canceled: it says that as an error
                    os.read(fd, 8)
                _arm(fd)
                tell()

            loop.add_reader(fd, note)
            held.callback(loop.remove_reader, fd)
        yield fd is not None


def _timer() -> int | None:
    if sys.platform != "linux":
        return None
    fd = ctypes.CDLL(None).timerfd_create(time.CLOCK_REALTIME, _NONBLOCK_CLOEXEC)
    return None if fd < 0 else int(fd)


def _arm(fd: int) -> None:
    due = _Due(0, 0, 2**40, 0)
    ctypes.CDLL(None).timerfd_settime(
        fd, _ABSTIME_CANCEL_ON_SET, ctypes.byref(due), None
    )
