"""The listening end: a Unix socket, a named pipe on Windows, or standard input.

It can listen long before there are methods to call, so that a client that comes while
the daemon is still importing is greeted, and waits with the rest instead of failing.
Therefore this module and what it imports are light.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

from materializer.errors import AlreadyRunning, SettingsInvalid
from materializer.ipc import address, endpoint, sockets, stdio
from materializer.ipc.address import STDIO, Address
from materializer.ipc.connection import Connection, Method
from materializer.ipc.endpoint import Endpoint
from materializer.ipc.jsonlines import (
    METHOD_NOT_FOUND,
    SHUTTING_DOWN,
    Request,
    RpcError,
)

log = logging.getLogger(__name__)

# Turns of the event loop from a client's call to its connection. One that is between
# the two when a server is closed would be forgotten, and wait for ever.
_TAKE_IN = 3

Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


class IpcServer:
    """Listens for local clients within `async with`. Hold the instance lock.

    Entering raises SettingsInvalid when it cannot listen, and AlreadyRunning when
    somebody else does. `endpoint.json` is there exactly while clients can come.
    Leaving ends all connections within about a second.

    On Windows it listens on a named pipe, which by the system's default nobody else can
    write to; that part was never run here.

    Args:
        stop: once it is set, every request is refused; those that run go on. With
            `stdio` the end of the one connection sets it.
        where: None is the usual address of the state directory.
        greeting: answers `hello` until there are methods.
    """

    def __init__(
        self,
        state: Path,
        version: str,
        stop: asyncio.Event | None = None,
        where: Address | None = None,
        greeting: Method[None] | None = None,
    ) -> None:
        self._state = state
        self._version = version
        self._stop = stop or asyncio.Event()
        self._where = where
        self._methods: Mapping[str, Method[Any]] = (
            {"hello": greeting} if greeting else {}
        )
        self._ready = asyncio.Event()
        self._connections: set[Connection] = set()
        self._tasks = asyncio.TaskGroup()
        self._endpoint: Endpoint | None = None
        self._exits = AsyncExitStack()

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, as `endpoint.json` says it; not with `stdio`."""
        if self._endpoint is None:
            raise RuntimeError("the server does not listen")
        return self._endpoint

    def offer(self, methods: Mapping[str, Method[Any]]) -> None:
        """Answer calls with these methods, also those that came before."""
        self._methods = methods
        self._ready.set()

    async def __aenter__(self) -> Self:
        try:
            if self._where == STDIO:
                await self._take_stdio()
            else:
                await self._listen(self._where)
        except BaseException as fault:
            await self.__aexit__(fault)
            raise
        return self

    async def __aexit__(self, *fault: object) -> None:
        self._stop.set()
        self._ready.set()
        # The fault is not handed on: a TaskGroup would wrap it in a group.
        await self._exits.aclose()

    async def _take_stdio(self) -> None:
        """Serve the one connection that there is; nobody else can come."""
        await asyncio.to_thread(endpoint.withdraw, self._state)
        reader, writer = await self._exits.enter_async_context(stdio.streams())
        await self._open_house()
        connection = self._connect(reader, writer)
        self._tasks.create_task(self._serve(connection, then=self._stop.set))

    async def _listen(self, where: Address | None) -> None:
        if where is None:
            where = await asyncio.to_thread(Address.usual, self._state)
            self._exits.push_async_callback(
                asyncio.to_thread, address.tidy, self._state
            )
        await self._open_house()
        await self._exits.enter_async_context(_listening(where, self._accept))
        self._exits.push_async_callback(
            asyncio.to_thread, endpoint.withdraw, self._state
        )
        now = int(time.time() * 1000)
        told = Endpoint(where.path, os.getpid(), self._version, now)
        await asyncio.to_thread(endpoint.publish, self._state, told)
        self._endpoint = told

    async def _open_house(self) -> None:
        await self._exits.enter_async_context(self._tasks)
        self._exits.callback(self._end_connections)

    def _end_connections(self) -> None:
        for connection in self._connections:
            connection.end()

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = writer.get_extra_info("socket")
        if peer is not None and not sockets.peer_is_us(peer):
            log.warning("refusing a client of another user")
            writer.transport.abort()
            return
        self._tasks.create_task(self._serve(self._connect(reader, writer)))

    def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Connection:
        connection = Connection(reader, writer, self._perform, self._ready)
        self._connections.add(connection)
        return connection

    async def _serve(
        self, connection: Connection, then: Callable[[], None] | None = None
    ) -> None:
        try:
            await connection.serve()
        except Exception:  # a fault of one client's ends that client only
            log.exception("a client is disconnected: its work failed")
        finally:
            self._connections.discard(connection)
            if then is not None:
                then()

    async def _perform(self, connection: Connection, request: Request) -> object:
        if request.method not in self._methods:
            await self._ready.wait()
        if self._stop.is_set():
            raise RpcError(SHUTTING_DOWN, "the daemon is shutting down")
        method = self._methods.get(request.method)
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, "there is no such method")
        return await method.run(connection, method.read(request.params))


@asynccontextmanager
async def _listening(where: Address, accept: Accept) -> AsyncIterator[None]:
    if sys.platform == "win32":
        loop = asyncio.get_running_loop()
        if not isinstance(loop, asyncio.ProactorEventLoop):
            raise SettingsInvalid("named pipes need the proactor event loop")
        try:
            [pipe] = await loop.start_serving_pipe(
                lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), accept),
                where.path,
            )
        except PermissionError as error:  # only its first server may make a pipe
            raise AlreadyRunning(
                f"another program listens on {where.path}", pid=None
            ) from error
        try:
            yield
        finally:
            pipe.close()
        return
    bound = await asyncio.to_thread(sockets.listening, where)
    server = await asyncio.start_unix_server(accept, sock=bound)
    try:
        yield
    finally:
        await asyncio.to_thread(sockets.vacate, Path(where.path))
        for _ in range(_TAKE_IN):
            await asyncio.sleep(0)
        server.close()
