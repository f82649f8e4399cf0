from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from materializer.backlog import Task
from materializer.crew import Crew
from materializer.errors import DiskTrouble
from materializer.model import Account, Job
from materializer.plan import Work
from materializer.turns import Turn

ME = Account("https://a.test", "me")
FULL = DiskTrouble("the disk is full")


def task(n: int, *, large: bool = False) -> Task:
    job = Job(f"j{n}", "succeeded", completed_at=n)
    return Task(ME, Work(job, "open"), f"j{n}", large)


class Yard:
    """A crew whose jobs end as they are told.

    Attributes:
        started: the jobs that were tried, in order.
        announced: those that had their turn.
        looks: when to look again, as each job that ended said.
        words: what was said of the disk.
    """

    def __init__(self, places: int, workers: asyncio.TaskGroup) -> None:
        self.started: list[str] = []
        self.announced: list[str] = []
        self.looks: list[int | None] = []
        self.words: list[str | None] = []
        self.crew = Crew(
            places,
            self._attempt,
            on_end=self.looks.append,
            on_trouble=self.words.append,
        )
        self._workers = workers
        self._ends: dict[str, asyncio.Future[bool]] = {}

    async def work(self, *tasks: Task) -> int | None:
        """Let tasks wait in place of others, and start; return when to look again."""
        self.crew.stop()
        look_at = self.crew.replace(tasks)
        self.crew.start(self._workers)
        await self._done()
        return look_at

    async def end(
        self, *names: str, taken: bool = True, error: Exception | None = None
    ) -> None:
        """Let jobs end, and others start that then can."""
        for name in names:
            if error is None:
                self._ends.pop(name).set_result(taken)
            else:
                self._ends.pop(name).set_exception(error)
        await self._done()

    async def _done(self) -> None:
        """Return when all have gone as far as they can: nothing here waits for I/O."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def _attempt(self, task: Task, turn: Turn) -> bool:
        self.started.append(task.stem)
        self._ends[task.stem] = asyncio.get_running_loop().create_future()
        taken = await self._ends[task.stem]
        await self.crew.wait(task, turn)
        self.announced.append(task.stem)
        return taken


@asynccontextmanager
async def yard(places: int) -> AsyncIterator[Yard]:
    async with asyncio.TaskGroup() as workers:
        built = Yard(places, workers)
        yield built
        while built._ends:
            await built.end(*built._ends)
        assert not built.crew.in_flight


async def test_jobs_start_in_order_as_places_become_free() -> None:
    async with yard(2) as home:
        await home.work(task(3), task(1), task(2))
        assert home.started == ["j1", "j2"]
        assert home.crew.in_flight == {("me", "j1"): 1, ("me", "j2"): 2}
        assert home.crew.waiting(("me", "j3")) == task(3)
        await home.end("j2")
        # It has finished, so nobody waits for its place while it waits for its turn.
        assert (home.started, home.announced) == (["j1", "j2", "j3"], [])
        assert home.crew.has(("me", "j2"))
        await home.end("j1")
        assert home.announced == ["j1", "j2"]
        assert not home.crew.has(("me", "j2"))
        await home.end("j3")
        assert not home.crew.is_busy


async def test_as_many_as_there_are_places_wait_for_their_turn_and_no_more() -> None:
    async with yard(2) as home:
        await home.work(*(task(n) for n in range(9)))
        for n in range(1, 9):
            if f"j{n}" in home.started:
                await home.end(f"j{n}")
        assert home.started == ["j0", "j1", "j2", "j3"]
        assert home.announced == []
        await home.end("j0")
        assert home.announced == ["j0", "j1", "j2", "j3"]


async def test_a_crew_that_is_stopped_starts_nothing_until_it_is_told_to() -> None:
    async with yard(1) as home:
        await home.work(task(1), task(2))
        home.crew.stop()
        await home.end("j1")
        assert home.started == ["j1"]
        await home.work(task(2))
        assert home.started == ["j1", "j2"]


async def test_a_slip_stops_no_other_job_and_is_tried_again_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with yard(1) as home:
        await home.work(task(1), task(2))
        before = time.time() * 1000
        await home.end("j1", error=RuntimeError("a slip"))
        assert home.started == ["j1", "j2"]
        (look_at,) = home.looks
        assert look_at is not None
        assert before + 29_000 < look_at < before + 40_000
        assert home.words.count(None) == len(home.words)
    assert "a slip" in caplog.text


async def test_while_the_disk_is_in_trouble_nothing_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with yard(2) as home:
        await home.work(*(task(n) for n in range(5)))
        await home.end("j0", error=FULL)
        await home.end("j1", taken=False)
        assert home.started == ["j0", "j1"]
        assert home.words[-1] == "the disk is full"
        assert home.looks[0] == await home.work(*(task(n) for n in range(5)))
        assert home.started == ["j0", "j1"]


async def test_after_the_pause_one_job_tries_the_disk_and_then_all_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("materializer.pause.DISK_PAUSE", 0)
    async with yard(3) as home:
        await home.work(task(0))
        await home.end("j0", error=FULL)
        tasks = [task(n) for n in range(5)]
        await home.work(*tasks)
        assert home.started == ["j0", "j1"]
        await home.end("j1")
        assert home.started == ["j0", "j1", "j2", "j3", "j4"]
        assert home.words[-1] == "the disk is full"
        await home.end("j2", "j3", "j4")
        await home.end("j0")
        assert home.words[-1] is None


async def test_a_ledger_that_cannot_be_written_holds_everything_back() -> None:
    async with yard(2) as home:
        assert home.crew.hold(FULL) is not None
        assert home.words == ["the disk is full"]
        home.crew.start(home._workers)
        assert await home.work(task(1)) is None  # by then it could be written
        assert home.words[-1] is None
        assert home.started == ["j1"]


async def test_a_film_that_does_not_fit_keeps_no_image_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("materializer.pause.DISK_PAUSE", 0)
    film = task(0, large=True)
    async with yard(4) as home:
        await home.work(film)
        await home.end("j0", error=FULL)
        await home.work(film, task(1), task(2))
        assert home.started == ["j0", "j1"]  # not the film again
        await home.end("j1")
        assert home.started == ["j0", "j1", "j2", "j0"]
        monkeypatch.setattr("materializer.pause.DISK_PAUSE", 60)
        await home.end("j0", error=FULL)
        await home.work(film, task(3))
        assert home.started[-1] == "j3"
        assert home.started.count("j0") == 2


async def test_what_gets_into_trouble_during_a_look_is_held_back_after_it() -> None:
    async with yard(2) as home:
        await home.work(task(0))
        home.crew.stop()
        await home.end("j0", error=FULL)
        home.crew.replace([task(1)])
        home.crew.start(home._workers)
        assert home.words[-1] == "the disk is full"
        assert home.started == ["j0"]


async def test_one_that_is_wanted_no_more_ends_the_trouble() -> None:
    async with yard(2) as home:
        await home.work(task(0))
        await home.end("j0", error=FULL)
        assert await home.work(task(1)) is None
        assert home.words[-1] is None
        assert home.started == ["j0", "j1"]


async def test_one_that_was_held_back_and_needs_no_disk_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("materializer.pause.DISK_PAUSE", 0)
    async with yard(2) as home:
        await home.work(task(0))
        await home.end("j0", error=FULL)
        await home.work(task(0))
        await home.end("j0", taken=False)
        now = time.time() * 1000
        assert home.looks[-1] is not None
        assert home.looks[-1] <= now
