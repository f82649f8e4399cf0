"""One tool with an origin, before an empty folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks import bodies
from scripts.benchmarks.clients import BenchmarkFailed
from scripts.benchmarks.fault_origin import Body, Origin
from scripts.benchmarks.fault_tools import Tool
from scripts.benchmarks.programs import killed, output, started
from scripts.benchmarks.verdicts import End, Left

_SETTLE = 0.2  # seconds in which a tool takes in what was sent to it
_UNFINISHED = (".part", ".aria2")
_DISK = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done; sizes in bytes.

    Attributes:
        kills: how many times a download is killed, each time a little later.
        size: of the picture.
        bomb: what a body expands to.
        patience: seconds until a tool that still tries is stopped.
    """

    kills: int
    size: int
    bomb: int
    patience: float


class Trial:
    """What a fault is staged with.

    Attributes:
        picture: what is right under the final name.
    """

    def __init__(self, plan: Plan, tool: Tool, source: Origin, folder: Path) -> None:
        self.plan = plan
        self.source = source
        self.folder = folder / "files"
        self.folder.mkdir()
        self.picture = Body(bodies.png(plan.size, 1), '"one"')
        self._tool = tool
        self._notes = folder
        self._said = folder / "errors"

    async def run(self) -> End:
        """Let the tool run to its end, or until the patience does.

        Raises:
            BenchmarkFailed: it never asked for anything.
        """
        code = await self._end(await self._start())
        if not self.source.heard:
            raise BenchmarkFailed(f"{self._tool.name} never asked: {self._errors()}")
        return End(code, self.left())

    async def run_two(self) -> None:
        """Let the tool run twice at the same time, once a little behind."""
        first = await self._start()
        async with asyncio.timeout(self.plan.patience):
            await self.source.under_way.wait()
        second = await self._start()
        await self._end(first)
        await self._end(second)

    async def kill_at(self, body: Body, count: int) -> Left:
        """Kill the tool when it has so many bytes; return what lies there then."""
        self.source.answer = self.source.serve(body, hold=count)
        self.source.held.clear()
        process = await self._start()
        try:
            async with asyncio.timeout(self.plan.patience):
                await self.source.held.wait()
                await asyncio.sleep(_SETTLE)
        except TimeoutError:
            pass  # what it left tells how far it came
        finally:
            await killed(process)
        return self.left()

    def left(self) -> Left:
        """Tell what lies under the final name, whatever its extension."""
        found = [
            path
            for path in (self.folder / self._tool.outputs).glob("j_0*")
            if path.suffix not in _UNFINISHED
        ]
        if not found:
            return "nothing"
        same = all(path.read_bytes() == self.picture.data for path in found)
        return "whole" if same else "wrong"

    async def _start(self) -> Process:
        return await started(
            *self._tool.command(self.source.url, self.folder, self._notes),
            errors=self._said,
            environment={"HOME": str(self._notes), "TMPDIR": str(self._notes)},
        )

    def _errors(self) -> str:
        return self._said.read_text("utf-8", "replace")[-500:].strip()

    async def _end(self, process: Process) -> int | None:
        try:
            async with asyncio.timeout(self.plan.patience):
                await process.communicate()
        except TimeoutError:
            return None
        finally:
            await killed(process)
        return process.returncode


def can_mount() -> bool:
    """Whether this process may mount a disk of its own."""
    return sys.platform == "linux" and os.geteuid() == 0


@asynccontextmanager
async def small_disk(folder: Path) -> AsyncIterator[None]:
    """Have an almost full disk at a folder for as long as the block lasts."""
    await output(*("mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(folder)))
    try:
        yield
    finally:
        await output("umount", "--lazy", str(folder))


async def peak_of(folder: Path, work: Coroutine[None, None, object]) -> int:
    """Do some work; return the size of the largest file in a folder meanwhile."""
    sizes: list[int] = []
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(_watch(folder, sizes))
        await work
        watching.cancel()
    return max(sizes)


async def _watch(folder: Path, sizes: list[int]) -> None:
    """Note the size of the largest file in a folder, for ever."""
    while True:
        sizes.append(await asyncio.to_thread(_largest, folder))
        await asyncio.sleep(0.01)


def _largest(folder: Path) -> int:
    return max(_sizes(folder), default=0)


def _sizes(folder: Path) -> Iterator[int]:
    for directory, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield (Path(directory) / name).stat().st_size
