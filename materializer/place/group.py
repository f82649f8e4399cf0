"""Group commit for a directory: many files come into it with one sync.

A sync makes durable what was renamed before it began. What is handed in while the
disk is at work is therefore done together next: the files are synced side by side,
renamed, and then the directory is synced once for all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from materializer.answers import Answers

_SYNCERS = 4

Step = Callable[[], None]


class GroupCommit:
    """Makes changes to one directory durable, in one thread of its own.

    Args:
        sync: makes what is in the directory durable.
    """

    def __init__(self, sync: Step) -> None:
        self._sync = sync
        self._queue: deque[_Change] = deque()
        self._answers = Answers()
        self._thread = ThreadPoolExecutor(1, "place")
        self._syncers = ThreadPoolExecutor(_SYNCERS, "sync")

    async def make(self, prepare: Step | None, put: Step) -> None:
        """Run `prepare`, then `put`; return when what `put` did is durable.

        `prepare` runs beside those of others, `put` in the order of the calls. One
        that raises does so to its caller alone; a sync that fails, to all in the group.
        """
        done = asyncio.get_running_loop().create_future()
        self._queue.append(_Change(prepare, put, done))
        if len(self._queue) == 1:  # else who comes for the first takes all
            self._thread.submit(self._make_queued)
        await done

    def _make_queued(self) -> None:
        group = []
        while self._queue:
            group.append(self._queue.popleft())
        if group:
            self._make(group)
            for change in group:
                self._answers.give(change.done, None, change.error)

    def _make(self, group: Sequence[_Change]) -> None:
        to_prepare = [change for change in group if change.prepare is not None]
        if len(to_prepare) == 1:
            to_prepare[0].prepared()
        else:
            for _ in self._syncers.map(_Change.prepared, to_prepare):
                pass
        put = [change for change in group if change.made()]
        if put:
            try:
                self._sync()
            except BaseException as error:  # noqa: BLE001 -- every caller gets it
                for change in put:
                    change.error = error


@dataclass(slots=True, eq=False)
class _Change:
    prepare: Step | None
    put: Step
    done: asyncio.Future[None]
    error: BaseException | None = None

    def prepared(self) -> None:
        if self.prepare is not None:
            self._attempt(self.prepare)

    def made(self) -> bool:
        if self.error is None:
            self._attempt(self.put)
        return self.error is None

    def _attempt(self, step: Step) -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 -- the caller gets it
            self.error = error
