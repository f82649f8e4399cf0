"""A desktop app's side, in Node, against the real server."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from materializer.announce import Announcer
from materializer.ipc.connection import Connection, Method
from materializer.ipc.contract import DisplayAck, DisplaySubscribe, Hello, reader
from materializer.ipc.endpoint import endpoint_file
from materializer.ipc.server import IpcServer
from materializer.model import DisplayUpdate

NODE = shutil.which("node")
CONSUMER = Path(__file__).with_name("consumer.mjs")
SOON = 20.0

pytestmark = pytest.mark.skipif(NODE is None, reason="needs node")


class Outbox:
    def __init__(self) -> None:
        self.updates: list[DisplayUpdate] = []
        self.cursors: dict[str, int] = {}

    def add(self, prompt: str) -> None:
        payload = {
            "kind": "media",
            "asset": {"kind": "image", "filePaths": ["/out/j_0.png"]},
            "prompt": prompt,
        }
        self.updates.append(DisplayUpdate(len(self.updates) + 1, "open", payload))

    async def updates_after(
        self, owner: str | None, after: int, limit: int
    ) -> list[DisplayUpdate]:
        return self.updates[after : after + limit]

    async def newest_seq(self) -> int:
        return len(self.updates)

    async def acknowledged(self, consumer: str) -> int | None:
        return self.cursors.get(consumer)

    async def acknowledge(self, consumer: str, seq: int) -> int:
        self.cursors[consumer] = max(seq, self.cursors.get(consumer, 0))
        return self.cursors[consumer]


class Daemon:
    """As much of one as a consumer sees."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.announcer = Announcer(self.outbox, lambda: "owner")
        self.subscribed = asyncio.Event()

    def methods(self) -> dict[str, Method[Any]]:
        return {
            "hello": Method(reader(Hello), self.hello),
            "display.subscribe": Method(reader(DisplaySubscribe), self.subscribe),
            "display.ack": Method(reader(DisplayAck), self.ack),
        }

    async def hello(self, _: Connection, params: Hello) -> dict[str, Any]:
        return {"server": "stella-materializer", "protocol": params.protocol}

    async def subscribe(
        self, connection: Connection, params: DisplaySubscribe
    ) -> dict[str, int]:
        async def send(update: dict[str, Any]) -> None:
            connection.notify("display.update", update)
            await connection.drain()

        subscription = await self.announcer.subscribe(params.consumer, params.after)
        connection.spawn(subscription.run(send))
        self.subscribed.set()
        return {"cursor": subscription.cursor}

    async def ack(self, _: Connection, params: DisplayAck) -> dict[str, int]:
        return {"cursor": await self.outbox.acknowledge(params.consumer, params.seq)}


async def consume(state: Path, count: int) -> asyncio.subprocess.Process:
    assert NODE is not None
    return await asyncio.create_subprocess_exec(
        NODE,
        str(CONSUMER),
        str(endpoint_file(state)),
        "app",
        str(count),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def outcome(app: asyncio.subprocess.Process) -> tuple[list[Any], str, int | None]:
    async with asyncio.timeout(SOON):
        out, err = await app.communicate()
    updates = [json.loads(line) for line in out.splitlines()]
    return updates, err.decode(), app.returncode


async def test_an_app_sees_what_it_missed_and_what_comes_each_once(
    tmp_path: Path,
) -> None:
    daemon = Daemon()
    daemon.outbox.cursors["app"] = 1
    for prompt in ("seen", "line\nbreak \u2028 ü", "third"):
        daemon.outbox.add(prompt)
    async with IpcServer(tmp_path, "1") as server:
        server.offer(daemon.methods())
        app = await consume(tmp_path, 3)
        async with asyncio.timeout(SOON):
            await daemon.subscribed.wait()
        daemon.outbox.add("live")
        daemon.announcer.wake()
        updates, err, code = await outcome(app)
        assert (err, code) == ("", 0)
        assert daemon.outbox.cursors["app"] == 4
        daemon.outbox.add("later")
        again, err, code = await outcome(await consume(tmp_path, 1))
    assert [(u["seq"], u["replay"], u["payload"]["prompt"]) for u in updates] == [
        (2, True, "line\nbreak \u2028 ü"),
        (3, True, "third"),
        (4, False, "live"),
    ]
    assert [update["seq"] for update in again] == [5]


async def test_an_app_learns_why_it_was_refused(tmp_path: Path) -> None:
    async with IpcServer(tmp_path, "1") as server:
        server.offer({})
        updates, err, code = await outcome(await consume(tmp_path, 1))
    assert (updates, err, code) == ([], "-32601 there is no such method\n", 1)


async def test_an_app_notices_that_the_daemon_goes(tmp_path: Path) -> None:
    daemon = Daemon()
    async with IpcServer(tmp_path, "1") as server:
        server.offer(daemon.methods())
        app = await consume(tmp_path, 1)
        async with asyncio.timeout(SOON):
            await daemon.subscribed.wait()
    assert await outcome(app) == ([], "the daemon has gone\n", 1)
