"""What a process and its database take, and whether that has grown."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

MIB = 2**20
MOST_WAL = 16 * MIB
MOST_LOG = 8 * MIB
MOST_HELPERS = 256 * MIB
_SLACK = 0.05
_COMING_AND_GOING = 2
_WORKING_SET = 4 * MIB
_UPKEEP = 0.25
_PAGES = MIB // 4


@dataclass(frozen=True, slots=True)
class Sample:
    """What there was at one moment; sizes are in bytes.

    Attributes:
        jobs: that had come by then.
        memory: resident, of the daemon.
        helpers: the same, of what it has started.
        handles: open files and sockets of the daemon.
    """

    jobs: int
    memory: int
    helpers: int
    handles: int
    threads: int
    database: int
    wal: int
    logs: int


Measure: TypeAlias = Callable[[Sample], float]


@dataclass(frozen=True, slots=True)
class Row:
    """A figure early in the run, late in it, and whether it was flat."""

    what: str
    early: float
    late: float
    most: float
    flat: bool


def look(pid: int, state: Path, jobs: int) -> Sample:
    """Take a sample of a daemon that runs."""
    process = Path(f"/proc/{pid}")
    children = (process / "task" / str(pid) / "children").read_text("utf-8")
    gallery = state / "media/gallery.db"
    return Sample(
        jobs=jobs,
        memory=_resident(process),
        helpers=sum(_resident(Path("/proc", child)) for child in children.split()),
        handles=sum(1 for _ in (process / "fd").iterdir()),
        threads=sum(1 for _ in (process / "task").iterdir()),
        database=_size([gallery]),
        wal=_size([gallery.with_name("gallery.db-wal")]),
        logs=_size((state / "materializer/logs").iterdir()),
    )


def judge(rests: Sequence[Sample], samples: Sequence[Sample]) -> list[Row]:
    """Say what was flat.

    What is taken and given back all the time is compared at the first rest and at the
    last. The database may grow by as many bytes a job as before; the rest has limits.
    """
    rows = []
    of: Measure
    for what, of, slack in (
        ("memory", lambda it: it.memory, _WORKING_SET),
        ("open files and sockets", lambda it: it.handles, _COMING_AND_GOING),
        ("threads", lambda it: it.threads, _COMING_AND_GOING),
    ):
        before, after = of(rests[0]), of(rests[-1])
        flat = after <= before * (1 + _SLACK) + slack
        rows.append(Row(what, before, after, _most(of, [*samples, *rests]), flat))
    rows.append(_database(samples))
    half = len(samples) // 2
    for what, of, limit in (
        ("write-ahead log", lambda it: it.wal, MOST_WAL),
        ("logs", lambda it: it.logs, MOST_LOG),
        ("memory of the maker of previews", lambda it: it.helpers, MOST_HELPERS),
    ):
        most = _most(of, samples)
        early, late = _most(of, samples[: half + 1]), _most(of, samples[half:])
        rows.append(Row(what, early, late, most, most <= limit))
    return rows


def _most(of: Measure, part: Sequence[Sample]) -> float:
    return max(map(of, part))


def _database(samples: Sequence[Sample]) -> Row:
    """Compare what a job takes in its second half with the first."""
    last = samples[-1]
    half = next(it for it in samples if it.jobs * 2 >= last.jobs)
    grown = last.database - half.database
    before = half.database / max(1, half.jobs)
    after = grown / max(1, last.jobs - half.jobs)
    flat = grown <= half.database * (1 + _UPKEEP) + _PAGES
    return Row("database, bytes a job", before, after, max(before, after), flat)


def table(rows: Iterable[Row]) -> list[str]:
    """Return the rows as a table."""
    lines = ["| of the daemon | early | late | at most | |", "|---|--:|--:|--:|---|"]
    for row in rows:
        figures = (row.early, row.late, row.most)
        cells = " | ".join(
            f"{figure / MIB:.1f} MiB" if row.most > 64 * 1024 else f"{figure:.0f}"
            for figure in figures
        )
        lines.append(f"| {row.what} | {cells} | {'flat' if row.flat else 'GROWN'} |")
    return lines


def _resident(process: Path) -> int:
    try:
        pages = (process / "statm").read_text("utf-8").split()[1]
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return 0
    return int(pages) * resource.getpagesize()


def _size(paths: Iterable[Path]) -> int:
    size = 0
    for path in paths:
        try:
            size += path.stat().st_size
        except FileNotFoundError:  # it was put away meanwhile
            continue
    return size
