"""Which faults were withstood, as Markdown and as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from scripts.benchmarks import report
from scripts.benchmarks.faults import FAULTS, Result
from scripts.benchmarks.verdicts import Verdict


def markdown(result: Result) -> str:
    """Return a table of the faults and the tools, with a score at its end."""
    return "\n".join([*_circumstances(result), "", *_table(result)])


def data(result: Result) -> dict[str, Any]:
    """Return every verdict, and what was judged."""
    return {"machine": report.machine(), **asdict(result)}


def shortfall(result: Result) -> str | None:
    """Return which faults ours did not withstand, in words; None for none."""
    failed = [name for name, found in result.verdicts.items() if _failed(found["ours"])]
    return f"ours does not withstand: {'; '.join(failed)}" if failed else None


def _circumstances(result: Result) -> Iterator[str]:
    plan = result.plan
    yield (
        f"A PNG of {plan.size / 2**20:g} MiB; {plan.kills} kills; a bomb of"
        f" {plan.bomb / 2**20:g} MiB; {plan.patience:g} s of patience, and whoever"
        " still tries then has not claimed success."
    )
    for name, version in result.versions.items():
        yield f"{name}: {version}."


def _table(result: Result) -> Iterator[str]:
    names = [*result.versions]
    yield f"| fault → passes | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for number, fault in enumerate(FAULTS, 1):
        found = result.verdicts[fault.name]
        cells = [_cell(found[name]) for name in names]
        yield f"| {number} {fault.name} → {fault.passes} | {' | '.join(cells)} |"
    every = list(result.verdicts.values())
    scores = [sum(_passed(found[name]) for found in every) for name in names]
    cells = [f"**{score} of {_staged(result)}**" for score in scores]
    yield f"| score | {' | '.join(cells)} |"


def _staged(result: Result) -> int:
    return sum(found["ours"] is not None for found in result.verdicts.values())


def _cell(verdict: Verdict | None) -> str:
    if verdict is None:
        return "only as root"
    return f"{'✔' if verdict.passed else '✘'} {verdict.detail}"


def _passed(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.passed


def _failed(verdict: Verdict | None) -> bool:
    return verdict is not None and not verdict.passed
