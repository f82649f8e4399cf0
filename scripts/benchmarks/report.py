"""The figures of the feed, as Markdown and as data."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from scripts.benchmarks.feed import Result, Sample

RATIOS = (
    "How many times better ours is than the others in the same round:"
    " median (least to most)."
)

_Measure = Callable[[Sample], float]

# The phase it is taken from, what it is, and whether more of it is better.
_MEASURES: dict[str, tuple[str, _Measure, bool]] = {
    "messages/s": ("flood", lambda s: s.messages / s.seconds, True),
    "CPU ms/message, flood": ("flood", lambda s: s.cpu / s.messages * 1e3, False),
    "CPU ms/message, in turn": ("turns", lambda s: s.cpu / s.messages * 1e3, False),
    "delay p50 ms": ("turns", lambda s: median(s.delays) * 1e3, False),
    "delay p99 ms": (
        "turns",
        lambda s: quantiles(s.delays, n=100, method="inclusive")[98] * 1e3,
        False,
    ),
}


def markdown(result: Result) -> str:
    """Return tables of the medians over the rounds, and of the ratios in each."""
    return "\n".join(
        [
            *_machine(result),
            "",
            *_medians(result),
            "",
            RATIOS,
            "",
            *_ratios(result),
            "",
            *_alone(result),
        ]
    )


def data(result: Result) -> dict[str, Any]:
    """Return every raw sample, and on what it was taken."""
    return {"machine": machine(), **asdict(result)}


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _machine(result: Result) -> Iterator[str]:
    here = machine()
    yield (
        f"{here['cores']} cores ({here['processor']}), Python {here['python']}, "
        f"{here['system']}."
    )
    for client in result.clients:
        yield f"{client.name}: {client.version}."


def _medians(result: Result) -> Iterator[str]:
    names = [*_MEASURES, "values handed over, flood"]
    yield f"| jobs | client | {' | '.join(names)} |"
    yield f"|--:|---|{'--:|' * len(names)}"
    for jobs in sizes(result):
        for client in result.clients:
            cells = []
            for mode, measure, _ in _MEASURES.values():
                samples = _samples(result, client.name, jobs, mode)
                cells.append(figure(median(map(measure, samples))))
            flood = _samples(result, client.name, jobs, "flood")
            delivered = median(sample.delivered for sample in flood)
            cells.append(f"{delivered:g} of {flood[0].messages}")
            yield f"| {jobs} | {client.name} | {' | '.join(cells)} |"


def _ratios(result: Result) -> Iterator[str]:
    yield f"| jobs | against | {' | '.join(_MEASURES)} |"
    yield f"|--:|---|{'--:|' * len(_MEASURES)}"
    _, *others = result.clients
    for jobs in sizes(result):
        for other in others:
            cells = [
                f"{median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
                for each in ratios(result, other.name, jobs).values()
            ]
            yield f"| {jobs} | {other.name} | {' | '.join(cells)} |"


def ratios(result: Result, other: str, jobs: int) -> dict[str, list[float]]:
    """Return how many times better ours is than another, by measure, in each round."""
    found = {}
    for name, (mode, measure, more_is_better) in _MEASURES.items():
        ours = map(measure, _samples(result, result.clients[0].name, jobs, mode))
        theirs = map(measure, _samples(result, other, jobs, mode))
        pairs = zip(ours, theirs, strict=True)
        found[name] = [a / b if more_is_better else b / a for a, b in pairs]
    return found


def _alone(result: Result) -> Iterator[str]:
    session, reading = result.alone.session, result.alone.reading
    jobs = sizes(result)[-1]
    yield (
        f"The session alone, {jobs} jobs a message: {figure(median(session) * 1e3)} ms"
        f" of CPU (p99 {figure(quantiles(session, n=100)[98] * 1e3)}), and"
        f" {figure(median(reading) * 1e3)} ms to read the jobs;"
        f" {len(session)} messages."
    )


def sizes(result: Result) -> list[int]:
    """Return of how many jobs there were messages."""
    return sorted({sample.jobs for sample in result.samples})


def _samples(result: Result, client: str, jobs: int, mode: str) -> list[Sample]:
    """Return one sample a round, in the order of the rounds."""
    found = [
        sample
        for sample in result.samples
        if (sample.client, sample.jobs, sample.mode) == (client, jobs, mode)
    ]
    return sorted(found, key=lambda sample: sample.round)


def figure(number: float) -> str:
    """Write a number with three digits that count."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
