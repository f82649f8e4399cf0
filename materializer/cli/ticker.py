"""How a job that is waited for fares: a line a change, or one line that moves."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import click

from materializer import wording

T = TypeVar("T")

_TICK = 1.0
_TAKE_AWAY = "\r\x1b[2K"


class Ticker:
    """Tells on standard error how one job fares.

    Args:
        job_id: the job.
        silent: whether nothing is to be told.
    """

    def __init__(self, job_id: str, *, silent: bool) -> None:
        self._job_id = job_id
        self._silent = silent
        self._moving = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._status = ""
        self._since = time.monotonic()

    def tell(self, status: str) -> None:
        """Tell the job's status, if it is another one."""
        if status == self._status:
            return
        self._status = status
        if self._moving:
            self._draw()
        else:
            self._write(f"{self._line()}\n")

    def say(self, sentence: str) -> None:
        """Tell something else, in any case, in a line of its own that stays."""
        if self._moving:
            self._write(_TAKE_AWAY)
        click.echo(sentence, err=True)

    async def run(self) -> None:
        """Keep the line moving until cancelled, and then take it away."""
        if not self._moving:
            return
        try:
            while True:
                await asyncio.sleep(_TICK)
                self._draw()
        finally:
            self._write(_TAKE_AWAY)

    def _draw(self) -> None:
        line = f"{self._line()}, {time.monotonic() - self._since:.0f} s"
        # A line that is broken in two could not be taken back.
        columns = shutil.get_terminal_size().columns - 1
        self._write(f"{_TAKE_AWAY}{line[:columns]}")

    def _line(self) -> str:
        return wording.shown(f"media job {self._job_id}: {self._status}")

    def _write(self, text: str) -> None:
        if not self._silent:
            with suppress(BrokenPipeError):  # a job goes on though nobody watches
                click.echo(text, err=True, nl=False)


async def beside(work: Awaitable[T], other: Coroutine[Any, Any, None]) -> T:
    """Return what `work` returns, or raise what it raises; `other` runs meanwhile."""
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(other)
            try:
                return await work
            finally:
                running.cancel()
    except BaseExceptionGroup as faults:
        raise faults.exceptions[0] from None
