"""Pictures that arrive while a film does, beside some that come alone.

A picture is announced behind a film that was completed before it, unless that makes it
wait for more than two seconds. So the first picture waits for that long, and is told
apart; the others, which come at a steady pace, are what is compared.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from scripts.benchmarks import bodies, goals, places, programs
from scripts.benchmarks.bodies import File
from scripts.benchmarks.clients import together
from scripts.benchmarks.contenders import Arrival, Contender, ours
from scripts.benchmarks.fetch_origin import Origin, origin
from scripts.benchmarks.goals import Goal, p99
from scripts.benchmarks.live import finished
from scripts.benchmarks.report import figure, machine

_GOAL = 2.0
_SCHEME = "https"
_SIZE = 65_536
_NEEDED = ("nginx", "openssl", "node", "npm")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: in each, the pictures come once alone and once beside the film.
        film: its size in bytes.
        pictures: how many come.
        pace: seconds from one picture to the next.
    """

    rounds: int
    film: int
    pictures: int
    pace: float


LONG = Plan(rounds=4, film=4 * 2**30, pictures=200, pace=0.015)
SHORT = Plan(rounds=1, film=16 * 2**20, pictures=8, pace=0.02)


@dataclass(frozen=True, slots=True)
class Sample:
    """The pictures of one run; times in ms.

    Attributes:
        beside: how many of them came before the film did; None is without a film.
        first: what the picture took that waited its turn behind the film.
        film: what the film took.
        others: the share of the machine that other processes took meanwhile.
    """

    round: int
    delays: list[float]
    others: float
    beside: int | None = None
    first: float = 0.0
    film: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that was measured."""

    plan: Plan
    samples: list[Sample]


async def measure(plan: Plan, tell: Callable[[str], None]) -> Result:
    """Measure; `tell` hears how far it is.

    Raises:
        BenchmarkFailed: a program is missing or fails, or a file is not what it was.
    """
    programs.require(_NEEDED)
    with places.memory() as ground, places.disk() as store:
        tell("making the files")
        folder = ground / "files"
        folder.mkdir()
        film = await asyncio.to_thread(
            bodies.write_mp4, folder / "film.mp4", plan.film, 0
        )
        picture = bodies.write_png(folder / "picture.png", _SIZE, 1)
        samples = []
        async with origin(ground, folder, [film, picture]) as source:
            for number in range(plan.rounds):
                runs = [None, film] if number % 2 == 0 else [film, None]
                for beside in runs:
                    what = "beside the film" if beside else "alone"
                    tell(f"round {number + 1} of {plan.rounds}: pictures {what}")
                    home = places.emptied(store / "ours")
                    async with ours(home, source.certificate) as daemon:
                        run = _Run(plan, daemon, source, picture)
                        samples.append(await run.run(number, beside))
    return Result(plan, samples)


class _Run:
    """One daemon, to which pictures come."""

    def __init__(
        self, plan: Plan, daemon: Contender, source: Origin, picture: File
    ) -> None:
        self._plan = plan
        self._daemon = daemon
        self._source = source
        self._picture = picture
        self._sent: dict[str, int] = {}
        self._arrived: dict[str, Arrival] = {}

    async def run(self, number: int, film: File | None) -> Sample:
        """Let the pictures come, and look at every file."""
        for warm in range(5):  # all libraries are loaded then
            self._send(f"warm{warm}", self._picture)
            await self._hear_of([f"warm{warm}"])
        await asyncio.to_thread(os.sync)
        gauge = programs.Gauge(self._source.pid, *self._daemon.pids)
        if film is not None:
            self._send("film", film)
            self._send("first", self._picture)
            await self._hear_of(["first"])
        names = [f"picture{at}" for at in range(self._plan.pictures)]
        async with together() as tasks:
            tasks.create_task(self._pace(names))
            await self._hear_of(names)
        if film is None:
            sample = Sample(number, self._delays(names), gauge.share())
        else:
            await self._hear_of(["film"])
            end = self._arrived["film"].at
            sample = Sample(
                number,
                self._delays(names),
                gauge.share(),
                beside=sum(self._arrived[name].at < end for name in names),
                first=self._delays(["first"])[0],
                film=self._delays(["film"])[0],
            )
        await asyncio.to_thread(places.check, self._files(film))
        return sample

    def _send(self, job_id: str, file: File) -> None:
        url = self._source.url(_SCHEME, file, digest=True)
        self._sent[job_id] = self._daemon.live.finish([finished(job_id, url)])

    async def _pace(self, names: Sequence[str]) -> None:
        """Send pictures when they are due, whatever became of those before."""
        clock = asyncio.get_running_loop()
        began = clock.time()
        for number, name in enumerate(names):
            await asyncio.sleep(began + number * self._plan.pace - clock.time())
            self._send(name, self._picture)

    async def _hear_of(self, names: Sequence[str]) -> None:
        while not self._arrived.keys() >= {*names}:
            arrival = await self._daemon.hear()
            self._arrived[arrival.job_id] = arrival
            self._daemon.live.forget(arrival.job_id)

    def _delays(self, names: Sequence[str]) -> list[float]:
        return [(self._arrived[n].at - self._sent[n]) / 1e6 for n in names]

    def _files(self, film: File | None) -> Iterator[tuple[File, Arrival]]:
        for job_id, arrival in self._arrived.items():
            yield (film if film and job_id == "film" else self._picture), arrival


def goals_of(result: Result) -> list[Goal]:
    """Return what was to be reached: the tails of all pictures, of both kinds."""
    alone, beside = _delays(result, beside=False), _delays(result, beside=True)
    ratios = [p99(b) / p99(a) for a, b in zip(alone, beside, strict=True)]
    what = f"pictures beside a film of {_film(result.plan)}, p99"
    return [goals.judged(what, "pictures alone", ratios, _GOAL)]


def shortfall(result: Result) -> str | None:
    """Return what makes the figures say nothing, or which goal was missed."""
    early = [s for s in result.samples if s.beside not in {None, len(s.delays)}]
    if early:
        return f"the film had come before all pictures had, in {len(early)} rounds"
    return goals.shortfall(goals_of(result))


def markdown(result: Result) -> str:
    """Return a table of the figures, and one of the goal."""
    return "\n".join([*_figures(result), "", *goals.table(goals_of(result))])


def _figures(result: Result) -> Iterator[str]:
    here = machine()
    plan = result.plan
    yield (
        f"{plan.pictures} pictures of {_SIZE // 1024} KiB, one each {plan.pace * 1e3:g}"
        f" ms, over {_SCHEME} to the disk, {plan.rounds} rounds; all files compared by"
        f" SHA-256. {here['cores']} cores ({here['processor']}), Python"
        f" {here['python']}."
    )
    yield ""
    yield "| pictures | p50 ms | p99 ms | others' CPU |"
    yield "|---|--:|--:|--:|"
    for beside in (False, True):
        delays = _delays(result, beside=beside)
        others = median(
            s.others for s in result.samples if (s.beside is not None) == beside
        )
        cells = (
            f"beside a film of {_film(result.plan)}" if beside else "alone",
            figure(median(map(median, delays))),
            figure(median(map(p99, delays))),
            f"{others:.0%}",
        )
        yield f"| {' | '.join(cells)} |"
    films = [sample for sample in result.samples if sample.beside is not None]
    total = sum(len(sample.delays) for sample in films)
    yield ""
    yield (
        f"{sum(s.beside or 0 for s in films)} of {total} pictures came before the film,"
        f" which took {figure(median(s.film for s in films) / 1e3)} s. The picture that"
        f" kept its place behind the film for as long as it may took"
        f" {figure(median(s.first for s in films) / 1e3)} s."
    )


def data(result: Result) -> dict[str, Any]:
    """Return every raw sample, and on what it was taken."""
    return {"machine": machine(), **asdict(result)}


def _delays(result: Result, *, beside: bool) -> list[list[float]]:
    """Return the delays of the runs with or without the film, round by round."""
    found = [s for s in result.samples if (s.beside is not None) == beside]
    return [s.delays for s in sorted(found, key=lambda sample: sample.round)]


def _film(plan: Plan) -> str:
    gib = plan.film / 2**30
    return f"{gib:g} GiB" if gib >= 1 else f"{gib * 1024:g} MiB"
