"""What ten times as much costs: jobs, bytes, gallery, clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from scripts.benchmarks import bodies, goals, places, programs
from scripts.benchmarks.bodies import File
from scripts.benchmarks.fetch_origin import origin
from scripts.benchmarks.goals import Goal
from scripts.benchmarks.growth_stand import SCHEME, TIMES, Growth, Plan, Stand
from scripts.benchmarks.report import figure, machine

LONG = Plan(
    rounds=3,
    jobs=300,
    size=200 * 2**20,
    gallery=10_000,
    clients=10,
    looks=30,
    pause=1.5,
)
SHORT = Plan(rounds=1, jobs=3, size=2 * 2**20, gallery=20, clients=2, looks=3, pause=0)

_PICTURE, _SMALL = 65_536, 4096
_NEEDED = ("nginx", "openssl", "node", "npm")


async def measure(plan: Plan, tell: Callable[[str], None]) -> list[Growth]:
    """Measure; `tell` hears how far it is.

    Raises:
        BenchmarkFailed: a program is missing or fails, or a file is not what it was.
    """
    programs.require(_NEEDED)
    with places.memory() as ground, places.disk() as store:
        tell("making the files")
        files = await asyncio.to_thread(_files, ground / "files", plan)
        served = {file.name: file for several in files.values() for file in several}
        async with origin(ground, ground / "files", served.values()) as source:
            stand = Stand(plan, tell, source, ground, store)
            return [
                *await stand.fetching("jobs", files["few"], files["many"]),
                *await stand.fetching("bytes", files["short"], files["long"]),
                *await stand.gallery(files["picture"][0]),
                *await stand.clients(files["picture"][0]),
            ]


def _files(folder: Path, plan: Plan) -> dict[str, list[File]]:
    folder.mkdir()
    small = [
        bodies.write_png(folder / f"small_{number}.png", _SMALL, number)
        for number in range(plan.jobs * TIMES)
    ]
    return {
        "few": small[: plan.jobs],
        "many": small,
        "short": [bodies.write_mp4(folder / "short.mp4", plan.size, 0)],
        "long": [bodies.write_mp4(folder / "long.mp4", plan.size * TIMES, 0)],
        "picture": [bodies.write_png(folder / "picture.png", _PICTURE, 0)],
    }


def goals_of(found: list[Growth]) -> list[Goal]:
    """Return what was to be reached, in times."""
    return [
        Goal(
            f"{growth.measure} with ten times the {growth.what}",
            "with a tenth",
            growth.times,
            growth.most,
        )
        for growth in found
    ]


def markdown(plan: Plan, found: list[Growth]) -> str:
    """Return a table with a line for each measure, and whether the goals were met."""
    return "\n".join(_lines(plan, found))


def _lines(plan: Plan, found: list[Growth]) -> Iterator[str]:
    here = machine()
    amounts = {
        "jobs": f"{plan.jobs} jobs",
        "bytes": f"a film of {plan.size // 2**20} MiB",
        "gallery": f"a gallery of {plan.gallery:,}",
        "clients": f"{plan.clients} clients",
    }
    yield (
        f"{here['cores']} cores ({here['processor']}), Python {here['python']};"
        f" {SCHEME}, to the disk; all files compared by SHA-256; medians."
    )
    yield ""
    yield "| of | measure | so much | ten times that | times | goal | |"
    yield "|---|---|--:|--:|--:|--:|---|"
    for growth, goal in zip(found, goals_of(found), strict=True):
        cells = (
            amounts[growth.what],
            growth.measure,
            figure(median(growth.little)),
            figure(median(growth.much)),
            figure(growth.times),
            f"≤ {growth.most:g}",
            "met" if goal.met else "NOT MET",
        )
        yield f"| {' | '.join(cells)} |"


def shortfall(found: list[Growth]) -> str | None:
    """Return which goal was missed, in words."""
    return goals.shortfall(goals_of(found))


def data(plan: Plan, found: list[Growth]) -> dict[str, Any]:
    """Return every raw figure, and on what it was taken."""
    return {"machine": machine(), **asdict(plan), "growth": list(map(asdict, found))}
