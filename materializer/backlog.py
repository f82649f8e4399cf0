"""Work that waits for a place, in order, and the places."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from materializer.model import Account
from materializer.plan import Work

Key: TypeAlias = tuple[str, str]
"""An owner and one of their jobs: there is one worker a key."""


@dataclass(frozen=True, slots=True)
class Task:
    """Work that is in the ledger.

    Attributes:
        stem: what the job's file names begin with.
        is_large: whether it may bring a film or a 3D model.
    """

    account: Account
    work: Work
    stem: str
    is_large: bool = False

    @property
    def key(self) -> Key:
        """Whose job it is, and which."""
        return self.account.owner, self.work.job.job_id

    @property
    def finished_at(self) -> int:
        """When the job ended, in ms."""
        return self.work.job.finished_at


@dataclass(slots=True)
class _Lane:
    """What waits in order, and how many of its kind are at work."""

    waiting: OrderedDict[Key, Task]
    taken: int = 0


class Backlog:
    """What waits and how many are at work, each at a place.

    Large ones get at most half of the places, so they never block those behind them.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._small = _Lane(OrderedDict())
        self._large = _Lane(OrderedDict())

    def __len__(self) -> int:
        return len(self._small.waiting) + len(self._large.waiting)

    def get(self, key: Key) -> Task | None:
        """Return the task that waits under a key, if one does."""
        return self._small.waiting.get(key) or self._large.waiting.get(key)

    def replace(self, tasks: Iterable[Task]) -> None:
        """Let these wait, in this order, in place of those that did."""
        self._small.waiting.clear()
        self._large.waiting.clear()
        for task in tasks:
            self._lane(task).waiting[task.key] = task

    def first(self) -> list[Task]:
        """Return the first task of each lane that has a place for it."""
        if self._small.taken + self._large.taken >= self._places:
            return []
        has_half = self._large.taken < self._places // 2
        lanes = [self._small, self._large] if has_half else [self._small]
        return [next(iter(lane.waiting.values())) for lane in lanes if lane.waiting]

    def start(self, task: Task) -> None:
        """Take a task that waits, and a place for it."""
        del self._lane(task).waiting[task.key]
        self.take(task)

    def take(self, task: Task) -> None:
        """Take a place again, even if there is none left."""
        self._lane(task).taken += 1

    def leave(self, task: Task) -> None:
        """Give the place of a task back."""
        self._lane(task).taken -= 1

    def _lane(self, task: Task) -> _Lane:
        return self._large if task.is_large else self._small
