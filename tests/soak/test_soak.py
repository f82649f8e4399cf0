"""The short forms of scripts/soak, and that its verdicts find what is wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the figures of a process come from /proc", allow_module_level=True)

from materializer.config import Paths
from materializer.gallery import Gallery, files
from process.house import until
from scripts.endurance import gauge, load, stage, verdicts
from scripts.endurance.consumer import Consumer
from scripts.endurance.gauge import MIB, Sample
from scripts.endurance.load import Phase
from scripts.endurance.stage import SoakFailed, Stage

ROOT = Path(__file__).resolve().parents[2]
CALM = Sample(
    jobs=0,
    memory=60 * MIB,
    helpers=0,
    handles=34,
    threads=24,
    database=100_000,
    wal=4 * MIB,
    logs=MIB,
)
JOBS = 4


def soak(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.endurance", *words, "--short"]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=ROOT, env=environ, text=True, capture_output=True, timeout=280
    )


@pytest.mark.timeout(300)
def test_a_day_with_storms_and_new_tokens_loses_nothing_and_leaves_nothing() -> None:
    done = soak("day")

    assert done.returncode == 0, done.stderr + done.stdout
    assert "| outputs, each told once | 298 |" in done.stdout
    assert "| token changes, each acted upon | 8 |" in done.stdout
    assert done.stdout.count("| flat |") == 7


@pytest.mark.timeout(300)
def test_what_waits_at_the_first_start_and_storms_are_told_to_a_crowd() -> None:
    done = soak("load")

    assert done.returncode == 0, done.stderr + done.stdout
    assert "| 300 waiting at the start | " in done.stdout
    assert "| 40 in one second | " in done.stdout


@asynccontextmanager
async def opened(on: Stage) -> AsyncIterator[Gallery]:
    paths = Paths.of(on.state)
    gallery = Gallery.open(paths.gallery_db, paths.outputs)
    yield gallery
    await gallery.close()


@pytest.fixture
async def played(tmp_path: Path) -> AsyncIterator[tuple[Stage, Consumer]]:
    """A daemon that has brought a few jobs, and has ended."""
    async with stage.stage(tmp_path / "stage") as on:
        on.sign_in("dev")
        consumer = Consumer(on.owners, after=0, removes=0)
        async with stage.daemon(on, "--first-run-lookback", "1h"):
            for number in range(JOBS):
                on.succeed(f"job-{number}", "dev", time.time())
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(consumer.run(on.state))
                await until(lambda: len(consumer.told) == JOBS)
                await stage.until(lambda: verdicts.settled(on), "not all has settled")
                listening.cancel()
        yield on, consumer


async def test_what_is_as_it_must_be_has_no_flaws(
    played: tuple[Stage, Consumer],
) -> None:
    assert verdicts.at_end(*played) == []


async def test_a_loss_of_any_kind_is_found(played: tuple[Stage, Consumer]) -> None:
    on, consumer = played
    outputs = on.state / "media/outputs"
    (outputs / "job-0_0.png").unlink()
    (outputs / "job-1_0.jpg").write_bytes(b"something else")
    (outputs / "stray.png").write_bytes(b"")
    async with opened(on) as gallery:
        await gallery.write(files.remove, on.owners["job-2"], "job-2_0", 1)
        await gallery.write(
            sqlite3.Connection.execute,
            "UPDATE jobs SET state = 'pending' WHERE job_id = 'job-3'",
        )
        await gallery.write(
            sqlite3.Connection.execute,
            "INSERT INTO outbox SELECT 99, owner, action, payload FROM outbox LIMIT 1",
        )
    consumer.told["job-3"] += 1

    flaws = verdicts.at_end(on, consumer)

    assert "job-0_0.png is lost" in flaws
    assert "job-1_0.jpg is not as it was sent" in flaws
    assert "stray.png is one too many" in flaws
    assert "job-2_0.webp has 0 rows" in flaws
    assert "job-2 was announced as removed 1 times" in flaws
    assert "job-3 is pending" in flaws
    assert "job-0 was announced 2 times" in flaws
    assert "job-3 was told 2 times" in flaws


async def test_a_daemon_that_ends_by_itself_is_said_to(tmp_path: Path) -> None:
    async with stage.stage(tmp_path / "stage") as on:
        on.sign_in("dev")
        with pytest.raises(SoakFailed, match=r"ended by itself|to end, with"):
            async with stage.daemon(on) as pid:
                os.kill(pid, signal.SIGKILL)


def grown(**more: int) -> list[str]:
    """Return what is not flat when the second half of a day has so much more."""
    day = [
        replace(CALM, jobs=n, database=100_000 + n * 1000) for n in range(0, 2000, 10)
    ]
    for at, sample in enumerate(day):
        if at > len(day) // 2:
            larger = {name: getattr(sample, name) + it for name, it in more.items()}
            day[at] = replace(sample, **larger)
    rows = gauge.judge([day[0], day[-1]], day)
    return [row.what for row in rows if not row.flat]


def test_a_day_that_costs_rows_alone_is_flat() -> None:
    assert grown() == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"memory": 12 * MIB}, "memory"),
        ({"handles": 6}, "open files and sockets"),
        ({"threads": 5}, "threads"),
        ({"database": 2 * MIB}, "database, bytes a job"),
        ({"wal": 16 * MIB}, "write-ahead log"),
        ({"logs": 8 * MIB}, "logs"),
        ({"helpers": 300 * MIB}, "memory of the maker of previews"),
    ],
)
def test_what_has_grown_is_named(more: dict[str, int], says: str) -> None:
    assert grown(**more) == [says]


def test_a_process_is_measured_with_what_it_has_open(tmp_path: Path) -> None:
    (tmp_path / "materializer/logs").mkdir(parents=True)
    before = gauge.look(os.getpid(), tmp_path, 7)
    with (tmp_path / "materializer/logs/one").open("wb") as one:
        one.write(b"x" * 1000)
        one.flush()
        after = gauge.look(os.getpid(), tmp_path, 7)

    assert after.handles == before.handles + 1
    assert (before.logs, after.logs) == (0, 1000)
    assert after.memory > MIB


def test_a_status_that_comes_too_late_is_named_with_its_part() -> None:
    quick = Phase("waiting", 1.0, [2.0] * 98 + [49.0] * 2)
    slow = Phase("a storm", 1.0, [2.0] * 90 + [60.0] * 10)

    said = load.shortfall(load.Result(load.SHORT, [quick, slow]))

    assert said == ["a storm: daemon.status takes 60.0 ms (p99), and may take 50"]
