"""One output, from its promise to its place on the disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from materializer import naming, outputs
from materializer.config import Settings
from materializer.errors import (
    DiskTrouble,
    FetchError,
    OutputDamaged,
    OutputRefused,
)
from materializer.fetch import Fetched, Fetcher, write
from materializer.model import Inline, Job, Output, Placed, Refused, Remote
from materializer.place import Places, disk_trouble
from materializer.sniff import is_page, sniff

Emit = Callable[[str, str, dict[str, Any]], None]
"""Tells local clients of an event: topic, type, data."""

_PROGRESS = 0.25


class Delivery:
    """Fetches, verifies, names and places outputs, a limited number at once."""

    def __init__(self, fetcher: Fetcher, places: Places, settings: Settings) -> None:
        self._fetcher = fetcher
        self._places = places
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.max_concurrent_downloads)

    async def deliver_each(
        self, job: Job, wanted: Iterable[Output], stem: str, emit: Emit
    ) -> tuple[list[Placed], list[FetchError]]:
        """Deliver outputs side by side; return the files, and why others are missing.

        Raises:
            DiskTrouble: they could not be kept.
        """
        placed: list[Placed] = []
        errors: list[FetchError] = []

        async def attempt(output: Output) -> None:
            try:
                placed.append(await self.deliver(job, output, stem, emit))
            except FetchError as error:
                errors.append(error)

        try:
            async with asyncio.TaskGroup() as group:
                for output in wanted:
                    group.create_task(attempt(output))
        except* DiskTrouble as trouble:
            raise trouble.exceptions[0] from None
        return placed, errors

    async def deliver(self, job: Job, output: Output, stem: str, emit: Emit) -> Placed:
        """Fetch one output and put it in its place.

        Raises:
            FetchError: it could not be had this time.
            DiskTrouble: it could not be kept.
        """
        async with self._slots:
            with disk_trouble():
                fetched = await self._gather(job, output, stem, emit)
            media = sniff(fetched.head)
            if isinstance(output.source, Remote) and is_page(media):
                raise OutputDamaged("its source sent a web page instead of the file")
            path = fetched.path
            if not fetched.adopted:
                extension = naming.extension(output, media, fetched.content_type)
                name = naming.file_name(stem, output.index, extension)
                path = await self._places.commit(path, name)
        return Placed(
            output.index,
            outputs.kind(output, media),
            str(path),
            fetched.size,
            fetched.sha256,
            naming.mime_type(output, media, fetched.content_type),
            width=media.width if media else None,
            height=media.height if media else None,
            label=output.label,
            text=_text(output),
            companion=output.companion,
        )

    async def _gather(self, job: Job, output: Output, stem: str, emit: Emit) -> Fetched:
        part = self._places.part(stem, output.index)
        match output.source:
            case Refused(reason):
                raise OutputRefused(reason)
            case Inline(data):
                return await write(data, part)
            case Remote(url):
                await self._places.require_free(self._settings.min_free_space)
                return await self._fetcher.download(
                    url,
                    part,
                    limit=self._limit(output),
                    present=await self._places.present(stem, output.index),
                    progress=_progress(job, output, emit),
                )

    def _limit(self, output: Output) -> int:
        limits = self._settings.max_bytes
        return int(getattr(limits, output.kind, limits.download))


def _progress(
    job: Job, output: Output, emit: Emit
) -> Callable[[int, int | None], None]:
    said = time.monotonic()

    def progress(received: int, total: int | None) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said < _PROGRESS:
            return
        said = now
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
