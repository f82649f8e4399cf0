"""What a long run is played on: a backend, its media, and a real daemon."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from materializer.devserver import media
from materializer.devserver.app import Backend

SOON = 60.0  # seconds; a busy computer is no fault
_DAY = 86_400
_WORDS = "What was said, and written down."


class SoakFailed(Exception):
    """What was to be watched could not be."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a job yields.

    Attributes:
        wire: the output as the deployment serves it.
        files: by the end of its name, the bytes of each file; None is any content.
    """

    capability: str
    wire: object
    files: dict[str, bytes | None]


@dataclass(slots=True)
class Stage:
    """The other side of the daemon.

    Attributes:
        state: the daemon's state directory.
        token: the token file that it watches.
        outputs: what every job has yielded that succeeded, by its id.
        owners: whose it is.
        failed: the jobs that failed.
    """

    root: Path
    backend: Backend
    outputs: dict[str, Output] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    _media: Iterator[Output] = field(init=False)

    def __post_init__(self) -> None:
        self._media = itertools.cycle(self._made())

    @property
    def state(self) -> Path:
        """The daemon's state directory."""
        return self.root / "state"

    @property
    def token(self) -> Path:
        """The token file that the daemon watches."""
        return self.root / "token"

    def sign_in(self, account: str | None, lifetime: float = _DAY) -> str:
        """Put a new token of an account into the token file, or none; return it."""
        token = self.backend.token(account, lifetime) if account else ""
        draft = self.token.with_suffix(".new")
        draft.write_text(token, "utf-8")
        draft.replace(self.token)
        return token

    def succeed(self, job_id: str, account: str, at: float) -> None:
        """Let a job have ended well, at a time in seconds since 1970."""
        output = self.outputs[job_id] = next(self._media)
        now = self._submit(job_id, account, output.capability, at)
        self.backend.deployment.succeed(now, job_id, output.wire)

    def fail(self, job_id: str, account: str, at: float) -> None:
        """Let a job have failed."""
        self.failed.add(job_id)
        now = self._submit(job_id, account, "text_to_image", at)
        self.backend.deployment.fail(now, job_id, "the model was busy")

    def _submit(self, job_id: str, account: str, capability: str, at: float) -> int:
        self.owners[job_id] = self.backend.owner(account)
        now = int(at * 1e9)
        self.backend.deployment.submit(
            now, owner=self.owners[job_id], job_id=job_id, capability=capability
        )
        return now

    def _made(self) -> Iterator[Output]:
        """Make one of everything that is small, and more of what is frequent."""
        for number, form in enumerate(("png", "jpeg", "webp", "png", "jpeg")):
            made = media.picture(f"picture {number}", 0, (64, 64), form)
            wire: object = {"images": [{"url": self._kept(made)}]}
            yield Output("text_to_image", wire, {f"_0.{made.extension}": made.data})
        yield Output(
            "speech_to_text",
            {"text": _WORDS, "segments": [{"text": _WORDS}]},
            {"_0.txt": _WORDS.encode(), "_1.json": None},
        )
        film = media.film("a film", (64, 64), 0.5)
        wire = {"video": {"url": self._kept(film)}}
        yield Output("text_to_video", wire, {"_0.mp4": film.data})
        sound = media.effect("a sound", 0.2, "mp3")
        wire = {"audio": {"url": self._kept(sound)}}
        yield Output("sound_effects", wire, {"_0.mp3": sound.data})
        pair = [media.picture("a pair", index, (64, 64), "png") for index in (0, 1)]
        here = base64.b64encode(pair[1].data).decode()
        links = [self._kept(pair[0]), f"data:image/png;base64,{here}"]
        yield Output(
            "text_to_image",
            {"images": [{"url": link} for link in links]},
            {f"_{index}.png": made.data for index, made in enumerate(pair)},
        )

    def _kept(self, made: media.Made) -> str:
        storage = self.backend.storage
        name = storage.keep(made.data, made.mime_type, made.extension)
        return self.backend.site_url + storage.link(name, _DAY)


@asynccontextmanager
async def in_time(seconds: float, otherwise: str) -> AsyncIterator[None]:
    """Give the block so many seconds; SoakFailed, in these words, if they are over."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise SoakFailed(otherwise) from None


async def next_of(event: asyncio.Event, otherwise: str) -> None:
    """Wait for an event that is yet to come; SoakFailed if it does not."""
    event.clear()
    async with in_time(SOON, otherwise):
        await event.wait()


async def until(fact: Callable[[], bool], otherwise: str) -> None:
    """Wait for what rings no bell and blocks; SoakFailed if it does not come."""
    async with in_time(2 * SOON, otherwise):
        while not await asyncio.to_thread(fact):  # noqa: ASYNC110 -- as said
            await asyncio.sleep(0.2)


@asynccontextmanager
async def stage(root: Path) -> AsyncIterator[Stage]:
    """Run the other side for as long as the block lasts."""
    await asyncio.to_thread(root.mkdir)
    async with Backend(root / "backend") as backend:
        yield Stage(root, backend)


@asynccontextmanager
async def daemon(on: Stage, *flags: str) -> AsyncIterator[int]:
    """Run a daemon within the block, which gets its process id; it is asked to stop.

    Raises:
        SoakFailed: it did not start, or not end well within 5 seconds.
    """
    own = ("STELLA_", "CONVEX_", "DBUS_", "XDG_")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(own)}
    environ |= {"HOME": str(on.root), "STELLA_ALLOW_PRIVATE_HOSTS": "127.0.0.1"}
    with (on.root / "said").open("wb") as said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "materializer", "run", "--ready-json"),
            *("--state-dir", str(on.state), "--token-file", str(on.token)),
            *("--convex-url", on.backend.convex_url, *flags),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=said,
            env=environ,
        )
    try:
        async with in_time(SOON, "the daemon does not start"):
            line = await process.stdout.readline() if process.stdout else b""
        if not line or not json.loads(line)["ready"]:
            raise SoakFailed("the daemon did not start")
        yield process.pid
        if process.returncode is not None:
            raise SoakFailed(f"the daemon has ended by itself: {process.returncode}")
        process.terminate()
        began = time.monotonic()
        async with in_time(SOON, "the daemon does not end"):
            code = await process.wait()
        if code or time.monotonic() - began > 5:
            seconds = time.monotonic() - began
            raise SoakFailed(f"it took {seconds:.1f} s to end, with {code}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
