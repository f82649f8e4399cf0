"""The workers: so many jobs at once, in order, none while the disk is in trouble."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

from materializer.backlog import Backlog, Key, Task
from materializer.errors import DiskTrouble
from materializer.pause import DISK_PAUSE, LOOK, Pause
from materializer.turns import Turn, Turns

log = logging.getLogger(__name__)


class Crew:
    """Works through what waits, each job once. Times are ms.

    Args:
        places: how many jobs are at work at once; as many may wait for their turn.
        attempt: tries one job, which has a turn to be announced; returns whether the
            disk took a file.
        on_end: called after each job, with when to look for work again, or None.
        on_trouble: called with the words when the disk cannot take something, and with
            None when it has taken all of that.

    Attributes:
        in_flight: when the jobs ended that are at work, by owner and job.
    """

    def __init__(
        self,
        places: int,
        attempt: Callable[[Task, Turn], Awaitable[bool]],
        *,
        on_end: Callable[[int | None], None],
        on_trouble: Callable[[str | None], None],
    ) -> None:
        self._backlog = Backlog(places)
        self._most = 2 * places
        self._attempt = attempt
        self._on_end = on_end
        self._on_trouble = on_trouble
        self._pause = Pause()
        self._turns = defaultdict[str, Turns](Turns)
        self._workers: asyncio.TaskGroup | None = None
        self._left_out: set[Key] = set()
        self.in_flight: dict[Key, int] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a job is at work or waits for a place."""
        return bool(self.in_flight) or len(self._backlog) > 0

    def has(self, key: Key) -> bool:
        """Whether a job is at work or waits for a place."""
        return key in self.in_flight or self._backlog.get(key) is not None

    def waiting(self, key: Key) -> Task | None:
        """Return the task that waits for a place under a key, if one does."""
        return self._backlog.get(key)

    def replace(self, tasks: Iterable[Task]) -> int | None:
        """Let these wait in place of those that did; the ledger is well.

        They need not hold what was at work when the crew was stopped. Returns when to
        look again for what is held back, or None.
        """
        wanted = {task.key: task for task in tasks}
        self._pause.keep(wanted.keys() | self._left_out)
        self._note()
        self._backlog.replace(sorted(wanted.values(), key=self._pause.order))
        return self._pause.next_at(_now())

    def hold(self, error: DiskTrouble, key: Key = LOOK) -> int | None:
        """Pause, since the disk could not take a job, or the ledger.

        Returns when to look again.
        """
        self._pause.begin(key, _now())
        self._on_trouble(str(error))
        return self._pause.next_at(_now())

    def start(self, workers: asyncio.TaskGroup) -> None:
        """Start what there is a place for, and go on as places become free."""
        self._workers = workers
        now = _now()
        while self._pause.may_start(now):
            first = [t for t in self._backlog.first() if not self._pause.holds(t, now)]
            if not first:
                return
            task = min(first, key=self._pause.order)
            self._backlog.start(task)
            self._pause.started(task.key)
            self.in_flight[task.key] = task.finished_at
            turn = self._turns[task.account.owner].enter(task.finished_at)
            workers.create_task(self._work(task, turn))

    def stop(self) -> None:
        """Start nothing until told to: what is to wait is being looked for."""
        self._workers = None
        self._left_out = {*self.in_flight}

    async def wait(self, task: Task, turn: Turn) -> None:
        """Wait for a job's turn; another one has its place meanwhile."""
        if turn.has_come:
            return
        if len(self.in_flight) >= self._most:
            await turn.wait()
            return
        self._backlog.leave(task)
        self._go_on()
        try:
            await turn.wait()
        finally:
            self._backlog.take(task)

    async def _work(self, task: Task, turn: Turn) -> None:
        """Try one job once; whatever happens, the others go on."""
        look_at, taken = None, False
        try:
            taken = await self._attempt(task, turn)
            if self._pause.lasts and not taken:
                look_at = _now()  # whether it is still wanted
        except DiskTrouble as error:
            look_at = self.hold(error, task.key)
        except Exception:
            # The edge of a worker: a slip of ours must not stop the other jobs.
            log.exception("job %s could not be worked on", task.work.job.job_id)
            look_at = _now() + int(DISK_PAUSE * 1000)
        finally:
            del self.in_flight[task.key]
            self._backlog.leave(task)
            turn.leave()
        self._pause.ended(task.key, taken=taken)
        self._note()
        self._go_on()
        self._on_end(look_at)

    def _go_on(self) -> None:
        if self._workers is not None:
            self.start(self._workers)

    def _note(self) -> None:
        if not self._pause.lasts:
            self._on_trouble(None)


def _now() -> int:
    return time.time_ns() // 1_000_000
