"""Part file -> its final name, durably.

The order on disk is: bytes, fsync, verified, rename, fsync of the directory. A name
that is visible is whole. Nothing here runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from materializer.errors import DiskTrouble

_FULL = {errno.ENOSPC, errno.EDQUOT}


class Places:
    """The outputs directory and its `.partial/`.

    Every method raises DiskTrouble when the disk cannot take or give the file.
    """

    def __init__(self, outputs: Path, partial: Path) -> None:
        self.outputs = outputs
        self.partial = partial

    def part(self, stem: str, index: int) -> Path:
        """Return where the output's bytes are gathered until they are whole."""
        return self.partial / f"{stem}_{index}.part"

    async def present(self, stem: str, index: int) -> Path | None:
        """Return the file that stands under the output's final name, if one does."""
        return await asyncio.to_thread(self._present, f"{stem}_{index}.")

    def _present(self, beginning: str) -> Path | None:
        with disk_trouble(), os.scandir(self.outputs) as entries:
            for entry in entries:
                if entry.name.startswith(beginning) and entry.is_file(
                    follow_symlinks=False
                ):
                    return Path(entry.path)
        return None

    async def require_free(self, reserve: int) -> None:
        """Raise DiskTrouble unless more than `reserve` bytes are free."""
        free = await asyncio.to_thread(self.free)
        if free <= reserve:
            raise DiskTrouble(
                f"only {free >> 20} MiB are free and min_free_space keeps"
                f" {reserve >> 20} MiB: free some space, and it goes on by itself"
            )

    def free(self) -> int:
        """Return how many bytes the disk can still take."""
        with disk_trouble():
            return shutil.disk_usage(self.outputs).free

    async def commit(self, part: Path, name: str) -> Path:
        """Make a part file visible as `name`, so that a power cut cannot undo it."""
        return await asyncio.to_thread(self._commit, part, self.outputs / name)

    def _commit(self, part: Path, final: Path) -> Path:
        with disk_trouble():
            _sync(part)
            part.replace(final)
            _sync_directory(final.parent)
        return final

    async def sweep(self, stem: str) -> None:
        """Remove what a settled job has left in `.partial/`."""
        await asyncio.to_thread(self._sweep, f"{stem}_")

    def _sweep(self, beginning: str) -> None:
        with disk_trouble(), os.scandir(self.partial) as entries:
            for entry in entries:
                if entry.name.startswith(beginning):
                    Path(entry.path).unlink(missing_ok=True)


@contextmanager
def disk_trouble() -> Iterator[None]:
    """Turn an error of the file system into DiskTrouble, in words for a person."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            say = "the disk is full: free some space, and it goes on by itself"
        else:
            say = f"the outputs directory cannot be used: {error.strerror or error}"
        raise DiskTrouble(say) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_directory(path: Path) -> None:
    if os.name == "nt":  # has no handles of directories; NTFS journals the rename
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
