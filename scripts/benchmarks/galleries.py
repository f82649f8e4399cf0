"""The galleries that are compared, and the jobs that they are filled with."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from materializer.gallery import Gallery, items, ledger
from materializer.gallery.items import Wanted
from materializer.model import Account, Job, Kind, Placed, Query, Settlement
from materializer.plan import Work, payloads
from scripts.benchmarks.clients import BenchmarkFailed

CAP = 300
_PAGE = 50
_AT_ONCE = 500
_BEGAN = 1_760_000_000_000
_WORDS = (
    "a red fox jumps over the lazy dog in golden evening light cinematic portrait of an"
    " old sailor watercolor highly detailed skyline at night with neon reflections"
).split()
_SORTS: tuple[tuple[str, Kind, str], ...] = (
    ("text_to_image", "image", "png"),
    ("icon", "image", "png"),
    ("image_to_video", "video", "mp4"),
    ("text_to_music", "audio", "mp3"),
)
_ACCOUNT = Account(
    "https://happy-animal-123.convex.cloud",
    "https://happy-animal-123.convex.site|k57dmsy0r4v1m2b8h1p9x6q3zs7ab1cd",
)


class Shelf(Protocol):
    """A gallery that is measured."""

    async def start(self) -> None:
        """Open what is on the disk."""

    async def fill(self, jobs: Iterator[Job]) -> None:
        """Enter jobs; it is not measured."""

    async def add(self, jobs: list[Job]) -> None:
        """Enter jobs that come in one burst."""

    async def page(self, *, last: bool = False, search: str | None = None) -> int:
        """Look up one page; return how many items it is a part of."""

    async def stop(self) -> None:
        """Close it."""


class Ours:
    """The gallery of this program."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._gallery: Gallery | None = None

    @property
    def _opened(self) -> Gallery:
        if self._gallery is None:
            raise BenchmarkFailed("the gallery is not open")
        return self._gallery

    async def start(self) -> None:
        """Open what is on the disk."""
        outputs = self._path.parent
        self._gallery = await asyncio.to_thread(Gallery.open, self._path, outputs)

    async def fill(self, jobs: Iterator[Job]) -> None:
        """Enter jobs; it is not measured."""
        await self._opened.write(ledger.cursors, _ACCOUNT, first=_BEGAN)
        while part := list(islice(jobs, _AT_ONCE)):
            await self._opened.write(_enter, part)

    async def add(self, jobs: list[Job]) -> None:
        """Enter jobs, each by the two transactions of the pipeline."""
        async with asyncio.TaskGroup() as tasks:
            for job in jobs:
                tasks.create_task(self._add(job))

    async def page(self, *, last: bool = False, search: str | None = None) -> int:
        """Look up one page; return how many items it is a part of."""
        cursor = f"{_BEGAN + _PAGE}:" if last else None
        wanted = Wanted(_PAGE, cursor, search=search)
        return (await self._opened.read(items.page, _ACCOUNT.owner, wanted)).total

    async def stop(self) -> None:
        """Close it."""
        await self._opened.close()

    async def _add(self, job: Job) -> None:
        work = [Work(job, "register")]
        await self._opened.write(ledger.remember, _ACCOUNT, work)
        await self._opened.write(
            ledger.settle, _ACCOUNT, _settlement(job), job.finished_at, _reached(job)
        )


class JsonFile:
    """A list in one file, all of which is written at each change.

    Args:
        path: of the file.
        cap: how many of the newest it keeps; None is all.
    """

    def __init__(self, path: Path, cap: int | None) -> None:
        self._path = path
        self._cap = cap
        self._items: list[dict[str, Any]] = []

    async def start(self) -> None:
        """Read the file."""
        if self._path.exists():
            self._items = json.loads(self._path.read_text("utf-8"))

    async def fill(self, jobs: Iterator[Job]) -> None:
        """Enter jobs and write them once; it is not measured."""
        self._items += map(_item, jobs)
        self._write()

    async def add(self, jobs: list[Job]) -> None:
        """Enter jobs, and write the file after each."""
        for job in jobs:
            self._items.append(_item(job))
            self._write()

    async def page(self, *, last: bool = False, search: str | None = None) -> int:
        """Look up one page; return how many items it is a part of."""
        words = (search or "").split()
        found = [
            item
            for item in self._items
            if all(f" {word}" in f" {item['prompt']}" for word in words)
        ]
        found.sort(key=lambda item: (-item["createdAt"], item["id"]))
        shown = found[-_PAGE:] if last else found[:_PAGE]
        return len(found) if shown else 0

    async def stop(self) -> None:
        """Forget the list."""
        self._items = []

    def _write(self) -> None:
        if self._cap is not None:
            self._items = self._items[-self._cap :]
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._items), "utf-8")
        new.replace(self._path)


GALLERIES: dict[str, Callable[[Path], Shelf]] = {
    "ours": Ours,
    "JSON file": partial(JsonFile, cap=None),
    f"JSON file, {CAP} newest": partial(JsonFile, cap=CAP),
}


def jobs_of(start: int, end: int) -> Iterator[Job]:
    """Make jobs; the same number is always the same job."""
    for number in range(start, end):
        chance = random.Random(number)  # noqa: S311 -- makes samples, guards nothing
        yield Job(
            f"{chance.getrandbits(160):032x}"[:32],
            "succeeded",
            chance.choice(_SORTS)[0],
            profile="best",
            prompt=" ".join(chance.choices(_WORDS, k=16)),
            aspect_ratio="1:1",
            created_at=_BEGAN + number,
            completed_at=_BEGAN + number + 1,
        )


def _placed(job: Job) -> Placed:
    kind, extension = next(sort[1:] for sort in _SORTS if sort[0] == job.capability)
    path = f"/outputs/{job.job_id}_0.{extension}"
    digest = job.job_id * 2
    return Placed(0, kind, path, 123_456, digest, "image/png", width=1024, height=1024)


def _settlement(job: Job) -> Settlement:
    placed = _placed(job)
    told = tuple(payloads(job, [placed]))
    return Settlement(job, "done", (placed,), told, attempts=1)


def _enter(db: sqlite3.Connection, jobs: list[Job]) -> None:
    ledger.remember(db, _ACCOUNT, [Work(job, "register") for job in jobs])
    for job in jobs:
        ledger.settle(db, _ACCOUNT, _settlement(job), job.finished_at, _reached(job))


def _reached(job: Job) -> dict[Query, int]:
    return {"succeeded": job.finished_at}


def _item(job: Job) -> dict[str, Any]:
    placed = _placed(job)
    return {
        "id": f"{job.job_id}_0",
        "jobId": job.job_id,
        "kind": placed.kind,
        "path": placed.path,
        "bytes": placed.bytes,
        "sha256": placed.sha256,
        "mimeType": placed.mime_type,
        "prompt": job.prompt,
        "capability": job.capability,
        "createdAt": job.finished_at,
    }
