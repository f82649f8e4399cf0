"""A deployment of one client, whose jobs finish when told.

What is said is worked out before the clock is looked at; only the write comes after.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from materializer.devserver.deployment import NS_IN_MS, Deployment, Row
from materializer.devserver.functions import Call, Function
from materializer.devserver.sync import Conversation
from materializer.devserver.tokens import Identity
from scripts.benchmarks.clients import PATIENCE, BenchmarkFailed

OWNER = "https://bench.test|ada"

_LIST = "media_jobs:listSucceededSince"


class Live:
    """The jobs that one client sees.

    Attributes:
        url: where it connects.
    """

    def __init__(self) -> None:
        self.url = ""
        self._rows: dict[str, Row] = {}
        self._asked = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._deployment = Deployment(time.time_ns())
        self._deployment.functions[_LIST] = Function("query", self._list)
        self._talk = self._conversation()

    async def followed(self) -> None:
        """Return when the client has asked for finished jobs.

        Raises:
            BenchmarkFailed: it does not.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._asked.wait()
        except TimeoutError:
            raise BenchmarkFailed("a client does not follow its jobs") from None

    def finish(self, rows: Sequence[Row]) -> int:
        """Let jobs be finished, the newest last; return when it was told, in ns.

        The time is that of `time.monotonic_ns`, and of `process.hrtime` of Node.
        """
        self._rows |= {row.job_id: row for row in rows}
        self._deployment.ts = max(time.time_ns(), self._deployment.ts + 1)
        replies = self._talk.refresh(self._deployment.ts)
        frames = b"".join(_frame(text) for text in replies if isinstance(text, str))
        if self._transport is None or not frames:
            raise BenchmarkFailed("a client has lost its connection")
        at = time.monotonic_ns()
        self._transport.write(frames)
        return at

    def forget(self, job_id: str) -> None:
        """Let a job be none of the newest from the next answer on."""
        del self._rows[job_id]

    async def welcome(self, socket: ServerConnection) -> None:
        """Talk to the client until it leaves."""
        self._talk = self._conversation()
        with contextlib.suppress(ConnectionClosed):
            async for message in socket:
                for reply in self._talk.receive(message, time.time_ns()):
                    if not isinstance(reply, str):
                        raise BenchmarkFailed(f"a client was refused: {reply}")
                    await socket.send(reply)
                self._transport = socket.transport

    def _conversation(self) -> Conversation:
        return Conversation(self._deployment, lambda *_: Identity(OWNER, math.inf))

    def _list(self, _: Call) -> list[object]:
        self._asked.set()
        return [row.wire() for row in reversed(self._rows.values())]


@asynccontextmanager
async def live() -> AsyncIterator[Live]:
    """Serve a deployment on a free port of the loopback; nothing is compressed."""
    deployment = Live()
    async with serve(
        deployment.welcome,
        "127.0.0.1",
        0,
        compression=None,
        ping_interval=None,
        close_timeout=0.2,
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        deployment.url = f"http://127.0.0.1:{port}"
        yield deployment


def finished(job_id: str, url: str) -> Row:
    """Return a job that has just finished, with one output: a film or a picture."""
    now = time.time_ns() // NS_IN_MS
    film = url.endswith(".mp4")
    return Row(
        owner=OWNER,
        job_id=job_id,
        capability="text_to_video" if film else "text_to_image",
        profile="best",
        request={"prompt": "a translucent blue desk lamp on a walnut table"},
        created_at=now - 9_000,
        started_at=now - 8_000,
        updated_at=now,
        completed_at=now,
        status="succeeded",
        upstream_status="COMPLETED",
        output={"video": {"url": url}} if film else {"images": [{"url": url}]},
    )


def _frame(text: str) -> bytes:
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
