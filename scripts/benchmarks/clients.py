"""The clients: how each is started, and which version it is."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PINNED = ROOT / "tests" / "conformance"  # the tests' clients are the ones measured
PATIENCE = 120.0


class BenchmarkFailed(Exception):
    """There is nothing to print; the text says why."""


@dataclass(frozen=True, slots=True)
class Client:
    """One of the clients.

    Attributes:
        name: in tables.
        version: of it and of what it runs on.
        command: starts it, given the deployment's URL and a token.
    """

    name: str
    version: str
    command: tuple[str, ...]


async def clients() -> list[Client]:
    """Return them, ours first; npm installs its own where it is missing.

    Raises:
        BenchmarkFailed: node or npm is missing or fails.
    """
    folder = await packages()
    here = Path(__file__).parent
    python = (sys.executable, "-m")
    return [
        Client(
            "ours",
            f"{version('stella-materializer')}, websockets {version('websockets')}",
            (*python, "scripts.benchmarks.client_ours"),
        ),
        *(
            Client(
                f"Python, {way}",
                f"convex {version('convex')}",
                (*python, "scripts.benchmarks.client_python", way),
            )
            for way in ("async", "sync")
        ),
        Client(
            "npm",
            await npm_version(folder),
            ("node", str(here / "client_npm.mjs"), str(folder)),
        ),
    ]


class Talk:
    """A client at work, which tells what it noted in lines of JSON."""

    def __init__(self, process: Process) -> None:
        self.pid = process.pid
        self._process = process

    async def hear(self) -> dict[str, Any]:
        """Return the next line; raises BenchmarkFailed when there is none."""
        if self._process.stdout is None:
            raise BenchmarkFailed("the client has no output")
        async with asyncio.timeout(PATIENCE):
            while line := await self._process.stdout.readline():
                if line.startswith(b"{"):
                    told: dict[str, Any] = json.loads(line)
                    return told
        raise BenchmarkFailed("the client ended early; it said why above")


@asynccontextmanager
async def started(client: Client, url: str) -> AsyncIterator[Talk]:
    """Run a client against a deployment, and kill it in the end."""
    process = await asyncio.create_subprocess_exec(
        *client.command,
        url,
        unsigned_token(),
        cwd=ROOT,
        stdout=PIPE,
        limit=2**24,
    )
    try:
        yield Talk(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def unsigned_token() -> str:
    """Return a token without a signature, which nobody here looks at."""
    claims = {"iss": "https://bench.test", "sub": "ada"}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
    return f"e30.{payload.rstrip('=')}.e30"


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """Give a group of tasks, out of which a failure of the benchmark comes alone."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        failed = group.subgroup(BenchmarkFailed)
        if failed is None:
            raise
        raise BenchmarkFailed(str(failed.exceptions[0])) from group


async def packages() -> Path:
    """Return where the pinned npm packages are, installed where they were not.

    Raises:
        BenchmarkFailed: node or npm is missing or fails.
    """
    folder = _npm_folder()
    await _install(folder)
    return folder


async def npm_version(folder: Path) -> str:
    """Return which official client runs on which Node."""
    node = (await _output("node", "--version")).strip()
    names = ("convex", "ws")
    return ", ".join([*(f"{n} {_installed(folder, n)}" for n in names), f"Node {node}"])


def _npm_folder() -> Path:
    """Return where the pinned packages are or belong."""
    folder = Path(os.environ.get("STELLA_TEST_CACHE", PINNED.parent), PINNED.name)
    if folder != PINNED:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(PINNED / "package.json", folder)
    return folder


async def _install(folder: Path) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        raise BenchmarkFailed("node and npm are needed for the official client")
    with (folder / "package.json").open(encoding="utf-8") as package:
        fcntl.flock(package, fcntl.LOCK_EX)  # a test may be installing the same
        pinned = json.load(package)["dependencies"]
        if any(_installed(folder, name) != pinned[name] for name in pinned):
            quiet = ("--no-audit", "--no-fund", "--no-package-lock")
            # Not --prefix: with that npm overlooks its own configuration.
            await _output("npm", "install", *quiet, cwd=folder)


def _installed(folder: Path, package: str) -> str | None:
    path = folder / "node_modules" / package / "package.json"
    return json.loads(path.read_text("utf-8"))["version"] if path.exists() else None


async def _output(*command: str, cwd: Path = ROOT) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, cwd=cwd)
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise BenchmarkFailed(f"{command[0]} failed; it said why above")
    return output.decode()
