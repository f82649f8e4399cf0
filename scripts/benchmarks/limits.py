"""What the disk alone takes for all that ours asks of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

# What a job adds to the gallery's log: a dozen pages with their heads.
_LOG = bytes(12 * (4096 + 24))


class Disk:
    """Files in one directory, and a log beside them.

    Args:
        folder: an empty directory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = (folder / "log").open("wb", buffering=0)
        # The gallery's log is as long as it will be, too: it is written over.
        self._log.write(_LOG)
        os.fsync(self._log.fileno())
        self._kept = 0

    def keep(self, data: bytes) -> float:
        """Write a file so that no power cut undoes it, and log it; return the ms."""
        self._kept += 1
        part = self._folder / f"{self._kept}.part"
        began = time.perf_counter()
        with part.open("wb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())
        part.rename(part.with_suffix(".png"))
        directory = os.open(self._folder, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        os.pwrite(self._log.fileno(), _LOG, 0)
        os.fdatasync(self._log.fileno())
        return (time.perf_counter() - began) * 1e3

    def close(self) -> None:
        """Close the log."""
        self._log.close()
