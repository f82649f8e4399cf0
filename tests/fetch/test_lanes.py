from __future__ import annotations

import asyncio

import pytest

from materializer.fetch.lanes import Lanes


class Traffic:
    """Downloads that take as long as they are told."""

    def __init__(self, lanes: Lanes, tasks: asyncio.TaskGroup) -> None:
        self._lanes = lanes
        self._tasks = tasks
        self.running: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    async def start(self, name: str, *, host: str = "h", large: bool = False) -> None:
        self._ends[name] = asyncio.Event()

        async def drive() -> None:
            async with self._lanes.turn(host, large=large):
                self.running.append(name)
                await self._ends[name].wait()
                self.running.remove(name)

        self._tasks.create_task(drive())
        await settle()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
        await settle()

    async def end_all(self) -> None:
        await self.end(*self._ends)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_host_and_all_together_have_their_limits() -> None:
    async with asyncio.TaskGroup() as tasks:
        traffic = Traffic(Lanes(3, 2), tasks)
        for name in ("a1", "a2", "a3"):
            await traffic.start(name, host="a")
        assert traffic.running == ["a1", "a2"]
        await traffic.start("b1", host="b")
        await traffic.start("b2", host="b")
        assert traffic.running == ["a1", "a2", "b1"]
        await traffic.end("a1")
        assert len(traffic.running) == 3
        await traffic.end_all()
        assert traffic.running == []


async def test_large_ones_leave_half_to_the_others() -> None:
    async with asyncio.TaskGroup() as tasks:
        traffic = Traffic(Lanes(4, 4), tasks)
        for name in ("v1", "v2", "v3", "v4"):
            await traffic.start(name, large=True)
        assert traffic.running == ["v1", "v2"]
        await traffic.start("i1")
        await traffic.start("i2")
        assert traffic.running == ["v1", "v2", "i1", "i2"]
        await traffic.end("i1")
        assert "v3" not in traffic.running
        await traffic.end("v1")
        assert "v3" in traffic.running
        await traffic.end_all()


async def test_with_a_single_lane_everything_still_gets_its_turn() -> None:
    async with asyncio.TaskGroup() as tasks:
        traffic = Traffic(Lanes(1, 1), tasks)
        await traffic.start("v", large=True)
        await traffic.start("i")
        assert traffic.running == ["v"]
        await traffic.end("v")
        assert traffic.running == ["i"]
        await traffic.end_all()


async def test_somebody_who_leaves_the_queue_takes_nothing_along() -> None:
    lanes = Lanes(1, 1)
    async with lanes.turn("h", large=True):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), lanes.turn("h", large=False):
                raise AssertionError("the only lane was given away twice")
    async with asyncio.timeout(5), lanes.turn("h", large=False):
        pass
