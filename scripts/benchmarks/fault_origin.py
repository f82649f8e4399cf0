"""An origin that goes wrong as it is told: raw HTTP, on the loopback.

What it was asked and how much it sent is what the faults are judged by.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

_STEP = 64 * 1024
_PACE = 0.004  # seconds for each step: 16 MiB/s


@dataclass(slots=True)
class Heard:
    """One request.

    Attributes:
        at: when it came, in seconds of the monotonic clock.
        start: the first byte of the range that was asked for; None for the whole.
        unless_changed: the validator of If-Range, where there was one.
        sent: how many bytes of a body it was answered with.
    """

    at: float
    start: int | None
    unless_changed: str | None
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Body:
    """What is served, and its entity tag."""

    data: bytes
    tag: str


Answer = Callable[[Heard, StreamWriter], Awaitable[None]]


class Origin:
    """Answers each request as `answer` does; `heard` are the requests, in order.

    Attributes:
        port: where it listens on 127.0.0.1.
        under_way: set when a quarter of a body was sent.
        held: set when an answer of `serve` holds back the rest.
    """

    def __init__(self, answer: Answer) -> None:
        self.port = 0
        self.answer = answer
        self.heard: list[Heard] = []
        self.under_way = asyncio.Event()
        self.held = asyncio.Event()

    @property
    def url(self) -> str:
        """Where a picture is to be had."""
        return f"http://127.0.0.1:{self.port}/j_0.png"

    @property
    def sent(self) -> int:
        """How many bytes of bodies were sent since `heard` was empty."""
        return sum(heard.sent for heard in self.heard)

    def serve(self, body: Body, *, hold: int | None = None) -> Answer:
        """Return what an origin without fault answers, ranges included.

        Args:
            hold: after so many bytes of the body nothing comes any more.
        """

        async def answer(heard: Heard, writer: StreamWriter) -> None:
            start, size = heard.start or 0, len(body.data)
            if heard.unless_changed not in {None, body.tag}:
                start = 0
            lines = [
                "Content-Type: image/png",
                "Accept-Ranges: bytes",
                f"ETag: {body.tag}",
                f"Content-Length: {max(0, size - start)}",
            ]
            if start == 0:
                _head(writer, "200 OK", lines)
            elif start < size:
                lines.append(f"Content-Range: bytes {start}-{size - 1}/{size}")
                _head(writer, "206 Partial Content", lines)
            else:
                lines.append(f"Content-Range: bytes */{size}")
                _head(writer, "416 Range Not Satisfiable", lines)
            first = min(start + size // 4, hold or size)
            await send(heard, writer, body.data[start:first])
            self.under_way.set()
            await send(heard, writer, body.data[first : hold or size])
            if hold is not None:
                self.held.set()
                await asyncio.Event().wait()

        return answer

    async def handle(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Hear one request of a connection, answer it, hang up."""
        writer.transport.set_write_buffer_limits(0)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            heard = Heard(time.monotonic(), _start(head), _field(head, "If-Range"))
            self.heard.append(heard)
            async with asyncio.TaskGroup() as tasks:
                answering = tasks.create_task(self._answer(heard, writer))
                # The end of the connection ends an answer that holds back.
                gone = tasks.create_task(_gone(reader))
                answering.add_done_callback(lambda _: gone.cancel())
                gone.add_done_callback(lambda _: answering.cancel())
        except asyncio.IncompleteReadError:
            pass  # it hung up without a question
        finally:
            writer.close()

    async def _answer(self, heard: Heard, writer: StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await self.answer(heard, writer)
            await writer.drain()


async def _gone(reader: StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        await reader.read()


@asynccontextmanager
async def origin(answer: Answer) -> AsyncIterator[Origin]:
    """Listen for as long as the block lasts."""
    served = Origin(answer)
    server = await asyncio.start_server(served.handle, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()


def cut(body: Body, *, framing: str) -> Answer:
    """Return an answer that ends in the middle of the body, whatever is asked for.

    Args:
        framing: how its end would be known: `length`, `chunked`, or `close`, where a
            whole body would end the same way.
    """
    lines = {
        "length": [f"Content-Length: {len(body.data)}"],
        "chunked": ["Transfer-Encoding: chunked"],
        "close": [],
    }[framing]

    async def answer(heard: Heard, writer: StreamWriter) -> None:
        half = body.data[: len(body.data) // 2]
        _head(writer, "200 OK", ["Content-Type: image/png", *lines])
        if framing == "chunked":
            writer.write(b"%x\r\n" % len(half))
        await send(heard, writer, half)
        if framing == "chunked":
            writer.write(b"\r\n")

    return answer


def whole(status: str, body: bytes, *lines: str) -> Answer:
    """Return an answer that has its length, and ends there."""

    async def answer(heard: Heard, writer: StreamWriter) -> None:
        _head(writer, status, [*lines, f"Content-Length: {len(body)}"])
        await send(heard, writer, body)

    return answer


async def send(heard: Heard, writer: StreamWriter, data: bytes) -> None:
    """Send a body at a pace that every client keeps up with, and count it."""
    for at in range(0, len(data), _STEP):
        step = data[at : at + _STEP]
        writer.write(step)
        await writer.drain()
        heard.sent += len(step)
        await asyncio.sleep(_PACE)


def _head(writer: StreamWriter, status: str, lines: list[str]) -> None:
    head = "\r\n".join((f"HTTP/1.1 {status}", *lines, "Connection: close", "", ""))
    writer.write(head.encode())


def _field(head: str, name: str) -> str | None:
    found = re.search(rf"^{name}:\s*(.*?)\s*$", head, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else None


def _start(head: str) -> int | None:
    found = re.fullmatch(r"bytes=(\d+)-", _field(head, "Range") or "")
    return int(found[1]) if found else None
