"""All benchmarks of speed; if one fails, the others still run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from scripts.benchmarks import fetch, goals, picture, runs
from scripts.benchmarks.clients import BenchmarkFailed
from scripts.benchmarks.report import machine
from scripts.benchmarks.runs import RUNS, Outcome, Tell

# What fails has no speed, and has a table of its own.
_LEFT_OUT = {"faults"}


@dataclass(frozen=True, slots=True)
class Everything:
    """The outcomes by benchmark, and why others have none."""

    outcomes: dict[str, Outcome]
    failures: dict[str, str]

    @property
    def goals(self) -> list[goals.Goal]:
        """Everything that was to be reached."""
        return [goal for each in self.outcomes.values() for goal in each.goals]


async def measure(tell: Tell, *, short: bool) -> Everything:
    """Run everything; `tell` hears how far it is."""
    outcomes, failures = {}, {}
    for name in RUNS:
        if name in _LEFT_OUT:
            continue
        tell(f"{name} begins")
        try:
            outcomes[name] = await _run(name, tell, short=short)
        except (BenchmarkFailed, OSError) as error:  # a TimeoutError is one, too
            failures[name] = str(error) or type(error).__name__
    return Everything(outcomes, failures)


async def _run(name: str, tell: Tell, *, short: bool) -> Outcome:
    if name != "fetch" or short:
        return await RUNS[name].run(short, tell)
    # All its rounds take an hour; by itself it runs them.
    return await runs.run_fetch(replace(fetch.LONG, rounds=1), fetch.PARTS, tell)


def markdown(found: Everything) -> str:
    """Return one table of all goals, and below it the tables of each benchmark."""
    return "\n".join(_lines(found))


def _lines(found: Everything) -> Iterator[str]:
    here = machine()
    reached = sum(goal.met for goal in found.goals)
    yield (
        f"{here['cores']} cores ({here['processor']}), Python {here['python']},"
        f" {here['system']}: {reached} of {len(found.goals)} goals met. A ratio is ours"
        " to theirs, or to the figure that is named, so less is better."
    )
    yield ""
    yield from goals.table(found.goals)
    for name, why in found.failures.items():
        yield f"| {name} | | failed | | {why.splitlines()[0]} |"
    for name, outcome in found.outcomes.items():
        yield from ("", f"## {name}", "", outcome.table)


def data(found: Everything) -> dict[str, Any]:
    """Return every raw sample, and all goals."""
    return {
        "machine": machine(),
        "goals": [asdict(goal) for goal in found.goals],
        "failures": found.failures,
        "samples": {name: each.data for name, each in found.outcomes.items()},
    }


def shortfall(found: Everything) -> str | None:
    """Return what failed, and where ours fell short, in words."""
    short = {
        name: each.shortfall for name, each in found.outcomes.items() if each.shortfall
    }
    said = [f"{name}: {why}" for name, why in (found.failures | short).items()]
    return "\n".join(said) or None


def drawn(found: Everything) -> str:
    """Return a picture of all ratios, as SVG."""
    here = machine()
    title = f"{here['cores']} cores ({here['processor']}), Python {here['python']}"
    return picture.svg(found.goals, title)
