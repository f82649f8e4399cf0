"""Our gallery beside a JSON file that is written anew at each change, as it grows.

The JSON file holds all items, as people do it, or the newest 300, as the app does. It
is not synced to the disk, ours is.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.benchmarks.clients import BenchmarkFailed
from scripts.benchmarks.galleries import CAP, GALLERIES, Shelf, jobs_of

_SEARCH = "sail gold"
_LOOKS = 9


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: at each size, and so many jobs that come in one burst."""

    sizes: tuple[int, ...]
    burst: int
    changes: int


LONG = Plan(sizes=(10_000, 100_000), burst=1000, changes=5)
SHORT = Plan(sizes=(400, 800), burst=20, changes=2)


@dataclass(frozen=True, slots=True)
class Sample:
    """One gallery at one size; times in seconds, the median where there are many.

    Attributes:
        kept: how many items it still has.
        insert: for one job of a burst.
        start: until the first page can be asked for.
        first: a page of the newest.
        last: the page that ends with the oldest.
        search: a page of what has two words, by their beginnings.
        found: how many items those are.
        size: bytes on the disk for each item that is kept.
    """

    gallery: str
    items: int
    kept: int
    insert: float
    start: float
    first: float
    last: float
    search: float
    found: int
    size: float


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that was measured."""

    samples: list[Sample]


async def measure(plan: Plan, tell: Callable[[str], None]) -> Result:
    """Measure; `tell` hears how far it is.

    Raises:
        BenchmarkFailed: a gallery lost an item, or found others than it should.
    """
    samples: list[Sample] = []
    for size in plan.sizes:
        for name, make in GALLERIES.items():
            tell(f"{size:,} items: {name}")
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "gallery"
                samples.append(await _measure(name, make, path, size, plan))
    for size in plan.sizes:
        whole = {s.found for s in samples if s.items == s.kept == size}
        if len(whole) != 1:
            raise BenchmarkFailed(f"the galleries found different items: {whole}")
    return Result(samples)


async def _measure(
    name: str, make: Callable[[Path], Shelf], path: Path, size: int, plan: Plan
) -> Sample:
    new = plan.burst if name == "ours" else plan.changes
    shelf = make(path)
    await shelf.start()
    await shelf.fill(jobs_of(0, size - new))
    burst = list(jobs_of(size - new, size))
    insert = await _time(lambda: shelf.add(burst)) / new
    await shelf.stop()
    shelf = make(path)
    start = await _time(shelf.start)
    kept = await shelf.page()
    if kept not in {size, CAP}:
        raise BenchmarkFailed(f"{name} has {kept} of {size} items")
    found = await shelf.page(search=_SEARCH)
    sample = Sample(
        name,
        size,
        kept,
        insert,
        start,
        first=await _median(shelf.page),
        last=await _median(lambda: shelf.page(last=True)),
        search=await _median(lambda: shelf.page(search=_SEARCH)),
        found=found,
        size=0,
    )
    await shelf.stop()
    written = sum(file.stat().st_size for file in path.parent.iterdir())
    return replace(sample, size=written / kept)


async def _time(do: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await do()
    return time.perf_counter() - began


async def _median(do: Callable[[], Awaitable[object]]) -> float:
    return sorted([await _time(do) for _ in range(_LOOKS)])[_LOOKS // 2]
