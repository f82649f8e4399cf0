"""The directory of the previews: all of it can be removed and is made again.

Methods block, and raise what `place.Directory` raises: OSError when the disk does not
play along, DiskTrouble when a link leads out of the state directory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path, PurePath

from materializer.place.directory import Directory, is_name

_OURS = re.compile(r"\.webp(\.part)?$")


def name_of(file_name: str) -> str:
    """Return the name of the preview of an output's file."""
    return f"{PurePath(file_name).stem}.webp"


class Shelf:
    """The previews of one state directory.

    Args:
        path: `<state>/media/thumbnails`, made when there is something to put there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> set[str]:
        """Return the names of the previews that are there, half ones included."""
        try:
            names = self._directory().names()
        except FileNotFoundError:
            return set()
        return {name for name in names if is_name(name) and _OURS.search(name)}

    def put(self, file_name: str, preview: bytes) -> str:
        """Keep the preview of an output's file, whole, and return its name."""
        self._path.mkdir(0o700, exist_ok=True)
        directory, name = self._directory(), name_of(file_name)
        part = f"{name}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(directory.open_file(part, flags), "wb") as file:
            file.write(preview)
            file.flush()
            # An empty one after a power cut would never be missed.
            os.fsync(file.fileno())
        directory.move(part, directory, name)
        return name

    def remove(self, file_name: str) -> None:
        """Remove the preview of an output's file, if there is one."""
        self.sweep([name_of(file_name)])

    def sweep(self, names: Collection[str]) -> None:
        """Remove what has one of these names."""
        try:
            directory = self._directory()
        except FileNotFoundError:
            return
        for name in names:
            directory.unlink(name)

    def _directory(self) -> Directory:
        return Directory.open(self._path, within=self._path.parents[1])
