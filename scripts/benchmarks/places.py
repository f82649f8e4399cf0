"""Where a benchmark's files are, and whether they are what they were."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.benchmarks import bodies
from scripts.benchmarks.bodies import File
from scripts.benchmarks.clients import BenchmarkFailed
from scripts.benchmarks.contenders import Arrival

_MEMORY, _DISK = Path("/dev/shm"), Path("/var/tmp")  # noqa: S108 -- each run has a directory of its own in it


@contextmanager
def memory() -> Iterator[Path]:
    """Make a directory for what is served, in memory."""
    with _folder(_MEMORY) as folder:
        yield folder


@contextmanager
def disk() -> Iterator[Path]:
    """Make a directory for what is fetched, on the disk."""
    with _folder(_DISK) as folder:
        yield folder


@contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    if not parent.is_dir():
        raise BenchmarkFailed(f"there is no {parent}: the benchmark runs on Linux")
    with tempfile.TemporaryDirectory(prefix="stella-bench-", dir=parent) as made:
        yield Path(made)


def emptied(folder: Path) -> Path:
    """Make a folder anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def check(arrived: Iterable[tuple[File, Arrival]]) -> None:
    """Compare files with what the source has.

    Raises:
        BenchmarkFailed: one is not there, or is another.
    """
    for file, arrival in arrived:
        for path in arrival.files:
            if not path.exists():
                raise BenchmarkFailed(f"{path.name} is not there")
            if bodies.sha256(path) != file.sha256:
                raise BenchmarkFailed(f"{path.name} is not {file.name}")
