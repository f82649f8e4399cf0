from __future__ import annotations

import asyncio

import pytest

from materializer.turns import Turn, Turns

SOON = 5.0


class Announced:
    """Jobs that finish when they are told to, and in which order they are announced."""

    def __init__(self, tasks: asyncio.TaskGroup, *finished_at: int) -> None:
        self.turns = Turns()
        self.order: list[int] = []
        self._tasks = tasks
        self._under_way: dict[int, Turn] = {}
        for at in finished_at:
            self.enter(at)

    def enter(self, at: int) -> None:
        self._under_way[at] = self.turns.enter(at)

    async def finish(self, at: int) -> asyncio.Task[None]:
        task = self._tasks.create_task(self._announce(at))
        await asyncio.sleep(0)
        return task

    def leave(self, at: int) -> None:
        self._under_way.pop(at).leave()

    async def _announce(self, at: int) -> None:
        turn = self._under_way[at]
        await turn.wait()
        self.order.append(at)
        self.leave(at)


async def test_what_was_completed_earlier_is_announced_first() -> None:
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
        jobs = Announced(tasks, 1, 2, 3)
        await jobs.finish(3)
        await jobs.finish(2)
        assert jobs.order == []
        await jobs.finish(1)
    assert jobs.order == [1, 2, 3]


async def test_one_that_fails_is_waited_for_no_more() -> None:
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
        jobs = Announced(tasks, 1, 2)
        await jobs.finish(2)
        jobs.leave(1)
    assert jobs.order == [2]


async def test_jobs_completed_at_the_same_moment_do_not_wait_for_each_other() -> None:
    turns = Turns()
    turns.enter(1)
    assert turns.enter(1).has_come


async def test_a_job_that_comes_back_is_waited_for_again() -> None:
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
        jobs = Announced(tasks, 1)
        jobs.leave(1)
        jobs.enter(1)
        jobs.enter(2)
        await jobs.finish(2)
        assert jobs.order == []
        await jobs.finish(1)
    assert jobs.order == [1, 2]


async def test_a_slow_job_costs_those_behind_it_one_moment_and_not_one_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("materializer.turns.PATIENCE", 0.1)
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
        jobs = Announced(tasks, 1, 3, 2)
        first, second = await jobs.finish(3), await jobs.finish(2)
        assert jobs.order == []
        await asyncio.wait([first, second])
        # What is waited for no more does not hold up those that come later.
        jobs.enter(4)
        monkeypatch.setattr("materializer.turns.PATIENCE", SOON)
        await (await jobs.finish(4))
        await jobs.finish(1)
    assert jobs.order == [2, 3, 4, 1]


async def test_the_patience_of_one_does_not_let_later_ones_overtake_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("materializer.turns.PATIENCE", 0.1)
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
        jobs = Announced(tasks, 1, 2, 3)
        await (await jobs.finish(2))
        await jobs.finish(3)
        jobs.leave(1)
    assert jobs.order == [2, 3]
