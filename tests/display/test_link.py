from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from home import SOON, at_home, finish
from materializer.devserver.app import Backend
from materializer.display.link import CONSUMER, Link, Listener, Message
from materializer.errors import DaemonUnreachable
from materializer.gallery import outbox
from materializer.ipc.connection import Method
from materializer.ipc.jsonlines import INVALID_PARAMS, RpcError
from materializer.ipc.server import IpcServer

PAGE = "http://127.0.0.1:9/"


@asynccontextmanager
async def running(link: Link) -> AsyncIterator[Link]:
    async with link, asyncio.TaskGroup() as tasks:
        run = tasks.create_task(link.run())
        yield link
        run.cancel()


async def heard(listener: Listener, event: str, **data: object) -> dict[str, Any]:
    """Return the next message that is like this."""
    async with asyncio.timeout(SOON):
        while message := await listener.next():
            if message.event == event and data.items() <= message.data.items():
                return dict(message.data)
    pytest.fail("it was let go")


async def test_without_a_daemon_it_says_how_to_start_one(state: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="stella-materializer run"):
        await Link(state, PAGE).__aenter__()


async def test_an_open_page_is_told_how_things_stand_and_of_each_update(
    state: Path, backend: Backend
) -> None:
    async with (
        at_home(state, backend.token_file),
        running(Link(state, PAGE)) as link,
    ):
        with link.listen() as page, link.listen() as other:
            finish(backend, "a")
            for listener in (page, other):
                first = await listener.next()
                assert first == Message("state", {"connected": True})
                event = await heard(listener, "event", topic="gallery")
                assert (event["type"], event["data"]) == ("added", {"id": "a_0"})
                update = await heard(listener, "update")
                assert update["payload"]["jobId"] == "a"
                assert update["items"] == ["a_0"]
                assert (update["action"], update["replay"]) == ("open", False)


async def test_what_the_pages_were_told_is_acknowledged_for_good(
    state: Path, backend: Backend
) -> None:
    async with at_home(state, backend.token_file) as home:
        await home.ask("display.subscribe", consumer="watcher")
        async with running(Link(state, PAGE)) as link:
            with link.listen() as page:
                for number in range(3):
                    finish(backend, f"a{number}")
                seqs = [(await heard(page, "update"))["seq"] for _ in range(3)]
            finish(backend, "unseen")  # no page is open, and the next reads the gallery
            while (await home.update())["payload"]["jobId"] != "unseen":
                pass
            async with asyncio.timeout(SOON):
                while True:
                    place = await home.database.read(
                        outbox.acknowledged, CONSUMER, backend.owner()
                    )
                    if place == max(seqs) + 1:
                        break


async def test_it_comes_back_to_the_next_daemon_and_tells_what_came_meanwhile(
    state: Path, backend: Backend
) -> None:
    async with contextlib.AsyncExitStack() as open_:
        async with at_home(state, backend.token_file):
            link = await open_.enter_async_context(running(Link(state, PAGE)))
            page = open_.enter_context(link.listen())
            await heard(page, "state", connected=True)
            assert await link.call("gallery.list", {})
        await heard(page, "state", connected=False)
        assert not link.connected
        with pytest.raises(DaemonUnreachable, match="stella-materializer run"):
            await link.call("gallery.list", {})
        finish(backend, "meanwhile")
        async with at_home(state, backend.token_file):
            await heard(page, "state", connected=True)
            update = await heard(page, "update")
            assert update["payload"]["jobId"] == "meanwhile"
            assert link.connected
            assert (await link.call("gallery.list", {}))["items"]
            await open_.aclose()


async def test_a_daemon_that_will_not_have_us_is_left_alone(state: Path) -> None:
    def no_hello(_: object) -> None:
        raise RpcError(INVALID_PARAMS, "protocol: another one")

    async def nothing(*_: object) -> None: ...

    async with IpcServer(state, "9") as server:
        server.offer({"hello": Method(no_hello, nothing)})
        with pytest.raises(RpcError, match="protocol"):
            await Link(state, PAGE).__aenter__()


async def test_a_page_that_does_not_read_is_let_go_of() -> None:
    listener = Listener()
    for number in range(1000):
        listener.tell(Message("event", {"number": number}))
    assert await listener.next() == Message("event", {"number": 0})
    for _ in range(2):
        listener.tell(Message("event", {}))
    assert await listener.next() is None


async def test_open_pages_are_dismissed_at_the_end(
    state: Path, backend: Backend
) -> None:
    async with at_home(state, backend.token_file), Link(state, PAGE) as link:
        with link.listen() as page:
            await heard(page, "state", connected=True)
            link.dismiss()
            assert await page.next() is None
