"""A source of outputs that misbehaves as it is told: raw HTTP on loopback."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Origin:
    """Serves each path as it was told; counts what was asked of it.

    Attributes:
        port: where it listens on 127.0.0.1.
        requests: the request heads, in order.
        at_once: how many requests were open together at most.
        sent: bytes of bodies that `ranged` has sent.
    """

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[str] = []
        self.at_once = 0
        self.sent = 0
        self._open = 0
        self._paths: dict[str, Respond] = {}

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def serve(
        self, path: str, body: bytes, *headers: str, status: str = "200 OK"
    ) -> str:
        """Serve `body` with its length; return the URL."""
        return self.raw(
            path, status, f"Content-Length: {len(body)}", *headers, body=body
        )

    def raw(self, path: str, status: str, *headers: str, body: bytes = b"") -> str:
        """Serve exactly these headers and bytes, then close; return the URL."""
        head = "\r\n".join(
            (f"HTTP/1.1 {status}", *headers, "Connection: close", "", "")
        )

        async def respond(writer: asyncio.StreamWriter) -> None:
            writer.write(head.encode() + body)

        return self.respond(path, respond)

    def ranged(
        self, path: str, body: bytes, *headers: str, cuts: tuple[int, ...] = ()
    ) -> str:
        """Serve `body`, and parts of it; return the URL.

        Args:
            path: of the URL.
            body: the whole.
            headers: of every answer.
            cuts: after so many bytes the first answers end, one after the other.
        """
        left = list(cuts)

        async def respond(writer: asyncio.StreamWriter) -> None:
            asked = re.search(r"(?i)\nrange: bytes=(\d+)-\r", self.requests[-1])
            start = int(asked[1]) if asked else 0
            lines = [f"Content-Length: {len(body) - start}", *headers]
            status = "200 OK"
            if start:
                status = "206 Partial Content"
                rest = f"{start}-{len(body) - 1}/{len(body)}"
                lines.append(f"Content-Range: bytes {rest}")
            head = "\r\n".join((f"HTTP/1.1 {status}", *lines, "", ""))
            writer.write(head.encode())
            sent = body[start:][: left.pop(0) if left else None]
            writer.write(sent)
            self.sent += len(sent)

        return self.respond(path, respond)

    def respond(self, path: str, respond: Respond) -> str:
        """Let a function answer; return the URL."""
        self._paths[path] = respond
        return self.url(path)

    async def handle(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests.append(head)
            self._open += 1
            self.at_once = max(self.at_once, self._open)
            try:
                await self._paths[head.split(" ")[1]](writer)
            finally:
                self._open -= 1  # from here on the client may be done
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def origin() -> AsyncIterator[Origin]:
    """Run an origin for as long as the block lasts."""
    served = Origin()
    server = await asyncio.start_server(served.handle, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
