"""A client of raw HTTP, which takes every byte as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer as it came over the wire.

    Attributes:
        status: the first line, without the version.
        headers: names in lower case.
        body: everything behind the head, framing included.
        end: how the connection ended.
    """

    status: str
    headers: dict[str, str]
    body: bytes
    end: str


class Asked:
    """A connection on which one request was sent."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> tuple[str, dict[str, str]]:
        """Return the status and the headers."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")[:-2]
        version, _, status = first.partition(" ")
        assert version == "HTTP/1.1"
        fields = [line.partition(": ") for line in lines]
        return status, {name.lower(): value for name, _, value in fields}

    async def body(self) -> tuple[bytes, str]:
        """Return all that comes, and whether a FIN or a reset ended it."""
        body = bytearray()
        try:
            while data := await self.reader.read(65536):
                body += data
        except ConnectionResetError:
            return bytes(body), "reset"
        return bytes(body), "fin"


@asynccontextmanager
async def asked(url: str, *lines: str) -> AsyncIterator[Asked]:
    """Send a request with these header lines, on a connection of its own."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    request = (f"GET {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}")
    writer.write("\r\n".join((*request, *lines, "", "")).encode())
    try:
        yield Asked(reader, writer)
    finally:
        writer.close()


async def heard(url: str, *lines: str) -> Heard:
    """Ask, and listen until the connection ends."""
    async with asyncio.timeout(10), asked(url, "Connection: close", *lines) as answer:
        status, headers = await answer.head()
        return Heard(status, headers, *await answer.body())
