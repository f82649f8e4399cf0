"""Real processes on one state directory, the backend they talk to, and a consumer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from materializer.devserver import media
from materializer.devserver.app import Backend
from materializer.gateway import Gateway
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import Request
from origin import Origin

SOON = 60.0
MATERIALIZER = (sys.executable, "-m", "materializer")
MEDIA = (sys.executable, "-c", "from materializer.cli import media; media()")

posix = pytest.mark.skipif("sys.platform == 'win32'", reason="Windows has no signals")


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it had still to say."""

    code: int | None
    out: str
    err: str


class Running:
    """A process of ours; its stderr goes to a file, so that it never waits for us."""

    def __init__(self, process: Process, errors: Path) -> None:
        self._process = process
        self._errors = errors
        self.pid = process.pid

    async def line(self) -> str:
        """Return the next line of stdout."""
        assert self._process.stdout is not None
        async with asyncio.timeout(SOON):
            line = await self._process.stdout.readline()
        if not line:
            pytest.fail(f"it ended without saying more: {self._errors.read_text()}")
        return line.decode()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def close_stdin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def killed(self) -> None:
        """Kill it as a power cut would, and return when it is gone."""
        self._process.kill()
        await self.ended()

    async def ended(self, within: float = SOON, stdin: bytes | None = None) -> Ended:
        """Close its stdin, if it has one, after writing to it; wait for its end."""
        if self._process.stdin is not None and stdin is None:
            stdin = b""
        async with asyncio.timeout(within):
            out, _ = await self._process.communicate(stdin)
        return Ended(self._process.returncode, out.decode(), self._errors.read_text())


class House:
    """One state directory and its backend, on which processes are started."""

    def __init__(self, root: Path, backend: Backend) -> None:
        self.root = root
        self.backend = backend
        self.state = root / "state"
        self.outputs = self.state / "media" / "outputs"
        self.environ = environment(root) | {
            "STELLA_STATE_DIR": str(self.state),
            "STELLA_ALLOW_PRIVATE_HOSTS": "127.0.0.1",
        }

    @asynccontextmanager
    async def daemon(
        self, *flags: str, token_file: Path | None = None, stdin: int = DEVNULL
    ) -> AsyncIterator[Running]:
        """Start a daemon; the block begins when clients can connect."""
        command = (
            *(*MATERIALIZER, "run", "--ready-json"),
            *("--convex-url", self.backend.convex_url),
            *("--token-file", str(token_file or self.backend.token_file)),
            *flags,
        )
        async with started(self.root, self.environ, *command, stdin=stdin) as daemon:
            ready = json.loads(await daemon.line())
            assert ready["ready"] is True
            assert ready["endpoint"]["pid"] == daemon.pid
            yield daemon

    async def command(
        self, *command: str, stdin: bytes | None = None, **environ: str
    ) -> Ended:
        """Run a command to its end."""
        return await ended(self.root, self.environ | environ, *command, stdin=stdin)

    async def order(self, request: Mapping[str, Any]) -> str:
        """Submit a job as the app does and return its id."""
        async with Gateway(self.backend.site_url, self.backend.token()) as gateway:
            accepted = await gateway.generate(
                request, idempotency_key=os.urandom(8).hex()
            )
        return str(accepted["jobId"])

    def finish(
        self,
        job_id: str,
        output: object,
        *,
        capability: str = "text_to_image",
        seconds_ago: float = 0,
    ) -> None:
        """Let a job have succeeded, with an output of the test's own."""
        now = time.time_ns() - int(seconds_ago * 1e9)
        deployment = self.backend.deployment
        owner = self.backend.owner()
        deployment.submit(now, owner=owner, job_id=job_id, capability=capability)
        deployment.succeed(now, job_id, output)

    def picture(self, name: str) -> str:
        """Store a small picture and return the link to it."""
        stored = self.backend.storage.keep(png(name), "image/png", "png")
        return self.backend.site_url + self.backend.storage.link(stored)

    def finish_picture(self, job_id: str, seconds_ago: float = 0) -> None:
        """Let a job have succeeded with one small picture."""
        output = {"images": [{"url": self.picture(job_id)}]}
        self.finish(job_id, output, seconds_ago=seconds_ago)

    def files(self) -> list[str]:
        """Return the names in the outputs directory and in its `.partial/`."""
        return sorted(
            path.relative_to(self.outputs).as_posix()
            for path in self.outputs.rglob("*")
            if path.is_file()
        )

    def log(self) -> str:
        return (self.state / "materializer/logs/materializer.log").read_text()


class App:
    """A consumer, as the desktop app is one, of the daemon of a state directory."""

    def __init__(self, state: Path) -> None:
        self._client = Client(state)
        self._sent = self._client.notifications()
        self._heard: list[Request] = []

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        await self.call("events.subscribe")
        return self

    async def __aexit__(self, *fault: object) -> None:
        await self._client.__aexit__(*fault)

    async def call(self, method: str, **params: object) -> Any:
        return await self._client.call(method, params, timeout=SOON)

    async def subscribe(self) -> None:
        await self.call("display.subscribe", consumer="app")

    async def ack(self, update: Mapping[str, Any]) -> None:
        await self.call("display.ack", consumer="app", seq=update["seq"])

    async def feed(self, state: str) -> None:
        """Wait until the feed is in this state."""
        status = await self.call("daemon.status")
        if status["feed"]["state"] != state:
            await self.event("feed", state=state)

    async def update(self) -> dict[str, Any]:
        """Return the next display update."""
        return await self._take(lambda sent: sent.method == "display.update")

    async def event(self, topic: str, **data: object) -> dict[str, Any]:
        """Return the data of the next event with this topic and data."""

        def fits(sent: Request) -> bool:
            if sent.method != "event" or sent.params["topic"] != topic:
                return False
            return all(sent.params["data"].get(key) == data[key] for key in data)

        found = (await self._take(fits))["data"]
        assert isinstance(found, dict)
        return found

    async def _take(self, fits: Callable[[Request], bool]) -> dict[str, Any]:
        for sent in self._heard:
            if fits(sent):
                self._heard.remove(sent)
                return dict(sent.params)
        async with asyncio.timeout(SOON):
            async for sent in self._sent:
                if fits(sent):
                    return dict(sent.params)
                self._heard.append(sent)
        pytest.fail("the daemon has gone")


class Held:
    """A body of which the source sends half, and the rest when it is let go."""

    def __init__(self, source: Origin, path: str, body: bytes) -> None:
        self.url = source.respond(path, self._respond)
        self._body = body
        self._halfway = asyncio.Event()
        self._go = asyncio.Event()

    async def halfway(self) -> None:
        async with asyncio.timeout(SOON):
            await self._halfway.wait()

    def let_go(self) -> None:
        self._go.set()

    async def _respond(self, writer: asyncio.StreamWriter) -> None:
        half = len(self._body) // 2
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(self._body)}\r\n\r\n"
        writer.write(head.encode() + self._body[:half])
        await writer.drain()
        self._halfway.set()
        await self._go.wait()
        writer.write(self._body[half:])


@asynccontextmanager
async def house(root: Path) -> AsyncIterator[House]:
    """Build a house in an empty directory, with a backend in this process."""
    async with Backend(root / "backend", speed=20) as backend:
        yield House(root, backend)


@asynccontextmanager
async def started(
    cwd: Path, environ: Mapping[str, str], *command: str, stdin: int = DEVNULL
) -> AsyncIterator[Running]:
    """Start a process; when the block ends it is killed, if it still runs."""
    errors = cwd / f"stderr-{os.urandom(4).hex()}"
    with errors.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=stdin, stdout=PIPE, stderr=stderr, cwd=cwd, env=environ
        )
    try:
        yield Running(process, errors)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        errors.unlink()


async def ended(
    cwd: Path, environ: Mapping[str, str], *command: str, stdin: bytes | None = None
) -> Ended:
    """Run a process to its end."""
    async with started(cwd, environ, *command, stdin=PIPE) as running:
        return await running.ended(stdin=stdin)


def environment(home: Path) -> dict[str, str]:
    """Return this process's variables, without what would lead out of the test."""
    ours = ("STELLA_", "CONVEX_", "DBUS_", "XDG_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | {"HOME": str(home), "USERPROFILE": str(home)}


def png(name: str) -> bytes:
    return media.picture(name, 0, (64, 64), "png").data


async def until(fact: Callable[[], bool], within: float = SOON) -> None:
    """Wait for something that rings no bell, such as a file."""
    async with asyncio.timeout(within):
        while not fact():  # noqa: ASYNC110 -- as said
            await asyncio.sleep(0.01)
