"""`stella-materializer run`: the daemon, and the manners of its process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from materializer import __version__, host, logs, quantity
from materializer.cli import options
from materializer.cli.succession import hold
from materializer.config import Paths, Settings
from materializer.credentials import Credentials
from materializer.errors import SettingsInvalid
from materializer.gallery import Gallery
from materializer.ipc.address import STDIO, Address
from materializer.ipc.endpoint import Endpoint
from materializer.ipc.greeting import greeting
from materializer.ipc.server import IpcServer
from materializer.supervisor import Supervisor

if TYPE_CHECKING:
    from materializer.daemon import Daemon

log = logging.getLogger(__name__)


@click.command()
@options.backend
@options.keys
@click.option(
    "--since",
    metavar="AGO",
    help="How far to look back this once: 2h, 3d, or ALL.",
)
@click.option(
    "--once", is_flag=True, help="Catch up, wait until every job has settled, leave."
)
@click.option(
    "--listen",
    metavar="WHERE",
    help="Where clients connect: unix://PATH, pipe://NAME, or stdio://, this process's"
    " own standard input and output.",
)
@click.option(
    "--ready-json",
    is_flag=True,
    help="Print one line of JSON when clients can connect.",
)
@click.option(
    "--exit-with-parent", is_flag=True, help="Leave at the end of standard input."
)
@click.option(
    "--if-not-running",
    is_flag=True,
    help="Leave with exit code 0 when a daemon runs already; take over from an older"
    " version.",
)
def run(
    since: str | None,
    once: bool,
    listen: str | None,
    ready_json: bool,
    exit_with_parent: bool,
    if_not_running: bool,
    **flags: Any,
) -> None:
    """Run the daemon in the foreground until SIGTERM or SIGINT.

    Finished media is fetched to <state>/media/outputs, entered in the gallery and
    announced to local clients; failures are shown as notifications.
    """
    reread = partial(options.read, **flags)
    settings = reread()
    where = None if listen is None else Address.read(listen)
    if where == STDIO and ready_json:
        raise SettingsInvalid(
            "--ready-json and --listen stdio:// both want standard output: choose one"
        )
    asyncio.run(
        serve(
            settings,
            where,
            reread,
            since=_since(since),
            once=once,
            ready_json=ready_json,
            exit_with_parent=exit_with_parent,
            if_not_running=if_not_running,
        )
    )


async def serve(
    settings: Settings,
    where: Address | None,
    reread: Callable[[], Settings],
    *,
    since: int | None,
    once: bool,
    ready_json: bool,
    exit_with_parent: bool,
    if_not_running: bool,
) -> None:
    """Hold the lock, listen, and only then load and run the daemon."""
    host.share_one_heap()
    credentials, paths = Credentials.of(settings), settings.paths
    supervisor = Supervisor.of(os.environ)
    async with AsyncExitStack() as process:
        stop, hangup = process.enter_context(_signals())
        # The end of standard input as a connection ends the daemon anyway.
        if exit_with_parent and where != STDIO:
            host.parent_gone(stop)
        await credentials.current()  # an unusable one leaves nothing behind
        if other := await _take_place(process, paths, step_back=if_not_running):
            if ready_json:
                _say_ready(other)
            return
        gallery = await _open(process, settings)
        hello = greeting(paths.state, lambda: _owner(settings, credentials))
        server = IpcServer(paths.state, __version__, stop, where, hello)
        await process.enter_async_context(server)
        if ready_json:
            _say_ready(server.endpoint)
        log.info("version %s serves %s", __version__, paths.state)
        opening = await _load(settings, credentials, gallery, stop, since, once=once)
        daemon = await process.enter_async_context(opening)
        server.offer(daemon.methods)
        await daemon.run(
            supervisor.attend(daemon.pulse, daemon.standing()),
            _renew(daemon, reread, hangup, supervisor),
        )


@contextmanager
def _signals() -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """Have two events set: to stop, and to read the settings again."""
    loop, stop, hangup = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    with host.stop_on_signals(loop, stop), host.note_hangups(loop, hangup):
        yield stop, hangup


async def _take_place(
    process: AsyncExitStack, paths: Paths, *, step_back: bool
) -> Endpoint | None:
    """Hold the lock until the process ends, or return where who has it listens."""
    await asyncio.to_thread(host.prepare_directories, paths)
    lock = host.InstanceLock(paths.lock)
    other = await hold(lock, paths.state, step_back=step_back)
    if other is None:
        process.push(lock)
    return other


async def _open(process: AsyncExitStack, settings: Settings) -> Gallery:
    """Open what is written to: the gallery, until the process ends, and the log."""
    paths = settings.paths
    gallery = await asyncio.to_thread(
        Gallery.open, paths.gallery_db, paths.outputs, mend=True
    )
    process.push_async_callback(gallery.close)
    await asyncio.to_thread(_open_log, settings)
    return gallery


async def _load(
    settings: Settings,
    credentials: Credentials,
    gallery: Gallery,
    stop: asyncio.Event,
    since: int | None,
    *,
    once: bool,
) -> AbstractAsyncContextManager[Daemon]:
    """Load the libraries, while clients are greeted and wait for the rest."""
    house = await asyncio.to_thread(import_module, "materializer.daemon")
    opening: AbstractAsyncContextManager[Daemon] = house.Daemon.open(
        settings, house.Manner(since, once), credentials, gallery, stop
    )
    return opening


async def _renew(
    daemon: Daemon,
    reread: Callable[[], Settings],
    hangup: asyncio.Event,
    supervisor: Supervisor,
) -> None:
    """Read the settings again at each hangup; unusable ones change nothing."""
    while True:
        await hangup.wait()
        hangup.clear()
        with supervisor.reloading():
            try:
                newer = await asyncio.to_thread(reread)
                await asyncio.to_thread(_open_log, daemon.adopt(newer))
            except SettingsInvalid as error:
                log.error("settings: %s", error)  # noqa: TRY400 -- words say it all
            else:
                log.info("the settings were read again")


def _say_ready(endpoint: Endpoint) -> None:
    try:
        click.echo(json.dumps({"ready": True, "endpoint": endpoint.wire()}))
    except OSError:
        # Whoever started us has gone; that alone is no reason to leave.
        sys.stdout = None  # nor must the exit flush it


def _owner(settings: Settings, credentials: Credentials) -> str | None:
    """Return who will be signed in: without a deployment nobody can be."""
    grant = credentials.grant
    deployment = settings.convex_url or grant.convex_url
    return grant.token.owner if deployment and grant.token else None


def _open_log(settings: Settings) -> None:
    file = settings.paths.logs / logs.FILE_NAME
    level, style = settings.log_level, settings.log_format
    try:
        logs.setup_logging(level, style, file)
    except OSError as error:  # files are still saved
        logs.setup_logging(level, style)
        log.warning("there is no log file: %s", error)


def _since(ago: str | None) -> int | None:
    if ago is None:
        return None
    if ago.upper() == "ALL":
        return 0
    try:
        seconds = quantity.duration(ago)
    except ValueError as error:
        raise SettingsInvalid(
            f"--since is {ago!r}; it should be ALL or {error}"
        ) from error
    return max(0, int((time.time() - seconds) * 1000))
