"""The command of `scripts/bench`: measures, prints tables, writes what it saw."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from scripts.benchmarks import feed, report
from scripts.benchmarks.clients import BenchmarkFailed


def main() -> None:
    """Run one benchmark; exit 1 when it failed."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    ours = benchmarks.add_parser("feed", help="our feed beside the official clients")
    ours.add_argument("--short", action="store_true", help="to see that it runs")
    ours.add_argument("--json", type=Path, metavar="FILE", help="every raw sample")
    chosen = parser.parse_args()
    plan = feed.SHORT if chosen.short else feed.LONG
    try:
        result = asyncio.run(feed.measure(plan, _tell))
    except BenchmarkFailed as error:
        sys.exit(f"bench: {error}")
    if chosen.json:
        chosen.json.write_text(json.dumps(report.data(result)), "utf-8")
    sys.stdout.write(f"{report.markdown(result)}\n")


def _tell(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")


main()
