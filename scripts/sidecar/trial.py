"""Tries the frozen programs out, as the desktop app would use them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import tempfile
import time
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from materializer import __version__
from materializer.devserver.app import Backend
from materializer.errors import MaterializerError
from materializer.gateway import Gateway
from materializer.ipc.client import Client

_PATIENCE = 60.0
_STARTS = 5
_PICTURE = {"capability": "text_to_image", "prompt": "a red fox"}
_FAILURE = {"capability": "text_to_image", "prompt": "[fail: On purpose, as a trial.]"}
_FOREIGN = ("STELLA_", "CONVEX_", "PYTHON", "XDG_CONFIG_")


class TrialFailed(Exception):
    """The frozen programs do not do what they should; the text says what."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What was seen of programs that do what they should.

    Attributes:
        start: seconds until clients can connect; the middle one of several starts.
        notification: what came of the one that was attempted.
    """

    start: float
    notification: str


async def tried(folder: Path) -> Trial:
    """Start the daemon, let it work, and see that it leaves nothing behind.

    Raises:
        TrialFailed: something of that did not happen.
    """
    # A short path, as sockets want it.
    with tempfile.TemporaryDirectory(prefix="stella-") as made:
        home = Path(made)
        async with Backend(home / "backend", speed=100) as backend:
            sidecar = _Sidecar(folder, home, backend)
            async with sidecar.daemon():
                await sidecar.answers()
                await sidecar.downloads()
                notification = await sidecar.notifies()
                await sidecar.shows_the_page()
            await sidecar.has_its_texts()
            starts = [await sidecar.start() for _ in range(_STARTS)]
    return Trial(sorted(starts)[_STARTS // 2], notification)


class _Sidecar:
    """The frozen programs, a home for them, and the backend they talk to."""

    def __init__(self, folder: Path, home: Path, backend: Backend) -> None:
        self._folder = folder
        self._backend = backend
        self._home = home
        self._state = home / "state"
        kept = {n: v for n, v in os.environ.items() if not n.startswith(_FOREIGN)}
        self._environ = kept | {
            "HOME": str(home),
            "USERPROFILE": str(home),
            "STELLA_STATE_DIR": str(self._state),
            "STELLA_CONVEX_URL": backend.convex_url,
            "STELLA_SITE_URL": backend.site_url,
            "STELLA_MEDIA_TOKEN_FILE": str(backend.token_file),
            "STELLA_ALLOW_PRIVATE_HOSTS": "127.0.0.1",
        }

    async def start(self) -> float:
        """Start the daemon and let it go; return the seconds until it was ready."""
        async with self.daemon() as took:
            return took

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[float]:
        """Run the daemon, end its standard input, and see that all of it has gone."""
        began = time.perf_counter()
        command = ("run", "--ready-json", "--exit-with-parent")
        async with self._program("stella-materializer", *command) as process:
            line = await self._line("stella-materializer", process)
            took = time.perf_counter() - began
            endpoint = json.loads(line)["endpoint"]
            _expect(endpoint["pid"] == process.pid, "the daemon is a second process")
            try:
                yield took
            except MaterializerError as error:
                said = self._why("stella-materializer")
                raise TrialFailed(f"{error} The daemon said: {said}") from error
            _, code = await self._end(process)
            _expect(code == 0, f"at the end of its standard input it exits {code}")
            await asyncio.to_thread(self._has_gone, process.pid, endpoint)

    async def answers(self) -> None:
        """See that it answers, and that it is of this version."""
        async with Client(self._state) as client:
            hello = await client.call("hello", {"client": "trial", "protocol": 1})
        _expect(hello["version"] == __version__, f"it is version {hello['version']}")

    async def downloads(self) -> None:
        """Order a picture, and see that it is on the disk as the gallery says."""
        request = ("--request", json.dumps(_PICTURE))
        await self._ran("stella-media", "generate", "--wait", *request)
        async with Client(self._state) as client:
            [item] = (await client.call("gallery.list"))["items"]
        content = await asyncio.to_thread(Path(item["path"]).read_bytes)
        whole = hashlib.sha256(content).hexdigest() == item["sha256"]
        _expect(whole, "the picture on the disk is not the one in the gallery")

    async def notifies(self) -> str:
        """Order what fails; return what came of telling the person."""
        async with (
            Client(self._state) as client,
            Gateway(self._backend.site_url, self._backend.token()) as gateway,
        ):
            await client.call("events.subscribe", {"topics": ["notification"]})
            key = uuid.uuid4().hex
            order = await gateway.generate(_FAILURE, idempotency_key=key)
            async with asyncio.timeout(_PATIENCE):
                told: Any = (await anext(client.notifications())).params
            _expect(told["data"]["jobId"] == order["jobId"], f"it told of {told}")
            status = await client.call("daemon.status")
        return str(status["notifications"])

    async def shows_the_page(self) -> None:
        """See that the page is served, script and all."""
        name = "stella-materializer"
        page = self._program(name, "display", "--no-browser")
        async with page as process, httpx.AsyncClient(follow_redirects=True) as browser:
            first = await browser.get(await self._line(name, process))
            script = await browser.get(str(first.url.join("/static/app.js")))
            served = (first.status_code, script.status_code) == (200, 200)
            _expect(served, f"the page answers {first.status_code}")

    async def has_its_texts(self) -> None:
        """See that the documentation and the login service's file are there."""
        page = await self._ran("stella-media", "docs", "images")
        _expect("text_to_image" in page, f"its documentation is {page!r}")
        unit = await self._ran("stella-materializer", "service", "--print")
        _expect(str(self._state) in unit, f"a login would run {unit!r}")

    @asynccontextmanager
    async def _program(self, name: str, *arguments: str) -> AsyncIterator[Process]:
        with await asyncio.to_thread(self._errors(name).open, "wb") as said:
            process = await asyncio.create_subprocess_exec(
                *(str(self._folder / name), *arguments),
                stdin=PIPE,
                stdout=PIPE,
                stderr=said,
                env=self._environ,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()
            if os.name == "posix":  # what has failed the trial does not outlive it
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    async def _ran(self, name: str, *arguments: str) -> str:
        """Run a program to its end and return what it printed."""
        async with self._program(name, *arguments) as process:
            out, code = await self._end(process)
            _expect(code == 0, f"{name} {arguments[0]} exits {code}: {self._why(name)}")
            return out

    async def _end(self, process: Process) -> tuple[str, int | None]:
        async with asyncio.timeout(_PATIENCE):
            out, _ = await process.communicate(b"")
        return out.decode(), process.returncode

    async def _line(self, name: str, process: Process) -> str:
        assert process.stdout is not None  # noqa: S101 -- for the type checker
        async with asyncio.timeout(_PATIENCE):
            line = await process.stdout.readline()
            if not line:
                await process.wait()
                raise TrialFailed(f"it does not start: {self._why(name)}")
        return line.decode().strip()

    def _errors(self, name: str) -> Path:
        return self._home / f"{name}.txt"

    def _why(self, name: str) -> str:
        return self._errors(name).read_text("utf-8", "replace").strip()

    def _has_gone(self, pid: int, endpoint: dict[str, Any]) -> None:
        left = {path.name for path in (self._state / "materializer").iterdir()}
        left -= {"daemon.lock", "logs"}
        _expect(not left, f"it leaves {left} behind")
        _expect(not Path(endpoint["path"]).exists(), "its socket stays")
        if os.name == "posix":
            _expect(not _has_processes(pid), "a process of its own stays")


def _has_processes(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _expect(fact: bool, otherwise: str) -> None:
    if not fact:
        raise TrialFailed(otherwise)
