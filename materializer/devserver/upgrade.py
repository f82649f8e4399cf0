"""The websocket: an upgraded connection of uvicorn, handed to websockets.

ASGI can neither send an empty Close frame nor reset a connection nor cut a message
into frames, all of which a Convex server does. So uvicorn gives the whole connection,
head first, to websockets' own `ServerConnection`.
"""

from __future__ import annotations

import asyncio
import http
import logging
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.server import ServerProtocol

from materializer.devserver.sync import Close, Conversation, Reply

if TYPE_CHECKING:
    from websockets.asyncio.server import Server
    from websockets.http11 import Request, Response

    from materializer.devserver.deployment import Deployment

PING_AFTER = 15.0
FRAME_PING_EVERY = 5.0
_OPEN_TIMEOUT = 10.0
# Short, so that a client which does not answer a Close cannot hold up the end.
_CLOSE_TIMEOUT = 0.3
_MAX_MESSAGE = 64 * 2**20
_PATH = re.compile(r"/api/(?:([^/?]+)/)?sync(?:\?.*)?")
_SEMVER = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?", re.ASCII)
log = logging.getLogger(__name__)


class _Listener:
    """What a `ServerConnection` asks of its server: whether it still listens."""

    def __init__(self, is_serving: Callable[[], bool]) -> None:
        self.is_serving = is_serving


class SyncSocket(ServerConnection):
    """One sync connection, from its upgrade to its end.

    Args:
        is_serving: False turns new connections away with 503.
    """

    def __init__(self, is_serving: Callable[[], bool]) -> None:
        super().__init__(
            ServerProtocol(max_size=_MAX_MESSAGE),
            cast("Server", _Listener(is_serving)),
            ping_interval=FRAME_PING_EVERY,
            close_timeout=_CLOSE_TIMEOUT,
        )
        self._turn = asyncio.Lock()
        self._said = asyncio.Event()
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start without the task that websockets' own server would start here."""
        Connection.connection_made(self, transport)

    async def serve(self, conversation: Conversation, deployment: Deployment) -> None:
        """Shake hands, converse until either side ends it, and close."""
        try:
            with suppress(WebSocketException, TimeoutError):
                async with asyncio.timeout(_OPEN_TIMEOUT):
                    await self.handshake(_check_path)
            if self.response is None or self.response.status_code != 101:
                return
            self.start_keepalive()
            deployment.watchers.add(self._changed.set)
            try:
                await self._converse(conversation)
            except Exception:
                log.exception("A sync conversation failed")
                await self.close(1011, "InternalServerError")
            finally:
                deployment.watchers.discard(self._changed.set)
                await self.close(1001)
        finally:
            self.transport.close()

    async def _converse(self, conversation: Conversation) -> None:
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(self._keep_up(conversation)),
                group.create_task(self._keep_alive()),
            ]
            with suppress(ConnectionClosed):
                async for message in self:
                    async with self._turn:
                        replies = conversation.receive(message, time.time_ns())
                        await self._say(replies)
            for helper in helpers:
                helper.cancel()

    async def _keep_up(self, conversation: Conversation) -> None:
        while await self._changed.wait():
            self._changed.clear()
            async with self._turn:
                await self._say(conversation.refresh(time.time_ns()))

    async def _keep_alive(self) -> None:
        while True:
            try:
                async with asyncio.timeout(PING_AFTER):
                    await self._said.wait()
                self._said.clear()
            except TimeoutError:
                await self._say(['{"type":"Ping"}'])

    async def _say(self, replies: Sequence[Reply]) -> None:
        # Whoever reads the socket notices its end; writers just stop.
        with suppress(ConnectionClosed):
            for reply in replies:
                self._said.set()
                if isinstance(reply, Close):
                    # Unlike close(), this can send a Close without a code.
                    async with self.send_context():
                        self.protocol.send_close(reply.code, reply.reason)
                else:
                    await self.send(reply)


def _check_path(socket: ServerConnection, request: Request) -> Response | None:
    match = _PATH.fullmatch(request.path)
    if match is None:
        return socket.respond(http.HTTPStatus.NOT_FOUND, "There is no such socket.\n")
    if match[1] and not _SEMVER.fullmatch(match[1]):
        say = '{"code":"InvalidVersion","message":"The version is no semver."}'
        return socket.respond(http.HTTPStatus.BAD_REQUEST, say)
    return None
