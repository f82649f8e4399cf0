"""A hundred clients: one stuck, one flooding, one sending garbage, and the rest."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from materializer.ipc.connection import MAX_LIVE_BYTES
from materializer.ipc.endpoint import endpoint_file
from process.house import House, posix, until

CLIENTS = 100
SOON = 50.0
# Long enough that what is announced of so many jobs is more than may be queued. Each
# of these signs is three bytes in the feed, and six in a line.
TEXT = "日" * 40_000
LET_GO = "disconnecting a client that does not read"
JOBS = MAX_LIVE_BYTES // (6 * len(TEXT)) + 10


class Wire:
    """One client of the daemon, which reads when it is told to."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._calls = 0
        self.unasked: list[dict[str, Any]] = []

    def send(self, method: str, **params: object) -> int:
        self._calls += 1
        line = {"id": self._calls, "method": method, "params": params}
        self.writer.write(json.dumps(line).encode() + b"\n")
        return self._calls

    async def call(self, method: str, **params: object) -> Any:
        call = self.send(method, **params)
        while (said := await self.read()).get("id") != call:
            self.unasked.append(said)
        return said["result"]

    async def read(self) -> dict[str, Any]:
        line = await self.reader.readline()
        assert line, "the daemon has hung up"
        return dict(json.loads(line))


@asynccontextmanager
async def wire(house: House) -> AsyncIterator[Wire]:
    path = json.loads(endpoint_file(house.state).read_text())["path"]
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 22)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


class Flood:
    """A client that asks as fast as it can, and counts what it is answered."""

    def __init__(self, client: Wire) -> None:
        self._client = client
        self.answered = 0

    async def ask(self) -> None:
        while True:
            self._client.send("gallery.list", limit=10)
            await self._client.writer.drain()

    async def count(self) -> None:
        while await self._client.reader.readline():
            self.answered += 1


class Garbage:
    """A client that sends what is no request, is thrown out, and comes again."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.rounds = 0

    async def send(self) -> None:
        while True:
            async with wire(self._house) as client:
                for line in (b"\xff\x00", b"{", b"[]", b'{"method":5}', b"[" * 50_000):
                    client.writer.write(line + b"\n")
                    assert "error" in await client.read()
                client.writer.write(b"x" * (1 << 20) + b"y")
                assert "longer than" in (await client.read())["error"]["message"]
                assert await client.reader.read() == b""
            async with wire(self._house) as client:
                client.writer.write(b'{"id":1,"method":"daemon.sta')
            self.rounds += 1
            await asyncio.sleep(0.05)


class Good:
    """A client that follows updates or events, and asks something now and then."""

    def __init__(self, client: Wire, flood: Flood, *, displays: bool) -> None:
        self._client = client
        self._flood = flood
        self._displays = displays
        self.overtaken = 0

    async def begin(self, name: str) -> None:
        await self._client.call("hello", client=name, protocol=1)
        if self._displays:
            await self._client.call("display.subscribe", consumer=name)
        else:
            await self._client.call("events.subscribe", topics=["job"])

    async def follow(self) -> None:
        """Hear of every job, and ask something after every few."""
        heard: list[Any] = []
        while len(heard) < JOBS:
            if len(heard) % 8 == 0:
                before = self._flood.answered
                await self._client.call("daemon.status")
                self.overtaken = max(self.overtaken, self._flood.answered - before)
            news, self._client.unasked = self._client.unasked, []
            heard += [one for said in news if (one := self._told(said)) is not None]
            if len(heard) < JOBS:
                one = self._told(await self._client.read())
                heard += [] if one is None else [one]
        assert sorted({*heard}) == sorted(heard)
        if self._displays:
            assert heard == list(range(1, JOBS + 1))

    def _told(self, said: dict[str, Any]) -> Any:
        params = said["params"]
        if self._displays:
            return params["seq"]
        return params["data"]["jobId"] if params["type"] == "done" else None


def memory(pid: int, what: str) -> int:
    """Return VmRSS or VmHWM of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    [kilobytes] = re.findall(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)
    return int(kilobytes) * 1024


@posix
@pytest.mark.skipif("sys.platform != 'linux'", reason="reads /proc")
async def test_whatever_three_of_a_hundred_clients_do_the_rest_notice_nothing(
    house: House,
) -> None:
    async with house.daemon() as daemon, AsyncExitStack() as clients:

        async def come() -> Wire:
            return await clients.enter_async_context(wire(house))

        stuck, flooding = await come(), await come()
        await stuck.call("display.subscribe", consumer="stuck")
        stuck.writer.transport.pause_reading()  # type: ignore[attr-defined]
        flood, garbage = Flood(flooding), Garbage(house)
        rest = [Good(await come(), flood, displays=n < 8) for n in range(CLIENTS - 3)]
        for number, client in enumerate(rest):
            await client.begin(f"client {number}")
        before = memory(daemon.pid, "VmRSS")
        async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
            pests = flood.ask(), flood.count(), garbage.send()
            bad = [tasks.create_task(pest) for pest in pests]
            good = [tasks.create_task(client.follow()) for client in rest]
            for number in range(JOBS):
                output = {"text": f"{number} {TEXT}"}
                house.finish(f"job{number}", output, capability="speech_to_text")
            await asyncio.wait(good)
            # It has a moment to read, and is let go when that is over.
            await until(lambda: LET_GO in house.log())
            stuck.writer.transport.resume_reading()  # type: ignore[attr-defined]
            got = len(await stuck.reader.read())
            for pest in bad:
                pest.cancel()
        assert got < JOBS * 6 * len(TEXT)
        # Nobody waited for more than a few rounds of the flood's at most 64 calls.
        assert flood.answered > 0
        assert max(client.overtaken for client in rest) < 64 * 20
        assert garbage.rounds > 0
        # One queue, and what a hundred clients may cost.
        growth = memory(daemon.pid, "VmHWM") - before
        assert growth < 100 << 20
