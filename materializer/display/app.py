"""The page's server on 127.0.0.1: everything joined, started and stopped."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Self

import uvicorn
from starlette.applications import Starlette

from materializer.config import Paths
from materializer.display.api import REFUSALS, Api
from materializer.display.assets import Assets
from materializer.display.door import Door
from materializer.display.link import Link
from materializer.display.session import Session
from materializer.errors import SettingsInvalid


class DisplayPage:
    """The Display sidebar as a page; served between `async with` and its end.

    Entering raises DaemonUnreachable when no daemon runs for these paths, RpcError
    when it will not have us, and SettingsInvalid when the port is taken.

    Args:
        port: of 127.0.0.1; 0 picks a free one.

    Attributes:
        url: the address to open. It lets one browser in, once.
    """

    url: str

    def __init__(self, paths: Paths, port: int = 0) -> None:
        self._paths = paths
        self._port = port

    async def __aenter__(self) -> Self:
        """Return when browsers can connect."""
        self._running: AbstractAsyncContextManager[None] = self._run()
        await self._running.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        # What the body raised passes by unseen; a TaskGroup would wrap it.
        await self._running.__aexit__(None, None, None)

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        with _listen(self._port) as listener:
            port, session = listener.getsockname()[1], Session()
            page = f"http://127.0.0.1:{port}/"
            async with Link(self._paths.state, page) as link:
                self.url = f"{page}?key={session.key}"
                app = Starlette(
                    routes=[*Assets().routes, *Api(link, self._paths).routes],
                    exception_handlers=REFUSALS,
                )
                server = _Server(_config(Door(app, session, port)))
                async with asyncio.TaskGroup() as tasks:
                    following = tasks.create_task(link.run())
                    tasks.create_task(server.serve([listener]))
                    yield
                    following.cancel()
                    link.dismiss()
                    server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals belong to the process's host."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(door: Door) -> uvicorn.Config:
    return uvicorn.Config(
        door,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise SettingsInvalid(
            f"the page cannot be served on port {port}: {error.strerror};"
            " choose another one with --port"
        ) from error
