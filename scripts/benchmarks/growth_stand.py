"""Where growth is measured: our pipeline, and the whole daemon."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, Self

from materializer.config import Paths
from materializer.model import Account
from scripts.benchmarks import bodies, fetch_peers, places, programs
from scripts.benchmarks.bodies import File
from scripts.benchmarks.clients import PATIENCE, BenchmarkFailed, together
from scripts.benchmarks.contenders import Contender, ours
from scripts.benchmarks.fetch_origin import Origin
from scripts.benchmarks.fetch_peers import Errand
from scripts.benchmarks.live import OWNER, finished
from scripts.browser import crowd

TIMES = 10
LINEAR, FLAT = 11.0, 1.3
"""What ten times as much may cost, at most, in times."""

SCHEME: Final = "https"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured, ten times of which is measured, too.

    Attributes:
        rounds: of what is fetched.
        jobs: how many small pictures.
        size: of a film, in bytes.
        gallery: how many outputs are in the gallery.
        clients: how many wait for updates.
        looks: how many pictures come to a gallery, and to the clients.
        pause: seconds between those that come to a gallery, since each is to come
            alone: what was looked up for one may not serve the next.
    """

    rounds: int
    jobs: int
    size: int
    gallery: int
    clients: int
    looks: int
    pause: float


@dataclass(frozen=True, slots=True)
class Growth:
    """One measure, of so much and of ten times as much.

    Attributes:
        what: grows.
        measure: with its unit.
        little: what it was, each time it was looked at; `much` of ten times as much.
        most: how many times as much it may be.
    """

    what: str
    measure: str
    little: list[float]
    much: list[float]
    most: float

    @property
    def times(self) -> float:
        """How many times as much it is, by the medians."""
        return median(self.much) / median(self.little)


@dataclass(frozen=True, slots=True)
class Stand:
    """Where everything is measured."""

    plan: Plan
    tell: Callable[[str], None]
    source: Origin
    ground: Path
    store: Path

    async def fetching(
        self, what: str, little: list[File], much: list[File]
    ) -> list[Growth]:
        """Let our pipeline fetch so much and ten times as much, in turns."""
        seconds: tuple[list[float], list[float]] = [], []
        memory: tuple[list[float], list[float]] = [], []
        for number in range(self.plan.rounds):
            self.tell(f"{what}, round {number + 1} of {self.plan.rounds}")
            for at, files in enumerate((little, much)):
                await asyncio.to_thread(os.sync)
                folder = places.emptied(self.store / "fetched")
                cost = await fetch_peers.ours(
                    Errand(self.source, SCHEME, files, folder, little[0], self.ground)
                )
                await asyncio.to_thread(_check, folder, files)
                seconds[at].append(cost.seconds)
                memory[at].append((cost.rss_peak or 0) / 2**20)
        return [
            Growth(what, "seconds", *seconds, LINEAR),
            Growth(what, "peak RSS MiB", *memory, FLAT if what == "bytes" else LINEAR),
        ]

    async def gallery(self, picture: File) -> list[Growth]:
        """Let pictures come to a daemon with a small gallery and one with a large."""
        async with AsyncExitStack() as stack:
            daemons: list[Contender] = []
            for items in (self.plan.gallery, self.plan.gallery * TIMES):
                self.tell(f"a gallery of {items}")
                home = places.emptied(self.store / f"gallery{items}")
                paths = Paths.of(home / "state")
                now = time.time_ns() // 1_000_000 - 3_600_000
                await crowd.fill(paths, Account("http://bench", OWNER), items, now)
                running = ours(home, self.source.certificate)
                daemons.append(await stack.enter_async_context(running))
            for daemon in daemons:
                await self._give(daemon, picture, "first")
                await _calm(daemon)
            delays: tuple[list[float], list[float]] = [], []
            for number in range(self.plan.looks):
                await asyncio.sleep(self.plan.pause)
                for at, daemon in enumerate(daemons):
                    await asyncio.to_thread(os.sync)
                    sent, told = await self._give(daemon, picture, f"look{number}")
                    delays[at].append((told - sent) / 1e6)
            little, much = ([_rss(daemon)] for daemon in daemons)
        return [
            Growth("gallery", "latency ms", *delays, FLAT),
            Growth("gallery", "RSS MiB", little, much, FLAT),
        ]

    async def clients(self, picture: File) -> list[Growth]:
        """Let pictures come to a daemon with few clients, and then with many."""
        home = places.emptied(self.store / "clients")
        delays: tuple[list[float], list[float]] = [], []
        memory: tuple[list[float], list[float]] = [], []
        async with (
            ours(home, self.source.certificate) as daemon,
            AsyncExitStack() as stack,
        ):
            listeners: list[_Listener] = []
            await self._give(daemon, picture, "first")
            for at, count in enumerate((self.plan.clients, self.plan.clients * TIMES)):
                self.tell(f"{count} clients")
                while len(listeners) < count:
                    listener = _Listener(daemon.endpoint, len(listeners))
                    listeners.append(await stack.enter_async_context(listener))
                for number in range(self.plan.looks):
                    await asyncio.to_thread(os.sync)
                    job_id = f"look{count}x{number}"
                    async with together() as tasks:
                        hearing = [tasks.create_task(e.hear()) for e in listeners]
                        sent, _ = await self._give(daemon, picture, job_id)
                    heard = max(task.result() for task in hearing)
                    delays[at].append((heard - sent) / 1e6)
                memory[at].append(_rss(daemon))
        return [
            Growth("clients", "last is told, ms", *delays, LINEAR),
            Growth("clients", "RSS MiB", *memory, LINEAR),
        ]

    async def _give(
        self, daemon: Contender, file: File, job_id: str
    ) -> tuple[int, int]:
        """Let a picture come; return when we told, and when it told, in ns."""
        url = self.source.url(SCHEME, file, digest=True)
        sent = daemon.live.finish([finished(job_id, url)])
        arrival = await daemon.hear()
        await asyncio.to_thread(places.check, [(file, arrival)])
        daemon.live.forget(arrival.job_id)
        return sent, arrival.at


class _Listener:
    """One more client that waits for updates."""

    def __init__(self, endpoint: str, number: int) -> None:
        self._endpoint = endpoint
        self._consumer = f"listener{number}"

    async def __aenter__(self) -> Self:
        connection = asyncio.open_unix_connection(self._endpoint, limit=2**24)
        self._reader, self._writer = await connection
        calls: tuple[tuple[str, Mapping[str, object]], ...] = (
            ("hello", {"client": self._consumer, "protocol": 1}),
            ("display.subscribe", {"consumer": self._consumer}),
        )
        for method, params in calls:
            call = {"id": method, "method": method, "params": params}
            self._writer.write(json.dumps(call).encode() + b"\n")
            if "result" not in json.loads(await self._reader.readline()):
                raise BenchmarkFailed(f"{method} was refused")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def hear(self) -> int:
        """Return when the next update had come, in monotonic ns."""
        async with asyncio.timeout(PATIENCE):
            line = await self._reader.readline()
        at = time.monotonic_ns()
        if b'"display.update"' not in line:
            raise BenchmarkFailed("a client was told something else")
        return at


async def _calm(daemon: Contender) -> None:
    """Return when a daemon has nothing more to do than to wait."""
    pid = daemon.pids[0]
    async with asyncio.timeout(PATIENCE):
        before = -1.0
        while programs.cpu(pid) - before > 0.02:
            before = programs.cpu(pid)
            await asyncio.sleep(1)


def _check(folder: Path, files: list[File]) -> None:
    for file in files:
        if bodies.sha256(folder / file.name) != file.sha256:
            raise BenchmarkFailed(f"{file.name} is another")


def _rss(daemon: Contender) -> float:
    return programs.rss(daemon.pids[0]) / 2**20
