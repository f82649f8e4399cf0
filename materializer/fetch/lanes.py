"""Whose turn it is: so many downloads at once, so many from one host.

Large ones get at most half of either, so that small ones always find a way past them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Lanes:
    """The limits on downloads.

    Args:
        at_once: downloads at once, at least 1.
        per_host: of them, from one host.
    """

    def __init__(self, at_once: int, per_host: int) -> None:
        self._all = asyncio.Semaphore(at_once)
        self._large = asyncio.Semaphore(max(1, at_once // 2))
        self._hosts = defaultdict[str, asyncio.Semaphore](
            lambda: asyncio.Semaphore(per_host)
        )
        self._large_hosts = defaultdict[str, asyncio.Semaphore](
            lambda: asyncio.Semaphore(max(1, per_host // 2))
        )

    @asynccontextmanager
    async def turn(self, host: str, *, large: bool) -> AsyncIterator[None]:
        """Wait for a turn, and keep it for as long as the block lasts."""
        # Everybody takes them in this order, so nobody waits in a circle.
        if large:
            async with (
                self._large_hosts[host],
                self._large,
                self.turn(host, large=False),
            ):
                yield
        else:
            async with self._hosts[host], self._all:
                yield
