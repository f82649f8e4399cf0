"""The command of `scripts/soak`: a long day, a heavy load, and what they cost."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from scripts.endurance import day, gauge, load
from scripts.endurance.stage import SoakFailed


async def _day(root: Path, plan: day.Day) -> list[str]:
    result = await day.run(plan, root, _tell)
    rows = gauge.judge(result.rests, result.samples)
    _print([*day.table(result), "", *gauge.table(rows)])
    return [*result.flaws, *(f"{row.what} has grown" for row in rows if not row.flat)]


async def _load(root: Path, plan: load.Load) -> list[str]:
    result = await load.run(plan, root, _tell)
    _print(load.table(result))
    # A short one says nothing about speed, and shares the computer with other tests.
    return result.flaws + (load.shortfall(result) if plan is load.LONG else [])


def main() -> None:
    """Do what was asked for; exit 1 when something was not as it must be."""
    parser = argparse.ArgumentParser(prog="scripts/soak")
    parser.add_argument(
        "what",
        nargs="?",
        choices=("day", "load"),
        help="a day in 19 minutes, or 10,000 jobs at once; without it, both",
    )
    parser.add_argument("--short", action="store_true", help="to see that it runs")
    chosen = parser.parse_args()
    flaws = []
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            if chosen.what != "load":
                plan = day.SHORT if chosen.short else day.LONG
                flaws += asyncio.run(_day(Path(folder, "day"), plan))
            if chosen.what != "day":
                load_plan = load.SHORT if chosen.short else load.LONG
                flaws += asyncio.run(_load(Path(folder, "load"), load_plan))
        except* SoakFailed as failed:
            flaws += [str(error) for error in failed.exceptions]
    for flaw in flaws:
        _tell(flaw)
    sys.exit(bool(flaws))


def _print(lines: list[str]) -> None:
    sys.stdout.write("\n".join([*lines, "", ""]))


def _tell(line: str) -> None:
    sys.stderr.write(f"soak: {line}\n")
