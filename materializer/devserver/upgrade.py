"""The websocket: an upgraded connection of uvicorn, handed to websockets.

ASGI can neither send an empty Close frame nor reset a connection nor cut a message
into frames, all of which a Convex server does. So uvicorn gives the whole connection,
head first, to websockets' own `ServerConnection`.
"""

from __future__ import annotations

import asyncio
import http
import json
import logging
import re
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.server import ServerProtocol

from materializer.devserver import pieces
from materializer.devserver.calls import Asked
from materializer.devserver.sync import Close, Conversation, Reply
from materializer.devserver.versions import ClientVersion, from_header, from_path
from materializer.devserver.weather import GARBAGE, Blow, HangUp, Sky

if TYPE_CHECKING:
    from websockets.asyncio.server import Server
    from websockets.http11 import Request, Response

    from materializer.devserver.deployment import Deployment

_OPEN_TIMEOUT = 10.0
# Short, so that a client which does not answer a Close cannot hold up the end.
_CLOSE_TIMEOUT = 0.3
_MAX_MESSAGE = 64 * 2**20
_PATH = re.compile(r"/api/(?:([^/?]+)/)?sync(?:\?.*)?")
# By then every token has expired.
_END_OF_TIME = 2**63 - 1
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How a connection is kept alive, in seconds.

    Attributes:
        ping_after: without another message, one that says the server is there.
        frame_ping_every: between pings of the websocket itself.
        silence: of the client, pongs included, after which it is given up.
    """

    ping_after: float = 15.0
    frame_ping_every: float = 5.0
    silence: float = 120.0


AS_CONVEX = Pace()


class _Listener:
    """What a `ServerConnection` asks of its server: whether it still listens."""

    def __init__(self, is_serving: Callable[[], bool]) -> None:
        self.is_serving = is_serving


class SyncSocket(ServerConnection):
    """One sync connection, from its upgrade to its end.

    Args:
        is_serving: False turns new connections away with 503.
        sky: the weather that it is exposed to.
        pace: how it is kept alive.
    """

    def __init__(self, is_serving: Callable[[], bool], sky: Sky, pace: Pace) -> None:
        super().__init__(
            ServerProtocol(
                max_size=_MAX_MESSAGE, extensions=[ServerPerMessageDeflateFactory()]
            ),
            cast("Server", _Listener(is_serving)),
            ping_interval=pace.frame_ping_every,
            ping_timeout=None,
            close_timeout=_CLOSE_TIMEOUT,
        )
        self._pace = pace
        self._heard_at = self.loop.time()
        self._turn = asyncio.Lock()
        self._said = asyncio.Event()
        self._changed = asyncio.Event()
        self._sky = sky
        self._silent = False
        self._helpers: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start without the task that websockets' own server would start here."""
        Connection.connection_made(self, transport)

    async def serve(self, conversation: Conversation, deployment: Deployment) -> None:
        """Shake hands, converse until either side ends it, and close."""
        try:
            with suppress(WebSocketException, TimeoutError):
                async with asyncio.timeout(_OPEN_TIMEOUT):
                    await self.handshake(self._admit, _mark_deprecated)
            if self.response is None or self.response.status_code != 101:
                return
            self._opened = self.loop.time()
            self.start_keepalive()
            self._conversation = conversation
            conversation.takes_chunks = self._client.takes_chunks
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
            self._group = group
            self._help(self._keep_up(conversation))
            self._help(self._keep_alive())
            self._help(self._give_up_on_silence())
            self._help(self._weather())
            with suppress(ConnectionClosed):
                async for message in self:
                    async with self._turn:
                        replies = conversation.receive(message, time.time_ns())
                        await self._say(replies)
            for helper in self._helpers:
                helper.cancel()

    def _help(self, work: Coroutine[Any, Any, None]) -> None:
        helper = self._group.create_task(work)
        self._helpers.add(helper)
        helper.add_done_callback(self._helpers.discard)

    async def _wait_for(self, asked: Asked, until: Awaitable[object]) -> None:
        await until
        async with self._turn:
            await self._say(self._conversation.resume(asked, time.time_ns()))

    async def _keep_up(self, conversation: Conversation) -> None:
        while await self._changed.wait():
            self._changed.clear()
            async with self._turn:
                await self._say(conversation.refresh(time.time_ns()))

    async def _keep_alive(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._pace.ping_after):
                    await self._said.wait()
                self._said.clear()
            except TimeoutError:
                await self._say(['{"type":"Ping"}'])

    async def _give_up_on_silence(self) -> None:
        while True:
            left = self._heard_at + self._pace.silence - self.loop.time()
            if left <= 0:
                return await self._say([Close(1000, "ClientDisconnected")])
            await asyncio.sleep(left)

    async def _weather(self) -> None:
        with suppress(ConnectionClosed):
            for turn in self._overhead.turns():
                await asyncio.sleep(self._opened + turn - self.loop.time())
                await self._strike(turn)

    async def _say(self, replies: Sequence[Reply]) -> None:
        # Whoever reads the socket notices its end; writers just stop.
        with suppress(ConnectionClosed):
            for reply in replies:
                self._said.set()
                if isinstance(reply, Close):
                    # Unlike close(), this can send a Close without a code.
                    async with self.send_context():
                        self.protocol.send_close(reply.code, reply.reason)
                elif isinstance(reply, Asked):
                    if reply.until:
                        self._help(self._wait_for(reply, reply.until()))
                else:
                    wait, texts = self._overhead.befall(reply, self._age())
                    await asyncio.sleep(wait)
                    for text in texts:
                        await self._send(text)
                    await self._strike(self._age())

    async def _send(self, text: str) -> None:
        # In one frame a large message would make the official Python client hang up.
        frames = pieces.frames(text)
        await self.send(frames if len(frames) > 1 else text)

    def _age(self) -> float:
        return self.loop.time() - self._opened

    async def _strike(self, age: float) -> None:
        while trouble := self._overhead.strike(age):
            if isinstance(trouble, HangUp):
                await self._say([Close(trouble.code, trouble.reason)])
            else:
                await self._suffer(trouble)

    async def _suffer(self, blow: Blow) -> None:
        match blow.does:
            case "drop":
                self._silent = True
                self.transport.write_eof()
            case "reset":
                self._reset()
            case "garbage":
                await self.send(GARBAGE)
            case "expire":
                await self._say(self._conversation.refresh(_END_OF_TIME))
            case "half_open":
                self._silent = True

    def _reset(self) -> None:
        # To linger for no time turns the end of a connection into a reset.
        linger = struct.pack("ii", 1, 0)
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Note that the client lives; hear nothing once the weather says so."""
        self._heard_at = self.loop.time()
        if not self._silent:
            super().data_received(data)

    def send_data(self) -> None:
        """Send nothing then, not even pings."""
        if not self._silent:
            super().send_data()

    def _admit(self, _: ServerConnection, request: Request) -> Response | None:
        try:
            self._client = _client(request)
        except LookupError:
            return self.respond(http.HTTPStatus.NOT_FOUND, "There is no such socket.\n")
        except ValueError as error:
            return self._refuse("InvalidClientVersion", str(error))
        if self._client.unsupported:
            return self._refuse("ClientVersionUnsupported", self._client.complaint)
        self._overhead = self._sky.connect()
        if weather := self._overhead.refusal():
            return self.respond(weather.status, weather.body)
        return None

    def _refuse(self, code: str, message: str) -> Response:
        body = json.dumps({"code": code, "message": message})
        response = self.respond(http.HTTPStatus.BAD_REQUEST, body)
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response


def _client(request: Request) -> ClientVersion:
    match = _PATH.fullmatch(request.path)
    if match is None:
        raise LookupError
    in_path = from_path(match[1]) if match[1] else ClientVersion()
    header = request.headers.get("Convex-Client")
    return from_header(header) if header else in_path


def _mark_deprecated(
    socket: ServerConnection, request: Request, response: Response
) -> None:
    with suppress(LookupError, ValueError):
        response.headers.update(_client(request).deprecation)
