"""Keeps the gallery true to the outputs directory, whoever changes that.

A file that somebody deletes is missing for as long as it is away, and is not fetched
again: its row says that it was had. One that somebody changes, and that is whole, is
taken as it is now; anything else that is there in its place is damage. While the disk
itself is away, nothing is concluded from that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from materializer import naming, watch
from materializer.errors import DiskTrouble
from materializer.gallery import Gallery, files, ledger
from materializer.gallery.files import Entry, Found
from materializer.inspection import Inspected, inspect
from materializer.model import Kind
from materializer.place import Places, disk_trouble
from materializer.thumbnails.shelf import Shelf

T = TypeVar("T")

log = logging.getLogger(__name__)

_PAGE = 500
"""So many files are compared at a time, so that nobody waits for all of them."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What `rebuild` has come to.

    Attributes:
        added: how many files have been entered.
        damaged: the names of those that were not, as they are not whole.
    """

    added: int
    damaged: tuple[str, ...]


class Inventory:
    """The gallery and the outputs directory, compared.

    Methods raise DiskTrouble when the disk does not play along.

    Args:
        emit: tells local clients what happens to an account's files: owner, topic,
            type, data.
        on_change: called after the gallery has changed.
    """

    def __init__(
        self,
        gallery: Gallery,
        places: Places,
        shelf: Shelf,
        *,
        emit: Callable[[str, str, str, dict[str, Any]], None],
        on_change: Callable[[], None],
    ) -> None:
        self._gallery = gallery
        self._places = places
        self._shelf = shelf
        self._emit = emit
        self._on_change = on_change
        self._missing: set[str] = set()
        self._due: set[str] = set()
        self._all_due = False
        self._bell = asyncio.Event()

    async def follow(self) -> None:
        """Take note of what others do to the files, until cancelled.

        What was done before it began is no event, except that a file was changed.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            silent = True
            while True:
                await self._bell.wait()
                self._bell.clear()
                everything, self._all_due = self._all_due, False
                names, self._due = self._due, set()
                try:
                    if everything:
                        await self._survey(silent=silent)
                        silent = False
                    with disk_trouble():
                        entries = await self._gallery.read(files.named, names)
                    await self._compare(entries)
                except DiskTrouble as error:  # which says nothing about the files
                    log.info("cannot look at the outputs: %s", error)

    async def remove(self, owner: str, item_id: str, *, delete_file: bool) -> bool:
        """Take an item out of the gallery for ever; return whether there was one.

        `delete_file` removes its files as well; they are gone before the item is, so
        that what fails can be asked for again.
        """
        with disk_trouble():
            names = await self._gallery.read(files.of_item, owner, item_id)
        if delete_file:
            for name in names:
                await self._places.remove(name)
        with disk_trouble():
            removed = await self._gallery.write(files.remove, owner, item_id, _now())
        if removed:
            self._missing.difference_update(names)
            with disk_trouble():
                await asyncio.to_thread(self._shelf.remove, names[0])
            log.info("item %s was removed by the person", item_id)
            self._emit(owner, "gallery", "removed", {"id": item_id})
            self._on_change()
        return removed

    async def rebuild(self) -> Rebuilt:
        """Enter the files that the gallery does not know, without announcing them.

        A file whose job is not known belongs to the last owner; when nobody ever signed
        in, to '', which is shown until somebody does, who then has it. What was removed
        stays removed, and nothing is entered twice.
        """
        with disk_trouble():
            owner = await self._gallery.read(ledger.last_owner)
            if owner is None:
                await self._gallery.write(ledger.signed_in, owner := "")
        added, damaged = 0, list[str]()
        names = sorted(await self._places.names())
        ours = {name: place for name in names if (place := naming.read(name))}
        transcripts = _transcripts(ours)
        for page in _pages(ours):
            with disk_trouble():
                known = await self._gallery.read(files.named, page)
            found = []
            for name in sorted({*page} - {entry.file_name for entry in known}):
                stem, index = ours[name]
                kind: Kind | None = "text" if stem in transcripts else None
                companion = kind == "text" and index == 1
                one = await self._inspect(name, index, kind, companion=companion)
                if one is not None and one.flaw is None:
                    found.append(Found(stem, one.placed, one.written_at))
                elif one is not None:
                    damaged.append(name)
            with disk_trouble():
                added += await self._gallery.write(files.enter, owner, found)
        if added:
            self._emit(owner, "gallery", "rebuilt", {"added": added})
            self._on_change()
        return Rebuilt(added, tuple(damaged))

    async def _listen(self) -> None:
        async for names in watch.entries(self._places.outputs):
            self._all_due = self._all_due or names is None
            self._due |= names or frozenset()
            self._bell.set()

    async def _survey(self, *, silent: bool) -> None:
        """Compare all files, a page at a time; `silent` tells of no absence."""
        last = 0
        while True:
            with disk_trouble():
                page = await self._gallery.read(files.after, last, _PAGE)
            await self._compare(page, silent=silent)
            if len(page) < _PAGE:
                return
            last = page[-1].n

    async def _compare(self, entries: Sequence[Entry], *, silent: bool = False) -> None:
        there = await self._places.stamps([entry.file_name for entry in entries])
        for entry in entries:
            stamp = there.get(entry.file_name)
            if stamp is None:
                self._note_missing(entry, silent=silent)
                continue
            if entry.file_name in self._missing:
                self._missing.discard(entry.file_name)
                self._tell(entry, "found")
                self._on_change()
            if stamp.bytes != entry.bytes or stamp.written_at > entry.saved_at:
                await self._take_over(entry)

    def _note_missing(self, entry: Entry, *, silent: bool) -> None:
        if entry.file_name in self._missing:
            return
        self._missing.add(entry.file_name)
        if not silent:
            self._tell(entry, "missing")

    async def _take_over(self, entry: Entry) -> None:
        """Enter what a file has become, if that is whole."""
        now = await self._inspect(
            entry.file_name, entry.index, entry.kind, companion=entry.companion
        )
        if now is None:
            return
        if now.flaw is not None:
            self._tell(entry, "damaged")
            return
        with disk_trouble():
            await self._gallery.write(
                files.change, entry, now.placed, max(now.written_at, entry.saved_at)
            )
        if now.placed.sha256 != entry.sha256:
            self._tell(entry, "changed")
            self._on_change()

    async def _inspect(
        self, name: str, index: int, kind: Kind | None, *, companion: bool
    ) -> Inspected | None:
        """Read a file, unless it cannot be read just now."""
        try:
            return await asyncio.to_thread(
                inspect, self._places, name, index, kind, companion=companion
            )
        except OSError as error:
            log.info("cannot read %s: %s", name, error.strerror)
            return None

    def _tell(self, entry: Entry, what: str) -> None:
        log.info("%s: %s by somebody else", entry.file_name, what)
        if not entry.companion:
            self._emit(entry.owner, "gallery", what, {"id": entry.id})


def _transcripts(names: Iterable[str]) -> set[str]:
    """Return the stems of the jobs whose text and whole output stand together."""
    there = {*names}
    texts = (name.removesuffix("_0.txt") for name in there if name.endswith("_0.txt"))
    return {stem for stem in texts if f"{stem}_1.json" in there}


def _pages(names: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(names)
    while page := list(islice(rest, _PAGE)):
        yield page


def _now() -> int:
    return time.time_ns() // 1_000_000
