"""The figures of the downloads, as Markdown and as data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

from scripts.benchmarks import report
from scripts.benchmarks.fetch import Result, Sample

_GIB, _MIB = 2**30, 2**20
_EQUAL = (
    "Every file of every run was compared with the origin's by SHA-256, and ours had"
    " announced each. Ratio: seconds of ours to theirs in the same round, median (least"
    " to most), so less than 1 is faster than they."
    " Others' CPU is the share of the machine that was taken by processes that are no"
    " part of this: above a tenth, trust nothing."
)


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be reached, by the median of the ratios in each round.

    Attributes:
        stores: where it holds.
        ratio: seconds of ours to theirs, at most.
    """

    part: str
    scheme: str
    stores: tuple[str, ...]
    client: str
    ratio: float


_BOTH = ("tmpfs", "disk")
GOALS = (
    Goal("big", "https", _BOTH, "aria2c --checksum", 0.7),
    Goal("big", "https", ("disk",), "curl + fsync", 1.0),
    Goal("big", "http", _BOTH, "curl", 1.1),
    Goal("many", "https", ("disk",), "aria2c -j16", 0.5),
    Goal("many", "http", ("disk",), "aria2c -j16", 0.5),
    Goal("many", "https", ("tmpfs",), "aria2c -j16", 1.5),
    Goal("many", "http", ("tmpfs",), "aria2c -j16", 1.5),
    Goal("backlog", "http", _BOTH, "aria2 RPC", 1.5),
)
RSS_GOALS = {"backlog": 80, "together": 64}  # MiB at most
GROWTH_GOAL = 32  # MiB, while films come
LOOP_GOALS = {"p99": 1.0, "max": 10.0}  # ms at most


def markdown(result: Result) -> str:
    """Return a table for each comparison, and one of the goals."""
    return "\n".join(
        [
            *_circumstances(result),
            "",
            _EQUAL,
            *(line for key in _keys(result) for line in ("", *_table(result, key))),
            "",
            *_goals(result),
        ]
    )


def data(result: Result) -> dict[str, Any]:
    """Return every raw sample, and on what it was taken."""
    return {"machine": report.machine(), **asdict(result)}


def _circumstances(result: Result) -> Iterator[str]:
    here = report.machine()
    kinds = ", ".join(f"{name} is {kind}" for name, kind in result.file_systems.items())
    yield (
        f"{here['cores']} cores ({here['processor']}), Python {here['python']}, "
        f"{here['system']}; {kinds}."
    )
    for name, version in result.versions.items():
        yield f"{name}: {version}."
    for found in result.strength:
        yield (
            f"The origin alone, {_size(found.size)} over {found.scheme}:"
            f" {report.figure(found.requests)} requests/s,"
            f" {found.requests * found.size / _GIB:.2f} GiB/s."
        )


_Key = tuple[str, str, str]


def _keys(result: Result) -> list[_Key]:
    """Return part, scheme and store of each comparison, in the order measured."""
    return [*dict.fromkeys((s.part, s.scheme, s.store) for s in result.samples)]


def _table(result: Result, key: _Key) -> Iterator[str]:
    groups = _groups(result, key)
    ours = groups["ours"]
    first = ours[0]
    what = f"{first.files} of {_size(first.size // first.files)}"
    yield f"**{key[0]}**: {what} over {key[1]} to {key[2]}, {len(ours)} rounds"
    yield ""
    yield (
        "| client | seconds | ratio | CPU s/GiB | CPU µs/file | peak RSS MiB |"
        " others' CPU |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for client, samples in groups.items():
        cpu = median(sample.cost.cpu for sample in samples)
        cells = [
            report.figure(median(sample.cost.seconds for sample in samples)),
            "" if client == "ours" else _spread(_ratios(ours, samples)),
            report.figure(cpu / first.size * _GIB),
            report.figure(cpu / first.files * 1e6),
            _mebibytes(_peaks(samples)),
            f"{median(sample.others for sample in samples):.0%}",
        ]
        yield f"| {client} | {' | '.join(cells)} |"


def _groups(result: Result, key: _Key) -> dict[str, list[Sample]]:
    """Return one sample a round of each client, ours first."""
    groups: dict[str, list[Sample]] = {"ours": []}
    for sample in result.samples:
        if (sample.part, sample.scheme, sample.store) == key:
            groups.setdefault(sample.client, []).append(sample)
    return {name: sorted(g, key=lambda s: s.round) for name, g in groups.items()}


def _ratios(ours: Iterable[Sample], theirs: Iterable[Sample]) -> list[float]:
    pairs = zip(ours, theirs, strict=True)
    return [a.cost.seconds / b.cost.seconds for a, b in pairs]


def _goals(result: Result) -> Iterator[str]:
    yield "| goal | reached | |"
    yield "|---|--:|---|"
    keys = _keys(result)
    for goal in GOALS:
        for store in goal.stores:
            key = (goal.part, goal.scheme, store)
            if key in keys:
                groups = _groups(result, key)
                ratios = _ratios(groups["ours"], groups[goal.client])
                what = f"{' '.join(key)} ≤ {goal.ratio} of {goal.client}"
                yield _goal(what, median(ratios), goal.ratio)
    for key in keys:
        ours = _groups(result, key)["ours"]
        where = " ".join(key)
        if (most := RSS_GOALS.get(key[0])) is not None:
            peak = max(_peaks(ours)) / _MIB
            yield _goal(f"{where}: RSS ≤ {most} MiB, at worst", peak, most)
        if key[0] in {"big", "together"}:
            yield _goal(
                f"{where}: RSS grows by ≤ {GROWTH_GOAL} MiB, at worst",
                max(_growths(ours)) / _MIB,
                GROWTH_GOAL,
            )
        if key[0] == "loop":
            yield from _lateness(where, ours)


def _lateness(where: str, ours: list[Sample]) -> Iterator[str]:
    every = [late * 1e3 for sample in ours for late in sample.cost.lateness]
    p99 = quantiles(every, n=100, method="inclusive")[98]
    for name, reached in {"p99": p99, "max": max(every)}.items():
        most = LOOP_GOALS[name]
        yield _goal(f"{where}: loop late {name} ≤ {most:g} ms", reached, most)


def _goal(what: str, reached: float, most: float) -> str:
    verdict = "met" if reached <= most else "NOT MET"
    return f"| {what} | {report.figure(reached)} | {verdict} |"


def _peaks(samples: Iterable[Sample]) -> list[int]:
    return [s.cost.rss_peak for s in samples if s.cost.rss_peak is not None]


def _growths(samples: Iterable[Sample]) -> list[int]:
    return [
        s.cost.rss_peak - s.cost.rss_before
        for s in samples
        if s.cost.rss_peak is not None and s.cost.rss_before is not None
    ]


def _mebibytes(sizes: list[int]) -> str:
    return report.figure(median(sizes) / _MIB) if sizes else ""


def _spread(ratios: list[float]) -> str:
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _size(size: int) -> str:
    for unit, name in ((_GIB, "GiB"), (_MIB, "MiB"), (1024, "KiB")):
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size} B"
