"""The system's commands, and waiting for what rings no bell."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL
from collections.abc import Callable

STEP = 0.02  # seconds


async def system(*command: str) -> None:
    """Run a command of the system; RuntimeError if it fails."""
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL)
    if await process.wait():
        raise RuntimeError(f"{' '.join(command)} failed")


async def until(fact: Callable[[], bool], within: float) -> bool:
    """Wait for a fact, so many seconds; return whether it came."""
    try:
        async with asyncio.timeout(within):
            while not fact():  # noqa: ASYNC110 -- as said
                await asyncio.sleep(STEP)
    except TimeoutError:
        return False
    return True
