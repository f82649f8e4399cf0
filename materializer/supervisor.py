"""What systemd is told of this process, where systemd started it.

Written by hand: sd_notify(3) is one datagram, and the libraries for it are no longer
kept, want a compiler, or want a newer Python than we do.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Self

log = logging.getLogger(__name__)

_PATIENCE = 1.0


class Supervisor:
    """systemd, or nobody: then everything may be told, and nobody hears it.

    Args:
        address: the socket that listens: a path, or a name that begins with `@`.
        interval: seconds between two signs of life, or None when none are wanted.
    """

    def __init__(
        self, address: str | None = None, interval: float | None = None
    ) -> None:
        self._address = address
        self._interval = interval

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> Self:
        """Find out who listens, and hide it from this process's children."""
        address = environ.pop("NOTIFY_SOCKET", "")
        period = environ.pop("WATCHDOG_USEC", "")
        process = environ.pop("WATCHDOG_PID", str(os.getpid()))
        watched = period.isdecimal() and int(period) and process == str(os.getpid())
        return cls(
            address if address.startswith(("/", "@")) else None,
            int(period) / 2e6 if watched else None,
        )

    async def attend(
        self, pulse: Callable[[], Awaitable[None]], standing: AsyncIterator[str]
    ) -> None:
        """Tell that clients are served now, and how it goes; until cancelled.

        Args:
            pulse: returns when the stages have answered. While it does not, there is
                no sign of life.
            standing: yields where things stand, in a line, whenever that changes.
        """
        if self._address is None:
            return
        self._say("READY=1")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._live(pulse))
                async for line in standing:
                    # A line break would begin a statement of its own.
                    self._say(f"STATUS={' '.join(line.split())}")
        finally:
            self._say("STOPPING=1")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Tell that the settings are read again for as long as the block lasts."""
        now = time.monotonic_ns() // 1000
        self._say(f"RELOADING=1\nMONOTONIC_USEC={now}")
        try:
            yield
        finally:
            self._say("READY=1")

    async def _live(self, pulse: Callable[[], Awaitable[None]]) -> None:
        while self._interval is not None:
            await pulse()
            self._say("WATCHDOG=1")
            await asyncio.sleep(self._interval)

    def _say(self, statement: str) -> None:
        if self._address is None:
            return
        place = self._address
        if place.startswith("@"):
            place = "\0" + place[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.settimeout(_PATIENCE)
                out.sendto(statement.encode(), place)
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", statement, error)
