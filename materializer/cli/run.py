"""`stella-materializer run`: the daemon, and the manners of its process."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import AsyncExitStack
from typing import Any

import click

from materializer import __version__, host, logs, quantity
from materializer.cli import options
from materializer.config import Settings
from materializer.credentials import Credentials
from materializer.errors import SettingsInvalid
from materializer.gallery import Gallery
from materializer.ipc.server import IpcServer

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
    "--ready-json",
    is_flag=True,
    help="Print one line of JSON when clients can connect.",
)
@click.option(
    "--exit-with-parent", is_flag=True, help="Leave at the end of standard input."
)
def run(
    since: str | None,
    once: bool,
    ready_json: bool,
    exit_with_parent: bool,
    **flags: Any,
) -> None:
    """Run the daemon in the foreground until SIGTERM or SIGINT.

    Finished media is fetched to <state>/media/outputs, entered in the gallery and
    announced to local clients; failures are shown as notifications.
    """
    settings = options.read(**flags)
    asyncio.run(
        serve(
            settings,
            since=_since(since),
            once=once,
            ready_json=ready_json,
            exit_with_parent=exit_with_parent,
        )
    )


async def serve(
    settings: Settings,
    *,
    since: int | None,
    once: bool,
    ready_json: bool,
    exit_with_parent: bool,
) -> None:
    """Hold the lock, listen, and only then load and run the daemon."""
    paths = settings.paths
    credentials = Credentials.of(settings)
    stop = asyncio.Event()
    async with AsyncExitStack() as process:
        loop = asyncio.get_running_loop()
        process.enter_context(host.stop_on_signals(loop, stop))
        if exit_with_parent:
            host.parent_gone(stop)
        await credentials.current()  # an unusable one leaves nothing behind
        await asyncio.to_thread(host.prepare_directories, paths)
        process.enter_context(host.InstanceLock(paths.lock))
        gallery = await asyncio.to_thread(Gallery.open, paths.gallery_db, paths.outputs)
        process.push_async_callback(gallery.close)
        await asyncio.to_thread(
            logs.setup_logging,
            settings.log_level,
            settings.log_format,
            paths.logs / "materializer.log",
        )
        server = await process.enter_async_context(IpcServer(paths.state, __version__))
        if ready_json:
            line = {"ready": True, "endpoint": server.endpoint.wire()}
            click.echo(json.dumps(line))
        log.info("version %s serves %s", __version__, paths.state)

        # Loads the libraries, behind a socket at which clients can already wait.
        from materializer.daemon import Daemon, Manner

        manner = Manner(since=since, once=once)
        daemon = await process.enter_async_context(
            Daemon.open(settings, manner, credentials, gallery, stop)
        )
        server.offer(daemon.methods)
        await daemon.run()
        server.begin_shutdown()


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
