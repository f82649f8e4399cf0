"""The listening end: a Unix socket, or a named pipe on Windows.

It can listen long before there are methods to call, so that a client that comes while
the daemon is still importing waits instead of failing. Therefore this module and what
it imports are light.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

from materializer.errors import SettingsInvalid
from materializer.ipc import endpoint
from materializer.ipc.connection import Connection, Method
from materializer.ipc.endpoint import Endpoint
from materializer.ipc.jsonlines import (
    METHOD_NOT_FOUND,
    SHUTTING_DOWN,
    Request,
    RpcError,
)

log = logging.getLogger(__name__)

Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]

_QUEUED_CLIENTS = 128


class IpcServer:
    """Listens for local clients within `async with`. Hold the instance lock.

    Entering raises SettingsInvalid when there can be no socket, and AlreadyRunning
    when somebody answers on it. `endpoint.json` is there exactly while it listens.
    Leaving ends all connections within about a second.

    On Windows it listens on a named pipe; that part was never run here.
    """

    def __init__(self, state: Path, version: str) -> None:
        self._state = state
        self._version = version
        self._methods: Mapping[str, Method[Any]] = {}
        self._ready = asyncio.Event()
        self._shutting_down = False
        self._connections: set[Connection] = set()
        self._tasks = asyncio.TaskGroup()
        self._endpoint: Endpoint | None = None
        self._exits = AsyncExitStack()

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, as `endpoint.json` says it; only after entering."""
        if self._endpoint is None:
            raise RuntimeError("the server does not listen yet")
        return self._endpoint

    def offer(self, methods: Mapping[str, Method[Any]]) -> None:
        """Answer calls with these methods, also those that came before."""
        self._methods = methods
        self._ready.set()

    def begin_shutdown(self) -> None:
        """Refuse every request from now on; those that run go on."""
        self._shutting_down = True
        self._ready.set()

    async def __aenter__(self) -> Self:
        await self._exits.enter_async_context(self._tasks)
        self._exits.callback(self._end_connections)
        try:
            path = await self._exits.enter_async_context(
                _listening(self._state, self._accept)
            )
            told = Endpoint(path, os.getpid(), self._version, int(time.time() * 1000))
            self._exits.push_async_callback(
                asyncio.to_thread, endpoint.withdraw, self._state
            )
            await asyncio.to_thread(endpoint.publish, self._state, told)
        except BaseException as fault:
            await self.__aexit__(fault)
            raise
        self._endpoint = told
        return self

    async def __aexit__(self, *fault: object) -> None:
        self.begin_shutdown()
        # The fault is not handed on: a TaskGroup would wrap it in a group.
        await self._exits.aclose()

    def _end_connections(self) -> None:
        for connection in self._connections:
            connection.end()

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = writer.get_extra_info("socket")
        if peer is not None and not endpoint.peer_is_us(peer):
            log.warning("refusing a client of another user")
            writer.transport.abort()
            return
        connection = Connection(reader, writer, self._perform)
        self._connections.add(connection)
        self._tasks.create_task(self._serve(connection))

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.serve()
        except Exception:  # a fault of one client's ends that client only
            log.exception("a client is disconnected: its work failed")
        finally:
            self._connections.discard(connection)

    async def _perform(self, connection: Connection, request: Request) -> object:
        await self._ready.wait()
        if self._shutting_down:
            raise RpcError(SHUTTING_DOWN, "the daemon is shutting down")
        method = self._methods.get(request.method)
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, "there is no such method")
        return await method.run(connection, method.read(request.params))


@asynccontextmanager
async def _listening(state: Path, accept: Accept) -> AsyncIterator[str]:
    if sys.platform == "win32":
        loop = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.ProactorEventLoop):
            raise SettingsInvalid("named pipes need the proactor event loop")
        name = endpoint.pipe_name(state)
        [pipe] = await loop.start_serving_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), accept), name
        )
        try:
            yield name
        finally:
            pipe.close()
        return
    path = await asyncio.to_thread(endpoint.socket_path, state)
    bound = await asyncio.to_thread(_bind, path)
    server = await asyncio.start_unix_server(
        accept, sock=bound, backlog=_QUEUED_CLIENTS
    )
    try:
        yield str(path)
    finally:
        server.close()
        await asyncio.to_thread(endpoint.vacate, state, path)


def _bind(path: Path) -> socket.socket:
    endpoint.free(path)
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        bound.close()
        raise SettingsInvalid(f"no socket can be made at {path}: {error}") from error
    return bound
