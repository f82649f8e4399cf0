"""Whose turn it is to be announced, among jobs that finish side by side."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count

PATIENCE = 1.8
"""Seconds that a finished job waits for those that were completed before it."""

GRACE = 0.2
"""Seconds that it then still waits for those of them that have finished too."""

_numbers = count()


class Turns:
    """Lets jobs that were completed earlier be announced first, for a moment's price.

    One that has kept another waiting for too long is waited for no more by anybody, so
    that a large film costs the jobs behind it one moment together, not one each.
    """

    def __init__(self) -> None:
        # Heaps by completion. What has left stays in one until it comes up.
        self._ahead: list[tuple[int, int, Turn]] = []
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    def enter(self, finished_at: int) -> Turn:
        """Count a job that ended then, in ms, among those under way until it leaves."""
        turn = Turn(self, finished_at)
        heappush(self._ahead, (finished_at, next(_numbers), turn))
        return turn

    def first(self) -> int | None:
        """Return the earliest completion that is waited for, or None."""
        while self._ahead and self._ahead[0][2].has_left:
            heappop(self._ahead)
        return self._ahead[0][0] if self._ahead else None

    def call(self) -> None:
        """Let those go on whose turn has come."""
        first = self.first()
        while self._waiting and (first is None or self._waiting[0][0] <= first):
            waiting = heappop(self._waiting)[2]
            if not waiting.done():
                waiting.set_result(None)

    async def wait(self, finished_at: int) -> None:
        """Return when nothing earlier is waited for."""
        waiting = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (finished_at, next(_numbers), waiting))
        await waiting

    def overtake(self, finished_at: int) -> None:
        """Wait no more for what was completed before then and is still at work."""
        waiting = []
        while self._ahead and self._ahead[0][0] < finished_at:
            entry = heappop(self._ahead)
            if entry[2].is_waiting:
                waiting.append(entry)
        for entry in waiting:
            heappush(self._ahead, entry)
        self.call()


class Turn:
    """One job's turn. Made by `Turns.enter`.

    Attributes:
        is_waiting: whether the job has finished, and begun to wait.
        has_left: whether it counts no longer.
    """

    def __init__(self, turns: Turns, finished_at: int) -> None:
        self.has_left = False
        self.is_waiting = False
        self._turns = turns
        self._finished_at = finished_at

    @property
    def has_come(self) -> bool:
        """Whether no earlier job is waited for."""
        first = self._turns.first()
        return first is None or first >= self._finished_at

    async def wait(self) -> None:
        """Return when the turn has come, or was waited for long enough."""
        if self.has_come:
            return
        self.is_waiting = True
        await self._wait(PATIENCE)
        self._turns.overtake(self._finished_at)
        if not self.has_come:
            await self._wait(GRACE)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._turns.wait(self._finished_at)

    def leave(self) -> None:
        """Count the job no longer."""
        self.has_left = True
        self._turns.call()
