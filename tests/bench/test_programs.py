"""What running a program costs, and who else is at work."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import DEVNULL
from pathlib import Path

import pytest

from scripts.benchmarks import programs
from scripts.benchmarks.clients import BenchmarkFailed

if sys.platform != "linux":
    pytest.skip("the benchmarks of downloads run on Linux", allow_module_level=True)

BUSY = (sys.executable, "-c", "while True: pass")
WORK = (sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass")


async def test_the_cost_of_a_program_is_its_own(tmp_path: Path) -> None:
    said = tmp_path / "errors"

    spent = await programs.spend(*WORK, patience=30, errors=said)
    idle = await programs.spend("sleep", "0.3", patience=30, errors=said)

    assert 0.45 < spent.cpu <= spent.seconds + 0.1
    assert idle.cpu < 0.1
    assert idle.seconds >= 0.3


async def test_a_program_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    failing = ("sh", "-c", "echo no luck >&2; exit 4")

    with pytest.raises(BenchmarkFailed, match=r"^sh ended with 4: no luck$"):
        await programs.spend(*failing, patience=30, errors=tmp_path / "errors")


async def test_a_program_that_does_not_end_is_killed_with_its_children(
    tmp_path: Path,
) -> None:
    # Its child holds the pipe open for as long as it lives.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    endless = ("sh", "-c", f"sleep 99 > {pipe} & wait")

    reading = await asyncio.create_subprocess_exec("cat", str(pipe), stdout=DEVNULL)
    with pytest.raises(BenchmarkFailed, match=r"^sh took over 0\.5 s$"):
        await programs.spend(*endless, patience=0.5, errors=tmp_path / "errors")

    async with asyncio.timeout(10):
        assert await reading.wait() == 0


async def test_the_gauge_sees_others_and_not_what_is_ours() -> None:
    busy = await asyncio.create_subprocess_exec(*BUSY)
    before = programs.cpu(busy.pid)
    blind, knowing = programs.Gauge(), programs.Gauge(busy.pid)
    began = time.perf_counter()
    await asyncio.sleep(2)
    seen, known = blind.share(), knowing.share()
    used = programs.cpu(busy.pid) - before
    seconds = time.perf_counter() - began
    busy.kill()
    await busy.wait()

    assert used > 0.1
    assert seen - known == pytest.approx(
        used / seconds / (os.cpu_count() or 1), abs=0.05
    )
    assert 0 <= known < seen <= 1.1
