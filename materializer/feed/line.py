"""One connection to the deployment: the room of the websockets library."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import ssl
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, cast
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.typing import BytesLike

from materializer.convex import events
from materializer.convex.words import fit
from materializer.errors import FeedUnreachable

MAX_SIZE = 64 * 2**20
OPEN_SECONDS = 15.0
CLOSE_SECONDS = 1.0
_READ = 126 * 1024
SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}

# At DEBUG the library logs every frame, and so the token.
_socket_logger = logging.getLogger(f"{__name__}.socket")
_socket_logger.setLevel(logging.INFO)


class Line:
    """A connection, from the attempt to its end.

    Args:
        uri: of the sync socket.
        client: name and version of this program.
        tell: takes Opened, what is Received together and, at the end, Closed.

    Attributes:
        task: runs it; set by whoever starts `run`.
    """

    def __init__(
        self, uri: str, client: str, tell: Callable[[Sequence[events.Event]], None]
    ) -> None:
        self.task: asyncio.Task[None] | None = None
        self._uri = uri
        self._client = client
        self._tell = tell
        self._socket: _Socket | None = None
        self._outgoing: asyncio.Queue[str | None] = asyncio.Queue()

    @property
    def heard(self) -> float:
        """The event loop's time at which anything was last heard, pings included."""
        return self._socket.heard if self._socket else -inf

    def send(self, text: str) -> None:
        """Queue a message."""
        self._outgoing.put_nowait(text)

    def close(self) -> None:
        """End it once everything is sent, or the attempt at once."""
        if self._socket:
            self._outgoing.put_nowait(None)
        elif self.task:
            self.task.cancel()

    async def run(self) -> None:
        """Connect and talk until the connection ends."""
        try:
            reason = await self._converse()
        except FeedUnreachable as error:
            reason = str(error)
        self._tell([events.Closed(reason)])

    async def _converse(self) -> str:
        async with await _dial(self._uri, self._client) as socket:
            self._socket = socket
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(self._write(socket))
                self._tell([events.Opened()])
                socket.listen(self._tell)
                await socket.wait_closed()
                writing.cancel()
        return socket.close_reason or f"closed with code {socket.close_code}"

    async def _write(self, socket: _Socket) -> None:
        with contextlib.suppress(ConnectionClosed):  # told by whoever waits for it
            while (text := await self._outgoing.get()) is not None:
                await socket.send(text)
            await socket.close()


class _Socket(ClientConnection):
    """A connection that hands messages over while it reads them from the network.

    `recv` would hand it over a turn of the event loop later, and what takes messages
    here is quick and never waits.

    Attributes:
        heard: the event loop's time at which anything was last heard, pings included.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.heard = -inf
        self._partial = bytearray()
        self._text = True
        self._received: list[events.Received] = []
        self._tell: Callable[[Sequence[events.Event]], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio reads into 256 KiB at a time, memory that malloc would map and unmap
        # for every message; below 128 KiB it does not.
        vars(transport)["max_size"] = _READ
        super().connection_made(transport)

    def listen(self, tell: Callable[[Sequence[events.Event]], None]) -> None:
        """Hand all messages over, those that have come already first."""
        self._tell = tell
        self._hand_over()

    def data_received(self, data: bytes) -> None:
        self.heard = self.loop.time()
        super().data_received(data)
        self._hand_over()

    def _hand_over(self) -> None:
        if self._received and self._tell:
            together, self._received = self._received, []
            self._tell(together)

    def process_event(self, event: Frame | Request | Response) -> None:
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        if event.opcode is not Opcode.CONT:
            self._text = event.opcode is Opcode.TEXT
        data = event.data
        if self._partial or not event.fin:
            self._partial += data
            data = self._partial
        if event.fin:
            self._partial = bytearray()
            message = _decoded(data) if self._text else bytes(data)
            self._received.append(events.Received(message))


class _Dial(connect):
    """A connection attempt that goes to the deployment or nowhere."""

    def process_redirect(self, exc: Exception) -> Exception:
        """Follow no redirect: the token would follow it."""
        return exc


async def _dial(uri: str, client: str) -> _Socket:
    tls = await asyncio.to_thread(_trust) if uri.startswith("wss:") else None
    try:
        socket = await _Dial(
            uri,
            create_connection=_Socket,
            additional_headers={"Convex-Client": client},
            max_size=MAX_SIZE,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            logger=_socket_logger,
            ssl=tls,
        )
    except InvalidStatus as error:
        raise FeedUnreachable(_refusal(error.response)) from error
    # ImportError: a proxy is set that needs a library which is not there.
    except (OSError, WebSocketException, UnicodeError, ImportError) as error:
        raise FeedUnreachable(f"cannot connect: {fit(str(error))}") from error
    return cast("_Socket", socket)


def _decoded(data: BytesLike) -> str | bytes:
    """Return the text of a message; its bytes, which nobody accepts, if it is none."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        return bytes(data)


@functools.cache
def _trust() -> ssl.SSLContext:
    """Return the system's trust in certificates, loaded when it is first needed."""
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _refusal(response: Response) -> str:
    """Return why the upgrade was refused: the deployment's code and words."""
    try:
        told = json.loads(response.body or b"")
        return fit(f"{told['code']}: {told['message']}")
    except (ValueError, RecursionError, KeyError, TypeError):
        return f"the server refused with HTTP {response.status_code}"


def sync_uri(url: str) -> str:
    """Return where the sync socket of a deployment is, whose URL has been checked."""
    parts = urlsplit(url)
    return f"{SCHEMES[parts.scheme]}://{parts.netloc}/api/sync"
