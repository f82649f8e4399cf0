"""From the word that a picture is finished to the screen's doorstep.

Ours ends when a Node client of its socket has `display.update`: the file is verified,
fsynced, in its place and indexed then. The others end when they know that the file is
written. Everybody gets the same bytes in turns, one picture at a time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from scripts.benchmarks import bodies, goals, places, programs
from scripts.benchmarks.bodies import File
from scripts.benchmarks.clients import BenchmarkFailed
from scripts.benchmarks.contenders import CONTENDERS, Arrival, Contender, versions
from scripts.benchmarks.fetch_origin import Origin, origin
from scripts.benchmarks.goals import Goal, p99
from scripts.benchmarks.limits import Disk
from scripts.benchmarks.live import finished
from scripts.benchmarks.report import figure, machine

SIZES = (65_536, 204_800)
SCHEMES = ("https", "http")

_GOALS = {"aria2 RPC": 1.0, "reference's way": 0.8}
_LIMIT = "the disk alone"
_NEEDED = ("nginx", "openssl", "aria2c", "node", "npm")
_PICTURES = 8
_EQUAL = (
    "Every file was compared with what the source has, by SHA-256. One picture at a"
    " time, to the disk, everybody in turns; what was written is synced in between, so"
    " that nobody's is written at another's expense. Ratios are ours to theirs: for p50"
    " the median of the pictures' ratios, each to theirs of the same turn (and of the"
    " rounds, from least to most); for p99 that of all pictures."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: in each, everybody gets `pictures` of each size over each scheme.
        warm: pictures before the first, which do not count.
    """

    rounds: int
    pictures: int
    warm: int


LONG, SHORT = Plan(rounds=8, pictures=50, warm=30), Plan(1, 3, 1)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one of them took for the pictures of one round, in ms, in turn."""

    client: str
    scheme: str
    size: int
    round: int
    delays: list[float]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that was measured.

    Attributes:
        others: the share of the machine that other processes took meanwhile.
    """

    versions: dict[str, str]
    others: float
    samples: list[Sample]


async def measure(plan: Plan, tell: Callable[[str], None]) -> Result:
    """Measure; `tell` hears how far it is.

    Raises:
        BenchmarkFailed: a program is missing or fails, or a file is not what it was.
    """
    programs.require(_NEEDED)
    with places.memory() as ground, places.disk() as store:
        pictures = _pictures(ground / "files")
        served = [file for files in pictures.values() for file in files]
        async with (
            origin(ground, ground / "files", served) as source,
            AsyncExitStack() as stack,
        ):
            contenders = []
            for number, start in enumerate(CONTENDERS):
                home = store / str(number)
                home.mkdir()
                running = start(home, source.certificate)
                contenders.append(await stack.enter_async_context(running))
            folder = store / "limit"
            folder.mkdir()
            disk = stack.enter_context(closing(Disk(folder)))
            race = _Race(source, pictures, contenders, disk)
            await race.run(-1, plan.warm)
            pids = (pid for each in contenders for pid in each.pids)
            gauge = programs.Gauge(source.pid, *pids)
            samples = []
            for number in range(plan.rounds):
                tell(f"round {number + 1} of {plan.rounds}")
                samples += await race.run(number, plan.pictures)
            return Result(await _compared(), gauge.share(), samples)


async def _compared() -> dict[str, str]:
    limit = "a picture written, synced and renamed, its directory and 48 KiB synced"
    return {**await versions(), _LIMIT: limit}


class _Race:
    """Gives everybody the same pictures, in turns."""

    def __init__(
        self,
        source: Origin,
        pictures: dict[int, list[File]],
        contenders: Sequence[Contender],
        disk: Disk,
    ) -> None:
        self._source = source
        self._pictures = pictures
        self._contenders = contenders
        self._disk = disk
        self._given = 0

    async def run(self, number: int, pictures: int) -> list[Sample]:
        """Let one round pass, and look at every file."""
        samples = []
        for scheme in SCHEMES:
            for size in SIZES:
                names = [*(each.name for each in self._contenders), _LIMIT]
                delays: dict[str, list[float]] = {name: [] for name in names}
                arrived: list[tuple[File, Arrival]] = []
                for turn in range(pictures):
                    file = self._pictures[size][turn % _PICTURES]
                    for contender in self._order(turn):
                        arrival, ms = await self._give(contender, scheme, file)
                        delays[contender.name].append(ms)
                        arrived.append((file, arrival))
                    await asyncio.to_thread(os.sync)
                    alone = await asyncio.to_thread(self._disk.keep, bytes(size))
                    delays[_LIMIT].append(alone)
                await asyncio.to_thread(places.check, arrived)
                samples += [
                    Sample(name, scheme, size, number, each)
                    for name, each in delays.items()
                ]
        return samples

    def _order(self, turn: int) -> list[Contender]:
        """Return everybody, each turn another one first."""
        first = turn % len(self._contenders)
        return [*self._contenders[first:], *self._contenders[:first]]

    async def _give(
        self, contender: Contender, scheme: str, file: File
    ) -> tuple[Arrival, float]:
        self._given += 1
        job_id = f"job{self._given}"
        url = self._source.url(scheme, file, digest=True)
        await asyncio.to_thread(os.sync)
        sent = contender.live.finish([finished(job_id, url)])
        arrival = await contender.hear()
        if arrival.job_id != job_id:
            raise BenchmarkFailed(f"{contender.name} told of {arrival.job_id} again")
        contender.live.forget(job_id)
        return arrival, (arrival.at - sent) / 1e6


def _pictures(folder: Path) -> dict[int, list[File]]:
    folder.mkdir()
    return {
        size: [
            bodies.write_png(folder / f"{size}_{number}.png", size, number)
            for number in range(_PICTURES)
        ]
        for size in SIZES
    }


def goals_of(result: Result) -> list[Goal]:
    """Return what was to be reached, by the median of all pairs for p50."""
    found = []
    for scheme in SCHEMES:
        for size in SIZES:
            ours = _delays(result, "ours", scheme, size)
            for other, most in _GOALS.items():
                theirs = _delays(result, other, scheme, size)
                what = f"latency {size // 1024} KiB, {scheme}"
                rounds = [
                    median(a / b for a, b in zip(mine, yours, strict=True))
                    for mine, yours in zip(ours, theirs, strict=True)
                ]
                pairs = zip(chain(*ours), chain(*theirs), strict=True)
                p50 = median(a / b for a, b in pairs)
                judged = goals.judged(f"{what}, p50", other, rounds, most)
                found.append(replace(judged, reached=p50))
                tail = p99([*chain(*ours)]) / p99([*chain(*theirs)])
                found.append(Goal(f"{what}, p99", other, tail, most))
    return found


def markdown(result: Result) -> str:
    """Return a table of the figures, and one of the goals."""
    return "\n".join([*_figures(result), "", *goals.table(goals_of(result))])


def _figures(result: Result) -> Iterator[str]:
    here = machine()
    yield (
        f"{here['cores']} cores ({here['processor']}), Python {here['python']}, "
        f"{here['system']}; others took {result.others:.0%} of it."
    )
    for name, version in result.versions.items():
        yield f"{name}: {version}."
    yield ""
    yield _EQUAL
    yield ""
    yield "| picture | client | p50 ms | p99 ms | pictures |"
    yield "|---|---|--:|--:|--:|"
    for scheme in SCHEMES:
        for size in SIZES:
            for client in result.versions:
                every = [*chain(*_delays(result, client, scheme, size))]
                cells = (
                    f"{size // 1024} KiB, {scheme}",
                    client,
                    figure(median(every)),
                    figure(p99(every)),
                    str(len(every)),
                )
                yield f"| {' | '.join(cells)} |"


def data(result: Result) -> dict[str, Any]:
    """Return every raw sample, and on what it was taken."""
    return {"machine": machine(), **asdict(result)}


def _delays(result: Result, client: str, scheme: str, size: int) -> list[list[float]]:
    """Return what one of them took, round by round."""
    found = [
        sample
        for sample in result.samples
        if (sample.client, sample.scheme, sample.size) == (client, scheme, size)
    ]
    return [s.delays for s in sorted(found, key=lambda sample: sample.round)]
