"""The outputs directory: what is in it, and what comes into it.

The order on disk is: bytes, fsync, verified, rename, fsync of the directory. A name
that is visible is whole. Nothing here waits for the disk on the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from functools import partial as bound
from pathlib import Path
from typing import ParamSpec, TypeVar

from materializer.errors import OutputHeld
from materializer.place.directory import is_name
from materializer.place.files import Files, Stamp
from materializer.place.group import GroupCommit, Step
from materializer.place.space import Space
from materializer.place.trouble import disk_trouble

P = ParamSpec("P")
T = TypeVar("T")


class Places:
    """The outputs directory and its `.partial/`.

    Every method raises DiskTrouble when the disk cannot take or give the file, and
    ValueError for a stem or name with a separator or a leading dot, which is a slip.

    Args:
        outputs: `<state>/media/outputs`. The state directory may be a link; no link
            below it may lead out of it.
        partial: the directory `.partial` in it, for part files and what is noted of
            them. It must be there.
    """

    def __init__(self, outputs: Path, partial: Path) -> None:
        self.outputs = outputs
        self.partial = partial
        self._files = Files(outputs, partial)
        self._space = Space(self.free)
        self._group = GroupCommit(self._files.sync)
        self._begun: dict[str, set[str]] = {}

    def part(self, stem: str, index: int) -> Path:
        """Return where the output's bytes are gathered until they are whole."""
        name = f"{stem}_{index}.part"
        if not is_name(name):
            raise ValueError(f"{stem!r} is no stem of a file's name")
        self._begun.setdefault(stem, set()).add(name)
        return self.partial / name

    def opener(self, path: str, flags: int) -> int:
        """Open a regular file that is directly in one of the two directories.

        To be given to `open` as its opener, in any thread. No link is followed, and a
        new file is its owner's alone.

        Raises:
            OSError: it cannot be opened.
        """
        return self._files.open(Path(path), flags)

    def present(
        self,
        stem: str,
        index: int,
        endings: Collection[str],
        *,
        job_id: str | None = None,
    ) -> Path | None:
        """Return the file that stands for an output already, if one does. It blocks.

        It is `<stem>_<index>.<ending>`; for the first output of a job also
        `<job_id>.<ending>`, as the reference app names what is no image. It may be
        anything: whoever takes it over verifies it, and then calls `adopt`.

        Raises:
            OutputHeld: another program holds the file's `.lock`, which is younger than
                LOCK_STALE seconds.
        """
        beginnings = [f"{stem}_{index}"]
        if index == 0 and job_id is not None and is_name(job_id):
            beginnings.append(job_id)
        names = [f"{begin}.{end}" for begin in beginnings for end in endings]
        with disk_trouble():
            if self._files.are_held(names):
                raise OutputHeld("another program is writing this file")
            found = self._files.first(names)
        return None if found is None else self.outputs / found

    async def names(self) -> list[str]:
        """Return the names of the files in the outputs directory, unsorted."""
        names = await self._run(self._files.names)
        return [name for name in names if is_name(name)]

    async def stamps(self, names: Collection[str]) -> dict[str, Stamp]:
        """Return what the disk says of those of the outputs that are there."""
        return await self._run(self._files.stamps, names)

    async def remove(self, name: str) -> None:
        """Remove an output, if it is there; a power cut does not bring it back."""
        await self._make(None, bound(self._files.unlink, name))

    async def require_free(self, keep: int) -> None:
        """Raise DiskTrouble unless more than `keep` bytes are free and not reserved."""
        await self._run(self._space.require, keep)

    def room(
        self, part: Path, *, keep: int
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Give a download its room on the disk, for the length of a block.

        The block gets a function that sets aside as many bytes as are still to come.
        It may be called in any thread, and raises DiskTrouble when less than `keep`
        bytes would be left.
        """
        return self._space.room(bound(self._files.written, part.name), keep)

    def free(self) -> int:
        """Return how many bytes the disk can still take. It blocks."""
        with disk_trouble():
            return self._files.free()

    async def commit(self, part: Path, name: str, *, synced: bool = False) -> Path:
        """Make a part file visible as `name`, so that a power cut cannot undo it.

        What has the name already gives way: the names of a job are its own, and what
        was worth keeping was adopted. `synced` says that the content of the part file
        survives a power cut already.

        Raises:
            OutputDamaged: the part file is gone.
        """
        sync = None if synced else bound(self._files.sync_part, part.name)
        await self._make(sync, bound(self._files.rename, part.name, name))
        stem, _, _ = part.name.rpartition("_")
        self._begun.get(stem, set()).discard(part.name)
        return self.outputs / name

    async def adopt(self, found: Path, name: str) -> Path:
        """Make a file that was present, and is verified, durable under `name`.

        One with another name gets this one as a second name, or is copied where that
        cannot be done; the first stays.

        Raises:
            OutputDamaged: it is gone.
        """
        if found.name == name:
            await self._make(bound(self._files.sync_output, name), lambda: None)
        else:
            # No part file: what goes on with one would write into the first name.
            link = f"{name}.link"
            put = bound(self._files.rename_link, link, name)
            await self._make(bound(self._files.link, found.name, link), put)
        return self.outputs / name

    async def sweep(self, stem: str) -> None:
        """Remove what a settled job has left in `.partial/`."""
        begun = self._begun.pop(stem, None)
        left = self._files.left
        if begun or left is None or stem in left:
            await self._run(self._files.sweep, lambda found: found == stem)

    async def sweep_all_but(self, stems: Collection[str]) -> None:
        """Remove what all jobs but these have left in `.partial/`."""
        await self._run(self._files.sweep, lambda found: found not in stems)

    async def _run(self, do: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with disk_trouble():
            return await asyncio.to_thread(do, *args, **kwargs)

    async def _make(self, prepare: Step | None, put: Step) -> None:
        with disk_trouble():
            await self._group.make(prepare, put)
