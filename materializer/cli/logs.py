"""`stella-materializer logs`: what the daemon has logged, and goes on to log."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import click

from materializer import watch
from materializer.cli import options
from materializer.errors import MaterializerError
from materializer.logs import FILE_NAME


@click.command()
@options.state_dir
@options.config
@click.option("-f", "--follow", is_flag=True, help="Go on until interrupted.")
@click.option("-n", "--lines", default=50, metavar="N", help="How many at first [50].")
def logs(follow: bool, lines: int, **flags: Any) -> None:
    """Print the newest lines of the daemon's log."""
    path = options.read(**flags).paths.logs / FILE_NAME
    with _Log(path) as log:
        newest = deque(log.rest(), maxlen=max(0, lines))
        if not (newest or follow or path.exists()):
            raise MaterializerError(f"there is no log yet: {path} does not exist")
        _print(newest)
        if follow:
            asyncio.run(_follow(path, log))


async def _follow(path: Path, log: _Log) -> None:
    changed = asyncio.Event()

    async def listen() -> None:
        async for _ in watch.changes(path):
            changed.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen())
        while True:
            await asyncio.sleep(0)  # the first time, listening begins before the look
            _print(log.rest())
            await changed.wait()
            changed.clear()


class _Log(ExitStack):
    """A log file that is read on, also over its turning over; within `with`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file: BinaryIO | None = None
        self._begun = b""

    def rest(self) -> list[str]:
        """Return the whole lines that have come since."""
        data = self._read()
        if self._turned_over():
            data += self._read()
        *whole, self._begun = (self._begun + data).split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]

    def _read(self) -> bytes:
        return self._file.read() if self._file else b""

    def _turned_over(self) -> bool:
        try:
            fresh = self._path.open("rb")
        except FileNotFoundError:
            return False
        if self._file and os.path.sameopenfile(self._file.fileno(), fresh.fileno()):
            fresh.close()
            return False
        self.close()
        self._file = self.enter_context(fresh)
        return True


def _print(lines: deque[str] | list[str]) -> None:
    for line in lines:
        click.echo(line)
