"""One output, from its promise to its place on the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from materializer import __version__, naming, outputs, structure
from materializer.config import Settings
from materializer.errors import (
    DiskTrouble,
    FetchError,
    OutputDamaged,
    OutputHeld,
    OutputRefused,
)
from materializer.fetch import Fetched, Fetcher, Guard, Order, Read, Rules, write
from materializer.model import Inline, Job, Output, Placed, Refused, Remote
from materializer.place import Places, disk_trouble
from materializer.sniff import is_page, sniff

Emit = Callable[[str, str, dict[str, Any]], None]
"""Tells local clients of an event: topic, type, data."""

_LOCK_STEP = 0.05
_LARGE = {"video", "model3d", "download"}


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of some outputs: the files, and why others are missing.

    Attributes:
        trouble: why the disk could not keep one of them.
    """

    placed: tuple[Placed, ...]
    errors: tuple[FetchError, ...]
    trouble: DiskTrouble | None = None


class Delivery:
    """Fetches, verifies, names and places outputs."""

    def __init__(self, fetcher: Fetcher, places: Places, settings: Settings) -> None:
        self._fetcher = fetcher
        self._places = places
        self._settings = settings

    def adopt(self, settings: Settings) -> None:
        """Go by other sizes and limits from the next output on."""
        self._settings = settings

    async def deliver_each(
        self, job: Job, wanted: Iterable[Output], stem: str, emit: Emit
    ) -> Delivered:
        """Deliver outputs side by side, whatever becomes of the others."""
        placed: list[Placed] = []
        errors: list[FetchError] = []
        troubles: list[DiskTrouble] = []

        async def attempt(output: Output) -> None:
            try:
                placed.append(await self.deliver(job, output, stem, emit))
            except FetchError as error:
                errors.append(error)
            except DiskTrouble as trouble:
                troubles.append(trouble)

        async with asyncio.TaskGroup() as group:
            for output in wanted:
                group.create_task(attempt(output))
        return Delivered(tuple(placed), tuple(errors), next(iter(troubles), None))

    async def deliver(self, job: Job, output: Output, stem: str, emit: Emit) -> Placed:
        """Fetch one output and put it in its place.

        Raises:
            FetchError: it could not be had this time.
            DiskTrouble: it could not be kept.
        """
        with disk_trouble():
            fetched = await self._gather(job, output, stem, emit)
        media = sniff(fetched.head)
        extension = naming.extension(output, media, fetched.content_type)
        name = naming.file_name(stem, output.index, extension)
        if fetched.adopted:
            path = await self._places.adopt(fetched.path, name)
        else:
            synced = fetched.synced
            path = await self._places.commit(fetched.path, name, synced=synced)
        return Placed(
            output.index,
            outputs.kind(output, media),
            str(path),
            fetched.size,
            fetched.sha256,
            naming.mime_type(output, media, fetched.content_type),
            width=media.width if media else None,
            height=media.height if media else None,
            duration_ms=media.duration_ms if media else None,
            label=output.label,
            text=_text(output),
            companion=output.companion,
        )

    async def _gather(self, job: Job, output: Output, stem: str, emit: Emit) -> Fetched:
        places, keep = self._places, self._settings.min_free_space
        part = places.part(stem, output.index)
        match output.source:
            case Refused(reason):
                raise OutputRefused(reason)
            case Inline(data):
                await places.require_free(keep)
                return await write(data, part, places.opener)
            case Remote(url):
                with places.room(part, keep=keep) as reserve:
                    order = Order(
                        url,
                        part,
                        limit=self._limit(output),
                        large=output.kind in _LARGE,
                        present=partial(
                            places.present,
                            stem,
                            output.index,
                            naming.endings(output),
                            job_id=job.job_id,
                        ),
                        opener=places.opener,
                        reserve=reserve,
                        check=_check,
                        progress=_progress(job, output, emit),
                    )
                    while True:
                        try:
                            return await self._fetcher.download(order)
                        except OutputHeld:
                            await asyncio.sleep(_LOCK_STEP)

    def _limit(self, output: Output) -> int:
        limits = self._settings.max_bytes
        return int(getattr(limits, output.kind, limits.download))


def fetcher(settings: Settings) -> Fetcher:
    """Return the downloader that the settings describe. Close it when done."""
    rules = Rules(
        at_once=settings.max_concurrent_downloads,
        per_host=settings.max_per_host,
        idle_timeout=settings.idle_timeout,
        bandwidth=settings.max_bandwidth,
        plain=settings.transport == "httpx",
    )
    guard = Guard(settings.allow_private_hosts)
    return Fetcher(guard, rules, user_agent=f"stella-materializer/{__version__}")


def _check(head: bytes, size: int, read: Read) -> None:
    """Raise OutputDamaged for a web page, and for what ends before its own end."""
    media = sniff(head)
    if is_page(media):
        raise OutputDamaged("its source sent a web page instead of the file")
    flaw = structure.flaw(media, size, read) if media else None
    if flaw is not None:
        raise OutputDamaged(f"what its source sent is cut short: {flaw}")


def _progress(
    job: Job, output: Output, emit: Emit
) -> Callable[[int, int | None], None]:
    def progress(received: int, total: int | None) -> None:
        data = {"jobId": job.job_id, "index": output.index}
        data["receivedBytes"] = received
        if total is not None:
            data["totalBytes"] = total
        emit("download", "progress", data)

    return progress


def _text(output: Output) -> str | None:
    if output.kind == "text" and isinstance(output.source, Inline):
        return None if output.companion else output.source.data.decode()
    return None
