"""A desktop app's side, in Node, against the real server."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from materializer.announce import Announcer
from materializer.gallery import Gallery, outbox
from materializer.ipc.connection import Connection, Method
from materializer.ipc.contract import DisplayAck, DisplaySubscribe, Hello, reader
from materializer.ipc.endpoint import endpoint_file
from materializer.ipc.server import IpcServer
from need import need

CONSUMER = Path(__file__).with_name("consumer.mjs")
SOON = 20.0


@pytest.fixture(autouse=True)
def node() -> None:
    need("node")


class Daemon:
    """As much of one as a consumer sees, over a real gallery."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self.announcer = Announcer(gallery, lambda: "owner")
        self.subscribed = asyncio.Event()

    async def add(self, prompt: str) -> None:
        payload = {
            "kind": "media",
            "asset": {"kind": "image", "filePaths": ["/out/j_0.png"]},
            "prompt": prompt,
        }
        await self.gallery.write(outbox.append, "owner", "open", payload)
        self.announcer.wake()

    async def acknowledged(self) -> int | None:
        return await self.gallery.read(outbox.acknowledged, "app", "owner")

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
        return {"cursor": await self.announcer.acknowledge(params.consumer, params.seq)}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    yield Daemon(gallery)
    await gallery.close()


async def consume(state: Path, count: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        str(shutil.which("node")),
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
    tmp_path: Path, daemon: Daemon
) -> None:
    for prompt in ("seen", "line\nbreak \u2028 ü", "third"):
        await daemon.add(prompt)
    await daemon.announcer.acknowledge("app", 1)
    async with IpcServer(tmp_path, "1") as server:
        server.offer(daemon.methods())
        app = await consume(tmp_path, 3)
        async with asyncio.timeout(SOON):
            await daemon.subscribed.wait()
        await daemon.add("live")
        updates, err, code = await outcome(app)
        assert (err, code) == ("", 0)
        assert await daemon.acknowledged() == 4
        await daemon.add("later")
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


async def test_an_app_notices_that_the_daemon_goes(
    tmp_path: Path, daemon: Daemon
) -> None:
    async with IpcServer(tmp_path, "1") as server:
        server.offer(daemon.methods())
        app = await consume(tmp_path, 1)
        async with asyncio.timeout(SOON):
            await daemon.subscribed.wait()
    assert await outcome(app) == ([], "the daemon has gone\n", 1)
