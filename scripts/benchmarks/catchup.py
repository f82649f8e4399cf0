"""Jobs that waited, on the disk: ours beside bare downloads of the same.

Ours begins with the one message that shows them all, and ends when a Node client of
its socket has the last `display.update`. aria2c and httpx are given a list of the URLs
and end when they have written the files; nothing of theirs is synced.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from scripts.benchmarks import bodies, client_httpx, goals, places, programs
from scripts.benchmarks.bodies import File
from scripts.benchmarks.clients import PATIENCE
from scripts.benchmarks.contenders import Arrival, Contender, ours
from scripts.benchmarks.fetch_origin import Origin, origin
from scripts.benchmarks.goals import Goal
from scripts.benchmarks.live import finished
from scripts.benchmarks.report import figure, machine

_SCHEME = "https"
_ARIA2, _HTTPX = "aria2c -j8", "httpx + aiofiles"
_GOALS = {_ARIA2: 1.0, _HTTPX: 0.5}
_NEEDED = ("nginx", "openssl", "aria2c", "node", "npm")
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: in each, everybody runs once, each round another one first.
        jobs: as many of each of `sizes`, in bytes.
    """

    rounds: int
    jobs: int
    sizes: tuple[int, ...]


LONG = Plan(5, 200, tuple(64 * _KIB << step for step in range(8)))
SHORT = Plan(1, 8, (64 * _KIB, 128 * _KIB))


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one of them.

    Attributes:
        others: the share of the machine that other processes took meanwhile.
    """

    client: str
    round: int
    seconds: float
    others: float


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that was measured; `size` is of all files, in bytes."""

    plan: Plan
    size: int
    versions: dict[str, str]
    samples: list[Sample]


async def measure(plan: Plan, tell: Callable[[str], None]) -> Result:
    """Measure; `tell` hears how far it is.

    Raises:
        BenchmarkFailed: a program is missing or fails, or a file is not what it was.
    """
    programs.require(_NEEDED)
    with places.memory() as ground, places.disk() as store:
        tell("making the files")
        files = await asyncio.to_thread(_files, ground / "files", plan)
        home = store / "ours"
        home.mkdir()
        async with (
            origin(ground, ground / "files", files) as source,
            ours(home, source.certificate) as daemon,
        ):
            await _ours(daemon, source, files[:1], -1)
            samples = []
            clients = [*_RUN, "ours"]
            for number in range(plan.rounds):
                first = number % len(clients)
                for client in clients[first:] + clients[:first]:
                    tell(f"round {number + 1} of {plan.rounds}: {client}")
                    await asyncio.to_thread(os.sync)
                    gauge = programs.Gauge(source.pid, *daemon.pids)
                    if client == "ours":
                        seconds = await _ours(daemon, source, files, number)
                    else:
                        errand = _Errand(source, files, store / str(number), ground)
                        seconds = await _theirs(client, errand)
                    others = gauge.share()
                    samples.append(Sample(client, number, seconds, others))
    size = sum(file.size for file in files)
    return Result(plan, size, await _versions(), samples)


def _files(folder: Path, plan: Plan) -> list[File]:
    """Make pictures of all sizes, mixed."""
    folder.mkdir()
    sizes = [plan.sizes[number % len(plan.sizes)] for number in range(plan.jobs)]
    return [
        bodies.write_png(folder / f"picture_{number}.png", size, number)
        for number, size in enumerate(sizes)
    ]


async def _ours(
    daemon: Contender, source: Origin, files: Sequence[File], number: int
) -> float:
    """Show all jobs in one message; return when the last was told, in seconds."""
    jobs = {f"round{number}_{at}": file for at, file in enumerate(files)}
    rows = [
        finished(job_id, source.url(_SCHEME, file, digest=True))
        for job_id, file in jobs.items()
    ]
    sent = daemon.live.finish(rows)
    arrived: list[tuple[File, Arrival]] = []
    for _ in files:
        arrival = await daemon.hear()
        arrived.append((jobs.pop(arrival.job_id), arrival))
        daemon.live.forget(arrival.job_id)
    await asyncio.to_thread(places.check, arrived)
    return max(arrival.at - sent for _, arrival in arrived) / 1e9


@dataclass(frozen=True, slots=True)
class _Errand:
    """What the others fetch, to where; `notes` takes what a program must read."""

    source: Origin
    files: Sequence[File]
    folder: Path
    notes: Path

    def url(self, file: File) -> str:
        return self.source.url(_SCHEME, file)


async def _theirs(client: str, errand: _Errand) -> float:
    """Let one of the others fetch everything into a new folder, and look at it."""
    folder = places.emptied(errand.folder)
    seconds = await _RUN[client](errand)
    fetched = [(f, Arrival(f.name, 0, (folder / f.name,))) for f in errand.files]
    await asyncio.to_thread(places.check, fetched)
    return seconds


async def _aria2c(errand: _Errand) -> float:
    lines = (f"{errand.url(file)}\n  out={file.name}\n" for file in errand.files)
    listed = errand.notes / "aria2"
    listed.write_text("".join(lines), "utf-8")
    spent = await programs.spend(
        *("aria2c", "--no-conf", "--quiet", "-j8", f"--dir={errand.folder}"),
        *(f"--input-file={listed}", f"--ca-certificate={errand.source.certificate}"),
        patience=PATIENCE,
        errors=errand.notes / "errors",
    )
    return spent.seconds


async def _httpx(errand: _Errand) -> float:
    order = errand.notes / "httpx.json"
    paths = {errand.url(file): str(errand.folder / file.name) for file in errand.files}
    authority = str(errand.source.certificate)
    client_httpx.Order("aiofiles", paths, authority).write(order)
    spent = await programs.spend(
        *(sys.executable, "-m", "scripts.benchmarks.client_httpx", str(order)),
        patience=PATIENCE,
        errors=errand.notes / "errors",
    )
    return float(json.loads(spent.output)["seconds"])


_RUN: dict[str, Callable[[_Errand], Awaitable[float]]] = {
    _ARIA2: _aria2c,
    _HTTPX: _httpx,
}


async def _versions() -> dict[str, str]:
    aria2 = (await programs.first_line("aria2c", "--version")).replace(" version", "")
    return {
        "ours": f"stella-materializer {version('stella-materializer')}",
        _ARIA2: aria2,
        _HTTPX: f"httpx {version('httpx')}, aiofiles {version('aiofiles')}",
    }


def goals_of(result: Result) -> list[Goal]:
    """Return what was to be reached, by the median of the rounds' ratios."""
    mine = _seconds(result, "ours")
    return [
        goals.judged(
            f"catch-up of {result.plan.jobs} jobs",
            other,
            [a / b for a, b in zip(mine, _seconds(result, other), strict=True)],
            most,
        )
        for other, most in _GOALS.items()
    ]


def markdown(result: Result) -> str:
    """Return a table of the figures, and one of the goals."""
    return "\n".join([*_figures(result), "", *goals.table(goals_of(result))])


def _figures(result: Result) -> Iterator[str]:
    here = machine()
    plan = result.plan
    sizes = f"{plan.sizes[0] // _KIB} to {plan.sizes[-1] // _KIB} KiB"
    yield (
        f"{plan.jobs} pictures of {sizes}, {result.size / 2**20:.0f} MiB together, over"
        f" {_SCHEME} to the disk, {plan.rounds} rounds; all files compared by SHA-256."
        f" {here['cores']} cores ({here['processor']}), Python {here['python']}."
    )
    yield ""
    yield "| client | version | seconds | MiB/s | others' CPU |"
    yield "|---|---|--:|--:|--:|"
    for client, named in result.versions.items():
        seconds = median(_seconds(result, client))
        others = median(s.others for s in result.samples if s.client == client)
        speed = figure(result.size / 2**20 / seconds)
        yield f"| {client} | {named} | {figure(seconds)} | {speed} | {others:.0%} |"


def data(result: Result) -> dict[str, Any]:
    """Return every raw sample, and on what it was taken."""
    return {"machine": machine(), **asdict(result)}


def _seconds(result: Result, client: str) -> list[float]:
    """Return what one of them took, round by round."""
    found = [sample for sample in result.samples if sample.client == client]
    return [s.seconds for s in sorted(found, key=lambda sample: sample.round)]
