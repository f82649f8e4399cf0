"""Who makes the files of finished jobs be there: ours and two others.

Each has a deployment of its own and tells, as one line of JSON, of every job when its
files were in place. Ours is the daemon as people run it, less previews, which the
others do not make, and what tells of it is a desktop app's end of its socket.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from scripts.benchmarks.clients import (
    PATIENCE,
    BenchmarkFailed,
    Talk,
    npm_version,
    packages,
    unsigned_token,
)
from scripts.benchmarks.live import Live, live
from scripts.benchmarks.programs import first_line, killed, started

_HERE = Path(__file__).parent
_OURS = ("--min-free-space", "0", "--no-thumbnails", "--no-notifications")


@dataclass(frozen=True, slots=True)
class Arrival:
    """One job's files, in place.

    Attributes:
        at: when it was told, on the clock of `time.monotonic_ns`.
    """

    job_id: str
    at: int
    files: tuple[Path, ...]


class Contender:
    """One of them at work.

    Attributes:
        name: in tables.
        live: what it is told.
        pids: of its processes; that which fetches is the first.
        endpoint: where clients of ours connect.
    """

    def __init__(
        self, name: str, live: Live, talk: Talk, *fetching: int, endpoint: str = ""
    ) -> None:
        self.name = name
        self.live = live
        self.pids = (*fetching, talk.pid)
        self.endpoint = endpoint
        self._talk = talk

    async def hear(self) -> Arrival:
        """Return the next that it tells of.

        Raises:
            BenchmarkFailed: it tells of nothing any more.
        """
        try:
            told = await self._talk.hear()
        except TimeoutError:
            raise BenchmarkFailed(f"{self.name}: a job did not arrive") from None
        return Arrival(told["job"], told["at"], tuple(map(Path, told["files"])))


class Start(Protocol):
    """Starts one of them."""

    def __call__(
        self, home: Path, certificate: Path
    ) -> AbstractAsyncContextManager[Contender]:
        """Run it in an empty directory, trusting a certificate, within the block."""


async def versions() -> dict[str, str]:
    """Return what is compared, in words."""
    return {
        "ours": f"stella-materializer {version('stella-materializer')}",
        "aria2 RPC": (await first_line("aria2c", "--version")).replace(" version", ""),
        "reference's way": await npm_version(await packages()),
    }


@asynccontextmanager
async def ours(home: Path, certificate: Path) -> AsyncIterator[Contender]:
    """Run the daemon, and Node at its socket; `home` may hold a state already."""
    environment = {
        "SSL_CERT_FILE": str(certificate),
        "STELLA_ALLOW_PRIVATE_HOSTS": "127.0.0.1",
        "STELLA_MEDIA_AUTH_TOKEN": unsigned_token(),
    }
    async with AsyncExitStack() as stack:
        deployment = await stack.enter_async_context(live())
        daemon = await stack.enter_async_context(
            _running(
                home / "daemon.txt",
                *(sys.executable, "-m", "materializer", "run", "--ready-json"),
                *("--state-dir", str(home / "state")),
                *("--convex-url", deployment.url, *_OURS),
                environment=environment,
            )
        )
        endpoint = (await _first(daemon))["endpoint"]["path"]
        node = _node(home, "client_display.mjs", endpoint)
        talk = await stack.enter_async_context(node)
        await deployment.followed()
        yield Contender("ours", deployment, talk, daemon.pid, endpoint=endpoint)


@asynccontextmanager
async def aria2(home: Path, certificate: Path) -> AsyncIterator[Contender]:
    """Run aria2 and a glue in Node that tells it what to fetch."""
    port = _free_port()
    async with AsyncExitStack() as stack:
        deployment = await stack.enter_async_context(live())
        process = await stack.enter_async_context(
            _running(
                home / "aria2.txt",
                *("aria2c", "--no-conf", "--quiet", "--enable-rpc"),
                *(f"--rpc-listen-port={port}", f"--dir={home}"),
                f"--ca-certificate={certificate}",
            )
        )
        await _answers(port)
        folder, to = str(await packages()), str(home)
        arguments = (folder, deployment.url, str(port), to)
        node = _node(home, "client_aria2.mjs", *arguments)
        talk = await stack.enter_async_context(node)
        await deployment.followed()
        yield Contender("aria2 RPC", deployment, talk, process.pid)


@asynccontextmanager
async def reference(home: Path, certificate: Path) -> AsyncIterator[Contender]:
    """Run the reference app's way in Node."""
    async with live() as deployment:
        arguments = (str(await packages()), deployment.url, unsigned_token(), str(home))
        trust = {"NODE_EXTRA_CA_CERTS": str(certificate)}
        node = _node(home, "client_reference.mjs", *arguments, environment=trust)
        async with node as talk:
            await deployment.followed()
            yield Contender("reference's way", deployment, talk)


CONTENDERS: tuple[Start, ...] = (ours, aria2, reference)


@asynccontextmanager
async def _node(
    home: Path,
    script: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Talk]:
    """Run a script in Node; it is at work when the block begins."""
    errors = home / f"{script}.txt"
    command = ("node", str(_HERE / script), *arguments)
    async with _running(errors, *command, environment=environment) as process:
        await _first(process)
        yield Talk(process)


@asynccontextmanager
async def _running(
    errors: Path, *command: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Process]:
    """Run a program within the block; what it says last is in what goes wrong."""
    process = await started(*command, errors=errors, environment=environment)
    try:
        yield process
    except BenchmarkFailed as error:
        said = await asyncio.to_thread(errors.read_text, "utf-8")
        raise BenchmarkFailed(f"{error}\n{said[-2000:]}".strip()) from error
    finally:
        await killed(process)


async def _first(process: Process) -> dict[str, dict[str, str]]:
    """Return the first line that a program prints, which is JSON."""
    if process.stdout is None:
        raise BenchmarkFailed("the program has no output")
    async with asyncio.timeout(PATIENCE):
        line = await process.stdout.readline()
    if not line:
        raise BenchmarkFailed("a program ended early")
    told: dict[str, dict[str, str]] = json.loads(line)
    return told


async def _answers(port: int) -> None:
    """Return when somebody listens on a port."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
