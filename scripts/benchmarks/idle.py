"""What a daemon costs while it waits: ours, live on a feed, beside what people run.

Ours is watched twice: alone, and with an app on its socket that asked what apps ask. A
wake-up is a thread that had given up the processor and was put on it again; those for
the feed's heartbeats are counted too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from materializer.devserver.app import Backend
from materializer.ipc.client import Client
from scripts.benchmarks.clients import PATIENCE, BenchmarkFailed
from scripts.benchmarks.programs import first_line, killed, require, started
from scripts.benchmarks.report import figure, machine

WAKE_UPS_GOAL, CPU_GOAL, RSS_GOAL = 0.5, 20.0, 45.0


@dataclass(frozen=True, slots=True)
class Plan:
    """For how many seconds each is watched, after `settle` seconds to come to rest."""

    seconds: float
    settle: float


LONG, SHORT = Plan(60, 10), Plan(2, 1)
_APP: dict[str, dict[str, Any]] = {
    "hello": {"client": "bench", "protocol": 1},
    "display.subscribe": {"consumer": "bench"},
    "events.subscribe": {"presents": True},
    "gallery.list": {},
    "daemon.status": {},
}


@dataclass(frozen=True, slots=True)
class Idle:
    """What one program took.

    Attributes:
        wake_ups: a second, of all its threads.
        cpu: ms a minute.
        rss: MiB; in `pss` what it shares with others counts in part.
    """

    name: str
    wake_ups: float
    cpu: float
    rss: float
    pss: float


async def measure(plan: Plan, tell: Callable[[str], None]) -> list[Idle]:
    """Watch one program after the other, ours first.

    Raises:
        BenchmarkFailed: this is no Linux, or a program is missing or failed.
    """
    if sys.platform != "linux":
        raise BenchmarkFailed("wake-ups can be counted on Linux only")
    require(("aria2c", "syncthing"))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, start in (
            ("ours", _ours),
            ("ours with an app", _ours_with_app),
            ("aria2c", _aria2c),
            ("syncthing", _syncthing),
        ):
            tell(f"{name}: {plan.settle + plan.seconds:g} s")
            async with start(_made(Path(folder, name))) as (version, pid):
                await asyncio.sleep(plan.settle)
                found.append(await _watch(version, pid, plan.seconds))
    return found


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


async def _watch(name: str, pid: int, seconds: float) -> Idle:
    before, spent = _switches(pid), _nanoseconds(pid)
    await asyncio.sleep(seconds)
    after, used = _switches(pid), _nanoseconds(pid) - spent
    woken = sum(count - before.get(thread, 0) for thread, count in after.items())
    return Idle(
        name,
        woken / seconds,
        used / 1e6 * 60 / seconds,
        _kib(pid, "status", "VmRSS:") / 1024,
        _kib(pid, "smaps_rollup", "Pss:") / 1024,
    )


def _switches(pid: int) -> dict[str, int]:
    counts = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            said = (thread / "status").read_text("utf-8")
            _, _, count = said.partition("\nvoluntary_ctxt_switches:")
            counts[thread.name] = int(count.split()[0])
    return counts


def _nanoseconds(pid: int) -> int:
    """Return the processor's time that the threads which live have used."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(
        int((thread / "schedstat").read_text("utf-8").split()[0]) for thread in threads
    )


def _kib(pid: int, file: str, key: str) -> int:
    _, _, rest = Path(f"/proc/{pid}/{file}").read_text("utf-8").partition(key)
    return int(rest.split()[0])


@asynccontextmanager
async def _ours(home: Path) -> AsyncIterator[tuple[str, int]]:
    state = home / "state"
    async with (
        Backend(home / "backend") as backend,
        _running(
            home,
            *(sys.executable, "-m", "materializer", "run", "--ready-json"),
            *("--state-dir", str(state), "--convex-url", backend.convex_url),
            *("--token-file", str(backend.token_file)),
        ) as process,
    ):
        if process.stdout is None:
            raise BenchmarkFailed("the daemon has no output")
        async with asyncio.timeout(PATIENCE):
            told = json.loads(await process.stdout.readline())
        yield f"ours {told['endpoint']['version']}", process.pid
        # Asked for only now, since a client costs something, too.
        async with Client(state) as client, asyncio.timeout(PATIENCE):
            feed = (await client.call("daemon.status"))["feed"]
        if feed["state"] != "live":
            raise BenchmarkFailed(f"our feed was {feed['state']}: {feed['lastError']}")


@asynccontextmanager
async def _ours_with_app(home: Path) -> AsyncIterator[tuple[str, int]]:
    async with _ours(home) as (version, pid), Client(home / "state") as app:
        async with asyncio.timeout(PATIENCE):
            for method, params in _APP.items():
                await app.call(method, params)
        yield f"{version} with an app", pid


@asynccontextmanager
async def _aria2c(home: Path) -> AsyncIterator[tuple[str, int]]:
    version = (await first_line("aria2c", "--version")).replace(" version", "")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ("aria2c", "--enable-rpc", f"--rpc-listen-port={port}", "--no-conf")
    async with _running(home, *command, f"--dir={home}") as process:
        yield version, process.pid


@asynccontextmanager
async def _syncthing(home: Path) -> AsyncIterator[tuple[str, int]]:
    version = " ".join((await first_line("syncthing", "--version")).split()[:2])
    options = ("--no-browser", "--no-restart", "--home", str(home))
    async with _running(home, "syncthing", "serve", *options) as process:
        yield version, process.pid


@asynccontextmanager
async def _running(home: Path, *command: str) -> AsyncIterator[Process]:
    process = await started(*command, errors=home / "errors.txt")
    try:
        yield process
        if process.returncode is not None:
            raise BenchmarkFailed(f"{command[0]} has ended by itself")
    finally:
        await killed(process)


def markdown(plan: Plan, found: list[Idle]) -> str:
    """Return a table with a line for each program, and whether ours met the goals."""
    here = machine()
    cores = f"{here['cores']} cores ({here['processor']})"
    lines = [
        f"{cores}, Python {here['python']}; {plan.seconds:g} s each.",
        "",
        "| program | wake-ups a second | CPU ms a minute | RSS MiB | PSS MiB |",
        "|---|--:|--:|--:|--:|",
    ]
    for one in found:
        cells = map(figure, (one.wake_ups, one.cpu, one.rss, one.pss))
        lines.append(f"| {one.name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", shortfall(found) or "All goals are met."])


def shortfall(found: list[Idle]) -> str | None:
    """Return which goals ours has missed, in words."""
    missed = [
        f"{ours.name}: {value:.1f} {what}, and {goal:g} are allowed"
        for ours in found[:2]
        for value, what, goal in (
            (ours.wake_ups, "wake-ups a second", WAKE_UPS_GOAL),
            (ours.cpu, "ms of CPU a minute", CPU_GOAL),
            (ours.rss, "MiB of RSS", RSS_GOAL),
        )
        if value > goal
    ]
    return "; ".join(missed) or None


def data(plan: Plan, found: list[Idle]) -> dict[str, Any]:
    """Return every figure, and on what it was taken."""
    return {"machine": machine(), **asdict(plan), "programs": list(map(asdict, found))}
