"""A gateway that answers as it is told, over real HTTP, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

TOKEN = "a-token-that-names-nobody"
LOST = None
"""In place of an answer: the request arrives, and the connection ends."""


@dataclass(frozen=True)
class Answer:
    """One answer; what is no bytes is sent as JSON."""

    body: object
    status: int = 200
    headers: tuple[str, ...] = ()

    def written(self) -> bytes:
        raw = self.body
        data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
        lines = (
            f"HTTP/1.1 {self.status} As Told",
            f"Content-Length: {len(data)}",
            *self.headers,
            "Connection: close",
        )
        return "\r\n".join((*lines, "", "")).encode() + data


@dataclass(frozen=True)
class Asked:
    """One request, and when it came, on the monotonic clock."""

    target: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)


class ScriptedGateway:
    """Answers each kind of request with one answer after the other; the last stays."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[Asked] = []
        self._answers: dict[str, list[Answer | None]] = {}
        self._heard = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """The variables that send a command here."""
        return {
            "STELLA_MEDIA_BASE_URL": self.url,
            "STELLA_MEDIA_AUTH_TOKEN": TOKEN,
        }

    def submits(self, *answers: Answer | None) -> None:
        self._answers["POST /api/media/v1/generate"] = list(answers)

    def tells(self, *answers: Answer | None) -> None:
        """Answer so when asked for a job."""
        self._answers["GET /api/media/v1/job"] = list(answers)

    def lists(self, *answers: Answer | None) -> None:
        """Answer so when asked for the capabilities."""
        self._answers["GET /api/media/v1/capabilities"] = list(answers)

    def to(self, kind: str) -> list[Asked]:
        """Return what was asked under an address, in order."""
        return [asked for asked in self.asked if kind in asked.target]

    async def heard(self, kind: str, times: int, within: float) -> list[Asked]:
        """Wait until it was asked so often."""
        async with asyncio.timeout(within):
            while len(found := self.to(kind)) < times:
                await self._heard.wait()
        return found

    async def handle(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip().split("\r\n")
            headers = {
                name.lower(): value
                for name, _, value in (line.partition(": ") for line in lines)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            target = first.rpartition(" ")[0]
            self.asked.append(Asked(target, headers, body))
            self._heard.set()
            self._heard = asyncio.Event()
            answers = self._answers[target.partition("?")[0]]
            answer = answers.pop(0) if answers[1:] else answers[0]
            if answer is not LOST:
                writer.write(answer.written())
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def scripted_gateway() -> AsyncIterator[ScriptedGateway]:
    """Run one for as long as the block lasts."""
    gateway = ScriptedGateway()
    server = await asyncio.start_server(gateway.handle, "127.0.0.1", 0)
    gateway.port = server.sockets[0].getsockname()[1]
    try:
        yield gateway
    finally:
        server.close()


def accepted(job_id: str = "job", capability: str = "text_to_image") -> Answer:
    """Return the answer to a request that is taken."""
    said = {"jobId": job_id, "capability": capability, "status": "queued"}
    return Answer(said, 202)


def row(
    status: str, capability: str = "text_to_image", job_id: str = "job", **more: Any
) -> Answer:
    """Return a job's row as an answer."""
    said = {"jobId": job_id, "capability": capability, "status": status}
    return Answer(said | more)
