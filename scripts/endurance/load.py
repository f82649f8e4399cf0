"""The load: thousands of jobs at the first start, then storms, and a crowd.

The jobs that wait were submitted on this computer and have ended since, longer ago than
any list shows.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import quantiles

from materializer.config import Paths
from materializer.gallery import Gallery, ledger
from materializer.model import Account
from scripts.endurance import stage, verdicts
from scripts.endurance.consumer import Consumer
from scripts.endurance.stage import SoakFailed, Stage

GOAL = 50.0
"""Milliseconds in which 99 of 100 questions are answered."""

_PERSON = "dev"
_HOUR = 3600.0
_PATIENCE = 600.0


@dataclass(frozen=True, slots=True)
class Load:
    """How many wait, finish in one second so many times, and listen meanwhile."""

    waiting: int
    storm: int
    storms: int
    clients: int


LONG = Load(10_000, 200, 5, 100)
SHORT = Load(300, 40, 2, 20)


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the run; the latencies are in ms."""

    name: str
    seconds: float
    latencies: list[float]

    @property
    def p50(self) -> float:
        """What half of the answers took at most."""
        return quantiles(self.latencies, n=2, method="inclusive")[0]

    @property
    def p99(self) -> float:
        """What 99 of 100 answers took at most."""
        return quantiles(self.latencies, n=100, method="inclusive")[98]


@dataclass(slots=True)
class Result:
    """What was seen."""

    load: Load
    phases: list[Phase] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)


async def run(load: Load, root: Path, tell: Callable[[str], None]) -> Result:
    """Bear a load.

    Raises:
        SoakFailed: the daemon did not start or has ended, or the rest of it is stuck.
    """
    result = Result(load)
    async with stage.stage(root) as on:
        on.sign_in(_PERSON)
        await _submit(on, load.waiting)
        consumer = Consumer(on.owners, after=0, removes=0)
        marks: list[tuple[str, float]] = []
        async with (
            stage.daemon(on),
            _helper("prober", str(on.state)) as prober,
            _helper("crowd", str(on.state), str(load.clients - 2)) as crowd,
            asyncio.TaskGroup() as tasks,
        ):
            listening = tasks.create_task(consumer.run(on.state))
            marks.append((f"{load.waiting} waiting at the start", time.monotonic()))
            await _line(crowd)
            tell(f"{load.clients} clients are here")
            await _all_told(on, consumer, crowd)
            for number in range(load.storms):
                tell(f"storm {number + 1} of {load.storms}")
                marks.append((f"{load.storm} in one second", time.monotonic()))
                await _storm(on, load.storm, number)
                await _all_told(on, consumer, crowd)
            marks.append(("", time.monotonic()))
            listening.cancel()
            answers, _ = await prober.communicate(b"")
        result.phases = _phases(marks, json.loads(answers))
        result.flaws += await asyncio.to_thread(verdicts.at_end, on, consumer)
    return result


async def _submit(on: Stage, count: int) -> None:
    """Leave jobs as `stella-media generate` does, and let them have ended since."""
    now = time.time()
    for number in range(count):
        on.succeed(f"job-{number:05}", _PERSON, now - _HOUR - number)
    paths = Paths.of(on.state)
    paths.partial.mkdir(parents=True)
    account = Account(on.backend.convex_url, on.backend.owner(_PERSON))
    job_ids = [*on.outputs]

    def enter(db: sqlite3.Connection) -> None:
        for job_id in job_ids:
            ledger.submit(db, account, job_id, int(now * 1000))

    gallery = Gallery.open(paths.gallery_db, paths.outputs)
    try:
        await gallery.write(enter)
    finally:
        await gallery.close()


async def _storm(on: Stage, count: int, which: int) -> None:
    began = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / count - time.monotonic()))
        on.succeed(f"storm-{which}-{number:03}", _PERSON, time.time())


async def _all_told(on: Stage, consumer: Consumer, crowd: Process) -> None:
    """Wait until all has settled, and every consumer was told of it."""
    if crowd.stdin is None:
        raise SoakFailed("the crowd does not listen")
    crowd.stdin.write(b"%d\n" % len(on.outputs))
    async with stage.in_time(_PATIENCE, "the crowd was not told of all"):
        await _line(crowd)
    while len(consumer.told) < len(on.outputs):
        await stage.next_of(consumer.news, "the consumer is told of nothing")
    await stage.until(lambda: verdicts.settled(on), "not all has settled")


async def _line(helper: Process) -> None:
    if helper.stdout is None or not await helper.stdout.readline():
        raise SoakFailed("a client was let go, or told out of turn")


@asynccontextmanager
async def _helper(name: str, *arguments: str) -> AsyncIterator[Process]:
    """Run a module beside us; it is gone after the block."""
    module = f"scripts.endurance.{name}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def _phases(
    marks: list[tuple[str, float]], answers: list[tuple[float, float]]
) -> list[Phase]:
    phases: dict[str, tuple[float, list[float]]] = {}
    for (name, began), (_, ended) in pairwise(marks):
        seconds, latencies = phases.get(name, (0.0, []))
        part = [took * 1000 for due, took in answers if began <= due < ended]
        phases[name] = seconds + ended - began, latencies + part
    return [Phase(name, *rest) for name, rest in phases.items()]


def shortfall(result: Result) -> list[str]:
    """Return in words in which part the daemon answered too late."""
    return [
        f"{phase.name}: daemon.status takes {phase.p99:.1f} ms (p99), and may take"
        f" {GOAL:g}"
        for phase in result.phases
        if phase.p99 >= GOAL
    ]


def table(result: Result) -> list[str]:
    """Return the phases as a table."""
    return [
        "| `daemon.status`, ms | seconds | asked | p50 | p99 | longest |",
        "|---|--:|--:|--:|--:|--:|",
        *(
            f"| {it.name} | {it.seconds:.1f} | {len(it.latencies)} | {it.p50:.1f} |"
            f" {it.p99:.1f} | {max(it.latencies):.1f} |"
            for it in result.phases
        ),
    ]
