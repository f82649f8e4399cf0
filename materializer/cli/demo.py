"""`stella-materializer demo`: the whole way of the data, in front of your eyes.

The daemon is a process of its own, as in real life. This one holds the backend and
plays the app: it submits jobs through the gateway, and learns of their files from the
daemon's socket alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
import uuid
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import click

from materializer import host
from materializer.cli.dev import embedded_backend
from materializer.cli.display import display_page, open_in_browser
from materializer.cli.progress import Progress, Row, table
from materializer.config import Paths
from materializer.errors import MaterializerError
from materializer.gateway import Gateway
from materializer.ipc.client import Client
from materializer.model import Remote
from materializer.outputs import extract

if TYPE_CHECKING:
    from materializer.devserver.app import Backend

_PATIENCE = 120.0
_LOOK = 0.3
_PACE = 1.0  # seconds between two jobs, for a person to see each of them arrive
_FAREWELL = 10.0
_CONSUMER = "stella-materializer-demo"
# One job of every capability. `<capability>` stands for what its job has made.
JOBS: tuple[dict[str, Any], ...] = (
    {
        "capability": "text_to_image",
        "prompt": "a translucent blue desk lamp",
        "aspectRatio": "1:1",
        "input": {"num_images": 3},
    },
    {"capability": "text_to_video", "prompt": "a lighthouse in the fog"},
    {"capability": "text_to_dialogue", "prompt": "Ada: Welcome to Stella.\nBo: Hi!"},
    {"capability": "text_to_3d", "prompt": "a smooth pebble"},
    {"capability": "icon", "prompt": "a paper plane"},
    {
        "capability": "image_to_video",
        "prompt": "slow zoom",
        "sourceUrl": "<text_to_image>",
    },
    {"capability": "speech_to_text", "sourceUrl": "<text_to_dialogue>"},
    {"capability": "text_to_music", "prompt": "warm lo-fi keys, soft vinyl texture"},
    {"capability": "image_edit", "prompt": "at dusk", "sourceUrl": "<text_to_image>"},
    {"capability": "video_extend", "prompt": "go on", "sourceUrl": "<text_to_video>"},
    {
        "capability": "video_to_video",
        "prompt": "in ink",
        "sourceUrl": "<text_to_video>",
    },
    {
        "capability": "audio_visual_separate",
        "input": {"video_url": "<text_to_video>", "audio_url": "<text_to_dialogue>"},
    },
    {
        "capability": "sound_effects",
        "prompt": "rain on a tin roof",
        "input": {"duration_seconds": 2},
    },
    {"capability": "audio_generation", "prompt": "a distant train"},
    {"capability": "realtime", "prompt": "a fox in the snow"},
    {"capability": "text_to_image", "prompt": "[fail: This one fails on purpose.]"},
)
_MADE = re.compile(r"<(\w+)>")


@click.command()
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("state"),
    show_default=True,
    metavar="DIR",
)
@click.option(
    "--headless", is_flag=True, help="No page: print a table at the end and leave."
)
@click.option("--no-browser", is_flag=True, help="Print the page's address only.")
def demo(state_dir: Path, headless: bool, no_browser: bool) -> int:
    """Run backend, daemon and Display page together, with one job of every kind.

    One more job fails. Without --headless the page is opened, the jobs come one after
    the other, and everything stays up until you interrupt it. Exits 0 only when every
    output has arrived whole, is in the gallery and was announced, and the failure was
    reported.
    """
    state, first = state_dir.absolute(), None
    try:
        return asyncio.run(_demo(state, headless=headless, browser=not no_browser))
    except* MaterializerError as stopped:
        first = _cause(stopped)
    raise first  # there, Python 3.11.3 would make a group of it


def _cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _demo(state: Path, *, headless: bool, browser: bool) -> int:
    stop = asyncio.Event()
    async with AsyncExitStack() as running:
        running.enter_context(host.stop_on_signals(asyncio.get_running_loop(), stop))
        _say("starting a Stella backend on this machine")
        backend = await running.enter_async_context(embedded_backend(state / "dev"))
        _say(f"starting the daemon for {state}")
        await running.enter_async_context(_daemon(state, backend))
        if not headless:
            page = await running.enter_async_context(display_page(Paths.of(state)))
            click.echo(f"page: {page.url}")
            if browser:
                open_in_browser(page.url)
        app = await running.enter_async_context(App(state, backend))
        async with asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(app.play(0 if headless else _PACE))
            interrupted = tasks.create_task(stop.wait())
            await asyncio.wait(
                {playing, interrupted}, return_when=asyncio.FIRST_COMPLETED
            )
            playing.cancel()
            interrupted.cancel()
        if stop.is_set():
            return 130
        click.echo(table(app.rows))
        click.echo(f"\nnotification: {await app.notifications()}")
        click.echo(f"files: {state / 'media' / 'outputs'}")
        if not headless:
            _say(_how_to_look(state, backend))
            await stop.wait()
    return 0 if all(row.wrong is None for row in app.rows) else 1


@asynccontextmanager
async def _daemon(state: Path, backend: Backend) -> AsyncIterator[None]:
    """Run the daemon as a process until the block ends."""
    allowed = (
        os.environ.get("STELLA_ALLOW_PRIVATE_HOSTS"),
        urlsplit(backend.site_url).netloc,
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "materializer", "run"),
        *("--state-dir", str(state), "--convex-url", backend.convex_url),
        *("--token-file", str(backend.token_file)),
        *("--ready-json", "--exit-with-parent"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ
        | {"STELLA_ALLOW_PRIVATE_HOSTS": ",".join(filter(None, allowed))},
        # An interrupt from the terminal is for us, who then let it end in peace.
        start_new_session=True,
    )
    assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 -- for the type checker
    said: deque[bytes] = deque(maxlen=1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_drain(process.stderr, said))
        try:
            if not await process.stdout.readline():
                await process.wait()
                reason = b"".join(said).decode().strip()
                raise MaterializerError(f"the daemon did not start: {reason}")
            yield
        finally:
            process.stdin.close()
            try:
                async with asyncio.timeout(_FAREWELL):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _drain(stream: asyncio.StreamReader, said: deque[bytes]) -> None:
    """Keep the last lines of the daemon's log, which is also in its file."""
    async for line in stream:
        said.append(line)


class App:
    """What the desktop app does: submits jobs, and shows what the daemon tells it."""

    def __init__(self, state: Path, backend: Backend) -> None:
        self.rows: list[Row] = []
        self._daemon = Client(state)
        self._gateway = Gateway(backend.site_url, backend.token())
        self._progress = Progress(self.rows)
        self._made = defaultdict[str, asyncio.Future[str]](asyncio.Future)
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._exits.enter_async_context(self._gateway)
        await self._exits.enter_async_context(self._daemon)
        await self._daemon.call("hello", {"client": _CONSUMER, "protocol": 1})
        await self._daemon.call("events.subscribe", {"topics": ["job", "notification"]})
        await self._daemon.call("display.subscribe", {"consumer": _CONSUMER})
        return self

    async def __aexit__(self, *fault: object) -> None:
        await self._exits.aclose()

    async def play(self, pace: float) -> None:
        """Submit a job every `pace` seconds; follow each until its files are there."""
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self._listen())
            try:
                async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as jobs:
                    for request in JOBS:
                        jobs.create_task(self._follow(request))
                        await asyncio.sleep(pace)
                await self._reported()
            except TimeoutError:
                pass  # the rows say what is missing
            listening.cancel()
        for row in self.rows:
            await self._check(row)

    async def _reported(self) -> None:
        """Wait a moment for the report of what should fail."""
        with suppress(TimeoutError):  # the rows say that it is missing
            async with asyncio.timeout(_FAREWELL):
                for row in self.rows:
                    if row.should_fail:
                        await row.reported.wait()

    async def notifications(self) -> str:
        """Return what came of the notification of the failure."""
        told = await self._daemon.call("daemon.status")
        return str(told["notifications"])

    async def _follow(self, request: dict[str, Any]) -> None:
        key = f"stella-demo-{uuid.uuid4()}"
        filled = await self._filled(request)
        accepted = await self._gateway.generate(filled, idempotency_key=key)
        should_fail = "[fail" in request.get("prompt", "")
        row = Row(accepted["jobId"], request["capability"], should_fail=should_fail)
        self.rows.append(row)
        while row.state in {"submitted", "queued", "running"}:
            self._progress.show()
            await asyncio.sleep(_LOOK)
            if row.state in {"submitted", "queued", "running"}:
                row.state = (await self._gateway.job(row.job_id))["status"]
        made = self._made[row.capability]
        if not (should_fail or made.done()):
            made.set_result(_first(await self._gateway.job(row.job_id)))
        await row.finished.wait()

    async def _filled(self, request: dict[str, Any]) -> dict[str, Any]:
        """Wait for what a request is about, and put the links in."""
        text = json.dumps(request)
        for capability in _MADE.findall(text):
            text = text.replace(f"<{capability}>", await self._made[capability])
        filled: dict[str, Any] = json.loads(text)
        return filled

    async def _listen(self) -> None:
        async for sent in self._daemon.notifications():
            if sent.method == "display.update":
                self._announced(sent.params["payload"]["jobId"])
                seq = {"consumer": _CONSUMER, "seq": sent.params["seq"]}
                await self._daemon.call("display.ack", seq)
            elif sent.method == "event":
                self._happened(sent.params["topic"], sent.params["data"])

    def _announced(self, job_id: str) -> None:
        for row in self._of(job_id):
            row.announced += 1
            row.finish("done")
        self._progress.show()

    def _happened(self, topic: str, data: dict[str, Any]) -> None:
        for row in self._of(data["jobId"]):
            if topic == "notification":
                row.told, row.state = data["title"], "failed, reported"
                row.reported.set()
            elif data["state"] == "failed":
                row.finish("failed")
            else:
                row.state = data["state"]
        self._progress.show()

    def _of(self, job_id: str) -> list[Row]:
        return [row for row in self.rows if row.job_id == job_id]

    async def _check(self, row: Row) -> None:
        """See for ourselves whether what we were told is true."""
        record = await self._daemon.call("job.get", {"jobId": row.job_id})
        listed = await self._daemon.call("gallery.list", {"jobId": row.job_id})
        await asyncio.to_thread(row.check, record, listed["items"])


def _first(row: dict[str, Any]) -> str:
    """Return the link of a job's first output; a job without one has none."""
    sources = [output.source for output in extract(row.get("output")).outputs]
    return next((one.url for one in sources if isinstance(one, Remote)), "")


def _how_to_look(state: Path, backend: Backend) -> str:
    programs = Path(sys.executable).parent
    daemon, media = (
        shlex.quote(str(programs / name))
        for name in ("stella-materializer", "stella-media")
    )
    where = shlex.quote(str(state))
    token = shlex.quote(str(backend.token_file))
    request = json.dumps({"capability": "text_to_image", "prompt": "a red fox"})
    return f"""
the page and all else stay up until you press Ctrl-C. In another terminal:
  {daemon} status --state-dir {where}
  {daemon} watch --state-dir {where}
  {daemon} gallery list --state-dir {where}
or make something yourself:
  export STELLA_STATE_DIR={where}
  export STELLA_SITE_URL={backend.site_url} STELLA_MEDIA_TOKEN_FILE={token}
  {media} generate --wait --request '{request}'"""


def _say(words: str) -> None:
    click.echo(words, err=True)
