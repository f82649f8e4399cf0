"""Sees to it that every picture of the gallery has its preview, in good time."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from materializer.errors import DiskTrouble
from materializer.gallery import Gallery
from materializer.gallery import thumbnails as entries
from materializer.gallery.thumbnails import NEWEST, Due
from materializer.place import Places, disk_trouble
from materializer.thumbnails import process
from materializer.thumbnails.shelf import Shelf

log = logging.getLogger(__name__)

_QUIET = 1.0  # seconds without an announcement after which previews slow down none
_AT_MOST = 10.0  # seconds to wait for that
_BATCH = 32
_PAGE = 5000


class Thumbnails:
    """Makes previews of what is announced, and of what lacks one at the start.

    Args:
        emit: tells local clients of an account's preview: owner, topic, type, data.

    Attributes:
        keep: bytes of the disk that are left free.
    """

    def __init__(
        self,
        gallery: Gallery,
        places: Places,
        shelf: Shelf,
        *,
        keep: int,
        emit: Callable[[str, str, str, dict[str, Any]], None],
    ) -> None:
        self._gallery = gallery
        self._places = places
        self._shelf = shelf
        self.keep = keep
        self._emit = emit
        self._due = asyncio.Event()
        self._due.set()  # an earlier run may have left some

    def wake(self) -> None:
        """Look for pictures without a preview soon: some came, or have changed."""
        self._due.set()

    async def run(self) -> None:
        """Make previews until cancelled; return when none can be made here."""
        if not process.is_possible():
            log.debug("no thumbnails: they need the extra `thumbnails`, and no Windows")
            return
        compared = False
        while True:
            await self._due.wait()
            await self._calm()
            try:
                with disk_trouble():
                    if not compared:
                        await self._compare()
                        compared = True
                    possible = await self._make_due()
            except DiskTrouble as error:
                log.info("thumbnails wait: %s", error)
            else:
                if not possible:
                    log.debug("no thumbnails: Pillow cannot be loaded")
                    return

    async def _calm(self) -> None:
        """Return when nothing more has come for a while, or has come for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_AT_MOST):
                while self._due.is_set():
                    self._due.clear()
                    await asyncio.sleep(_QUIET)

    async def _compare(self) -> None:
        """Let what was lost be due again, and remove what is nobody's."""
        there = await asyncio.to_thread(self._shelf.names)
        after = 0
        while page := await self._gallery.read(entries.recorded, after, _PAGE):
            lost = [n for n, name in page if name not in there]
            if lost:
                await self._gallery.write(entries.lost, lost)
            there.difference_update(name for _, name in page)
            after, _ = page[-1]
        await asyncio.to_thread(self._shelf.sweep, there)

    async def _make_due(self) -> bool:
        """Make every preview that is due; return whether that is possible at all."""
        before = NEWEST
        while batch := await self._gallery.read(entries.due, before, _BATCH):
            await self._places.require_free(self.keep)
            pictures = await asyncio.to_thread(self._open, batch)
            last = batch[-1]  # files that are not there are passed over
            if pictures:
                heard = await self._make(pictures)
                if not heard:
                    return False
                last = heard[-1] if len(heard) < len(pictures) else last
            before = last.n
        return True

    def _open(self, batch: Sequence[Due]) -> dict[Due, int]:
        pictures = {}
        for due in batch:
            with suppress(OSError):  # gone, or nothing to open: the gallery says so
                path = self._places.outputs / due.file_name
                pictures[due] = self._places.opener(str(path), os.O_RDONLY)
        return pictures

    async def _make(self, pictures: Mapping[Due, int]) -> list[Due]:
        """Make previews of open files, and close those; return which were heard of."""
        heard: list[Due] = []
        try:
            waiting = iter(pictures)
            async with aclosing(process.previews([*pictures.values()])) as previews:
                async for preview in previews:
                    heard.append(next(waiting))
                    await self._keep_one(heard[-1], preview)
        finally:
            for descriptor in pictures.values():
                os.close(descriptor)
        return heard

    async def _keep_one(self, due: Due, preview: bytes) -> None:
        name = ""
        if preview:
            name = await asyncio.to_thread(self._shelf.put, due.file_name, preview)
        if not await self._gallery.write(entries.record, due, name):
            await asyncio.to_thread(self._shelf.remove, due.file_name)
        elif name:
            self._emit(due.owner, "gallery", "thumbnail", {"id": due.id})
