"""Runs the maker, one process for many pictures, and hears what came of each."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from importlib.util import find_spec

PATIENCE = 300.0
"""Seconds for the start, and for each picture, on a computer that is very busy."""

_FAREWELL = 1.0
_MOST = 2**20


def is_possible() -> bool:
    """Whether previews can be made here: with Pillow, where a process can be limited.

    Windows has no such limits.
    """
    return all(map(find_spec, ("PIL", "resource")))


async def previews(pictures: Sequence[int]) -> AsyncGenerator[bytes, None]:
    """Yield the preview of each of these open files in turn; an empty one for none.

    A picture over which the maker dies has none, and is the last that is heard of: ask
    again for the others. Nothing at all is heard when the maker cannot even start.
    """
    # A token in a variable is none of the maker's business.
    kept = {name: v for name, v in os.environ.items() if not name.startswith("STELLA_")}
    process = await asyncio.create_subprocess_exec(
        # -P: what lies about where the daemon was started is no library.
        *(sys.executable, "-P", "-m", "materializer.thumbnails.maker"),
        *map(str, pictures),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=DEVNULL,
        env=kept,
        pass_fds=pictures,
        start_new_session=True,
    )
    assert process.stdout  # noqa: S101 -- for the type checker
    try:
        alive = await _is_ready(process.stdout)
        for _ in pictures if alive else ():
            preview = await _next(process.stdout)
            yield preview or b""
            if preview is None:
                break
        # asyncio loses track of a process that is killed while it ends by itself.
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _is_ready(said: asyncio.StreamReader) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            return await said.readline() == b"ready\n"
    return False


async def _next(said: asyncio.StreamReader) -> bytes | None:
    """Return what the maker says of the next picture; None when it is dead, or lies."""
    with suppress(TimeoutError, ValueError, asyncio.IncompleteReadError):
        async with asyncio.timeout(PATIENCE):
            size = int(await said.readline())
            if size <= _MOST:
                return await said.readexactly(size)
    return None
