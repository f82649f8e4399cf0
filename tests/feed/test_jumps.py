"""A clock that jumps is told of; that it does so at the end of a sleep is Linux's."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from materializer.feed import jumps

linux = pytest.mark.skipif("sys.platform != 'linux'", reason="Linux alone tells")


@linux
async def test_the_kernel_is_asked_to_tell_of_jumps() -> None:
    before = timers()
    with jumps.told(lambda: None) as is_told:
        assert is_told
        [timer] = timers() - before
        told = dict(line.split(":", 1) for line in timer.splitlines() if ":" in line)
        # TFD_TIMER_ABSTIME and TFD_TIMER_CANCEL_ON_SET, on CLOCK_REALTIME
        assert (told["settime flags"].strip(), told["clockid"].strip()) == ("03", "0")
    assert timers() == before


@linux
async def test_each_jump_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody may set the clock for a test, so that something else says "readable".
    bell = os.eventfd(0, os.EFD_NONBLOCK)
    monkeypatch.setattr(jumps, "_timer", lambda: bell)
    rang = asyncio.Event()
    with jumps.told(rang.set):
        for _ in range(2):
            os.eventfd_write(bell, 1)
            async with asyncio.timeout(10):
                await rang.wait()
            rang.clear()
            await asyncio.sleep(0.05)
            assert not rang.is_set()


async def test_another_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "other")
    with jumps.told(lambda: None) as is_told:
        assert not is_told


def timers() -> set[str]:
    """Return what the kernel says of this process's timers."""
    found = set()
    for path in Path("/proc/self/fdinfo").iterdir():
        try:
            said = path.read_text()
        except OSError:  # the listing's own
            continue
        if "clockid" in said:
            found.add(said)
    return found
