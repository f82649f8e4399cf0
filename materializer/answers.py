"""What threads have done comes back to the event loop, many at a time.

Each wake-up of a loop by a thread is a system call and a switch between the two; what
is ready together therefore comes with one of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any, TypeAlias

_Answer: TypeAlias = tuple[asyncio.Future[Any], Any, BaseException | None]


class Answers:
    """Sets futures of one event loop from any thread, in the order of the calls."""

    def __init__(self) -> None:
        self._ready: deque[_Answer] = deque()

    def give(
        self, future: asyncio.Future[Any], result: Any, error: BaseException | None
    ) -> None:
        """Let a future have a result, or raise; one that was cancelled stays so."""
        self._ready.append((future, result, error))
        if len(self._ready) == 1:  # else the loop is on its way already
            with suppress(RuntimeError):  # a loop that has ended waits for no answer
                future.get_loop().call_soon_threadsafe(self._hand_out)

    def _hand_out(self) -> None:
        while self._ready:
            future, result, error = self._ready.popleft()
            if future.cancelled():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
