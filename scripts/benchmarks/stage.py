"""A deployment that only plays prepared messages, and so is in nobody's way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from scripts.benchmarks import messages
from scripts.benchmarks.messages import Phase

PATH = "media_jobs:listSucceededSince"


class Stage:
    """One client's deployment.

    Attributes:
        url: where it is.
        connections: how many times the client has connected.
    """

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self._transport: asyncio.Transport | None = None
        self._opened = asyncio.Event()

    async def begin(self, phase: Phase) -> None:
        """Send the message after which the client starts to measure."""
        await self._opened.wait()
        self._write(_frame(phase.texts[0]))

    async def play(
        self, phase: Phase, handed_over: Callable[[], Awaitable[object]]
    ) -> list[int]:
        """Send the other messages; return when each was sent, in monotonic ns.

        Args:
            phase: what to send.
            handed_over: waits until the client has said so, where it takes turns.
        """
        frames = [_frame(text) for text in phase.texts[1:]]
        if phase.pace is None:
            whole = b"".join(frames)
            at = time.monotonic_ns()
            self._write(whole)
            return [at] * len(frames)
        sent: list[int] = []
        clock = asyncio.get_running_loop()
        due = clock.time()
        for frame in frames:
            if sent:
                await handed_over()
            due = max(due + phase.pace, clock.time())
            await asyncio.sleep(due - clock.time())
            sent.append(time.monotonic_ns())
            self._write(frame)
        return sent

    async def welcome(self, socket: ServerConnection) -> None:
        """Answer what every client says first, and listen until it leaves."""
        self.connections += 1
        signed_in, asked = False, list[int]()
        with contextlib.suppress(ConnectionClosed):
            while not (signed_in and asked):
                message = json.loads(await socket.recv())
                signed_in = signed_in or message["type"] == "Authenticate"
                for change in message.get("modifications", ()):
                    asked.append(change["queryId"])
                    if (change["queryId"] == 0) != (change["udfPath"] == PATH):
                        raise ValueError(f"query 0 is {change['udfPath']}")
            await socket.send(messages.opening(asked))
            self._transport = socket.transport
            self._opened.set()
            async for _ in socket:
                pass

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            raise RuntimeError("nobody is connected")
        self._transport.write(data)


@asynccontextmanager
async def staged() -> AsyncIterator[Stage]:
    """Serve a deployment on a free port of the loopback; nothing is compressed."""
    stage = Stage()
    async with serve(
        stage.welcome,
        "127.0.0.1",
        0,
        compression=None,
        ping_interval=None,
        close_timeout=0.2,
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        stage.url = f"http://127.0.0.1:{port}"
        yield stage


def _frame(text: str) -> bytes:
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
