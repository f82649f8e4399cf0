"""The command of `scripts/bench`: measures, prints tables, writes what it saw."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from scripts.benchmarks import everything, fetch
from scripts.benchmarks.clients import BenchmarkFailed
from scripts.benchmarks.runs import RUNS, Outcome, run_fetch

_ALL = "all"


def main() -> None:
    """Run one benchmark, or all; exit 1 when it failed, or when ours did."""
    chosen = _parser().parse_args()
    try:
        outcome = asyncio.run(_run(chosen))
    except BenchmarkFailed as error:
        sys.exit(f"bench: {error}")
    if chosen.json:
        chosen.json.write_text(json.dumps(outcome.data), "utf-8")
    sys.stdout.write(f"{outcome.table}\n")
    if outcome.shortfall is not None:
        sys.exit(f"bench: {outcome.shortfall}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench")
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    helps = {name: run.help for name, run in RUNS.items()}
    for name, text in {**helps, _ALL: "all but `faults`, in one table"}.items():
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
        if name == _ALL:
            benchmark.add_argument(
                "--picture", type=Path, metavar="FILE", help="all ratios, as SVG"
            )
    return parser


async def _run(chosen: argparse.Namespace) -> Outcome:
    if chosen.benchmark == _ALL:
        return await _everything(chosen)
    if chosen.benchmark == "fetch" and chosen.part is not None:
        plan = fetch.SHORT if chosen.short else fetch.LONG
        parts = (part for part in fetch.PARTS if part.name == chosen.part)
        return await run_fetch(plan, parts, _tell)
    return await RUNS[chosen.benchmark].run(chosen.short, _tell)


async def _everything(chosen: argparse.Namespace) -> Outcome:
    found = await everything.measure(_tell, short=chosen.short)
    if chosen.picture:
        await asyncio.to_thread(
            chosen.picture.write_text, everything.drawn(found), "utf-8"
        )
    return Outcome(
        everything.markdown(found),
        everything.data(found),
        found.goals,
        everything.shortfall(found),
    )


def _tell(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")


main()
