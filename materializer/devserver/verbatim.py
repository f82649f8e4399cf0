"""Answers that go over the wire byte for byte, proper HTTP or not.

uvicorn keeps to HTTP: it adds what is missing, and refuses to send more or less than
was announced. So an answer can have the connection for itself.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Literal

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_STEP = 64 * 1024
_STEPS_A_SECOND = 20
Then = Literal["close", "reset", "hold", "zeros"]


class HttpConnection(H11Protocol):
    """uvicorn's connection, which answers find as `connection` in their state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Begin, as uvicorn does."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "connection": self}
        self._taken = False

    def take(self) -> None:
        """Leave the connection to an answer: whatever happens to it is its doing."""
        self._taken = True
        # So that `send` returns when everything is on its way.
        self.transport.set_write_buffer_limits(0)

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.transport.write(data)
        await self.flow.drain()

    def reset(self) -> None:
        """End the connection without a FIN; what is on its way may be lost."""
        # To linger for no time turns the end of a connection into a reset.
        linger = struct.pack("ii", 1, 0)
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.transport.abort()

    def shutdown(self) -> None:
        """End at once what was taken: it may be without an end of its own."""
        if self._taken:
            self.transport.abort()
        else:
            super().shutdown()


class Verbatim:
    """An answer, as an ASGI application; over when the connection has ended.

    Args:
        head: with the empty line that ends it.
        body: what follows.
        rate: of the body, in bytes a second; without it, as fast as it goes.
        then: whether the connection is closed, reset or held after that, or zeros
            follow until the client leaves.
    """

    def __init__(
        self,
        head: bytes,
        body: bytes,
        *,
        rate: int | None = None,
        then: Then = "close",
    ) -> None:
        self._head = head
        self._body = body
        self._rate = rate
        self._then = then

    async def __call__(self, scope: Scope, receive: Receive, _: Send) -> None:
        """Answer on the connection in the state of `scope`."""
        connection: HttpConnection = scope["state"]["connection"]
        connection.take()
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(self._play(connection))
            while (await receive())["type"] != "http.disconnect":
                pass
            playing.cancel()

    async def _play(self, connection: HttpConnection) -> None:
        await connection.send(self._head)
        step = _STEP if self._rate is None else max(1, self._rate // _STEPS_A_SECOND)
        for at in range(0, len(self._body), step):
            await connection.send(self._body[at : at + step])
            await asyncio.sleep(step / self._rate if self._rate else 0)
        match self._then:
            case "close":
                connection.transport.close()
            case "reset":
                connection.reset()
            case "zeros":
                while True:
                    await connection.send(bytes(_STEP))
                    await asyncio.sleep(0)
            case "hold":
                pass
