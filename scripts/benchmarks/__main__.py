"""The command of `scripts/bench`: measures, prints tables, writes what it saw."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.benchmarks import (
    display,
    fault_report,
    faults,
    feed,
    fetch,
    fetch_report,
    gallery,
    gallery_report,
    idle,
    report,
    start,
)
from scripts.benchmarks.clients import BenchmarkFailed


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one benchmark has to say, and what of ours fell short, in words."""

    table: str
    data: dict[str, Any]
    shortfall: str | None = None


async def _feed(chosen: argparse.Namespace) -> _Outcome:
    plan = feed.SHORT if chosen.short else feed.LONG
    result = await feed.measure(plan, _tell)
    return _Outcome(report.markdown(result), report.data(result))


async def _fetch(chosen: argparse.Namespace) -> _Outcome:
    plan = fetch.SHORT if chosen.short else fetch.LONG
    parts = [part for part in fetch.PARTS if chosen.part in {None, part.name}]
    result = await fetch.measure(plan, parts, _tell)
    return _Outcome(fetch_report.markdown(result), fetch_report.data(result))


async def _faults(chosen: argparse.Namespace) -> _Outcome:
    plan = faults.SHORT if chosen.short else faults.LONG
    result = await faults.measure(plan, _tell)
    return _Outcome(
        fault_report.markdown(result),
        fault_report.data(result),
        fault_report.shortfall(result),
    )


async def _display(chosen: argparse.Namespace) -> _Outcome:
    plan = display.SHORT if chosen.short else display.LONG
    rounds = await display.measure(plan, _tell)
    return _Outcome(display.markdown(plan, rounds), display.data(plan, rounds))


async def _gallery(chosen: argparse.Namespace) -> _Outcome:
    plan = gallery.SHORT if chosen.short else gallery.LONG
    result = await gallery.measure(plan, _tell)
    return _Outcome(gallery_report.markdown(result), gallery_report.data(result))


async def _idle(chosen: argparse.Namespace) -> _Outcome:
    plan = idle.SHORT if chosen.short else idle.LONG
    found = await idle.measure(plan, _tell)
    return _Outcome(
        idle.markdown(plan, found),
        idle.data(plan, found),
        None if chosen.short else idle.shortfall(found),
    )


async def _start(chosen: argparse.Namespace) -> _Outcome:
    rounds = await start.measure(1 if chosen.short else 15, _tell)
    return _Outcome(
        start.markdown(rounds),
        start.data(rounds),
        None if chosen.short else start.shortfall(rounds),
    )


_RUN = {
    "display": _display,
    "feed": _feed,
    "fetch": _fetch,
    "faults": _faults,
    "gallery": _gallery,
    "idle": _idle,
    "start": _start,
}
_HELP = {
    "display": "the page with 5,000 outputs",
    "feed": "our feed beside the official clients",
    "fetch": "our downloads beside curl, aria2 and httpx",
    "faults": "what goes wrong, and who notices",
    "gallery": "our gallery beside a JSON file",
    "idle": "what our daemon costs while it waits, beside aria2 and syncthing",
    "start": "how long our programs take to answer",
}


def main() -> None:
    """Run one benchmark; exit 1 when it failed, or when ours did."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    for name, text in _HELP.items():
        benchmark = benchmarks.add_parser(name, help=text)
        benchmark.add_argument(
            "--short", action="store_true", help="to see that it runs"
        )
        benchmark.add_argument(
            "--json", type=Path, metavar="FILE", help="every raw sample"
        )
        if name == "fetch":
            parts = [part.name for part in fetch.PARTS]
            benchmark.add_argument("--part", choices=parts, help="only this one")
    chosen = parser.parse_args()
    try:
        outcome = asyncio.run(_RUN[chosen.benchmark](chosen))
    except BenchmarkFailed as error:
        sys.exit(f"bench: {error}")
    if chosen.json:
        chosen.json.write_text(json.dumps(outcome.data), "utf-8")
    sys.stdout.write(f"{outcome.table}\n")
    if outcome.shortfall is not None:
        sys.exit(f"bench: {outcome.shortfall}")


def _tell(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")


main()
