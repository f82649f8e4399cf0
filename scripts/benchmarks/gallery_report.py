"""The figures of the gallery, as Markdown and as data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from scripts.benchmarks.galleries import GALLERIES
from scripts.benchmarks.gallery import Result, Sample
from scripts.benchmarks.report import figure, machine

_MEASURES: dict[str, Callable[[Sample], float]] = {
    "insert ms/job": lambda sample: sample.insert * 1e3,
    "start ms": lambda sample: sample.start * 1e3,
    "newest page ms": lambda sample: sample.first * 1e3,
    "oldest page ms": lambda sample: sample.last * 1e3,
    "search ms": lambda sample: sample.search * 1e3,
    "bytes/item": lambda sample: sample.size,
}


def markdown(result: Result) -> str:
    """Return a table of the figures, and one of what growing costs."""
    return "\n".join([*_machine(), "", *_figures(result), "", *_growth(result)])


def data(result: Result) -> dict[str, Any]:
    """Return every sample, and on what it was taken."""
    return {"machine": machine(), **asdict(result)}


def _machine() -> Iterator[str]:
    here = machine()
    yield (
        f"{here['cores']} cores ({here['processor']}), Python {here['python']}, "
        f"{here['system']}."
    )


def _figures(result: Result) -> Iterator[str]:
    yield f"| items | gallery | kept | {' | '.join(_MEASURES)} |"
    yield f"|--:|---|--:|{'--:|' * len(_MEASURES)}"
    for sample in result.samples:
        cells = [figure(measure(sample)) for measure in _MEASURES.values()]
        head = f"| {sample.items:,} | {sample.gallery} | {sample.kept:,} |"
        yield f"{head} {' | '.join(cells)} |"


def _growth(result: Result) -> Iterator[str]:
    first, last = result.samples[0].items, result.samples[-1].items
    yield f"How many times as much it is at {last:,} items as at {first:,}."
    yield ""
    yield f"| gallery | {' | '.join(_MEASURES)} |"
    yield f"|---|{'--:|' * len(_MEASURES)}"
    for name in GALLERIES:
        sizes = [sample for sample in result.samples if sample.gallery == name]
        cells = [
            figure(measure(sizes[-1]) / measure(sizes[0]))
            for measure in _MEASURES.values()
        ]
        yield f"| {name} | {' | '.join(cells)} |"
