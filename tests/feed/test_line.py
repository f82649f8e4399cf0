from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from convex_server import Talk, deployed
from far_side import certificate, proxy
from materializer.convex.events import Closed, Event, Opened, Received
from materializer.feed import line as room
from materializer.feed.line import Line, sync_uri


@asynccontextmanager
async def running(url: str) -> AsyncIterator[tuple[Line, asyncio.Queue[Event]]]:
    """Run a line; the queue gets what it tells."""
    told: asyncio.Queue[Event] = asyncio.Queue()

    def tell(together: Sequence[Event]) -> None:
        for event in together:
            told.put_nowait(event)

    line = Line(sync_uri(url), "stella-0", tell)
    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        line.task = tasks.create_task(line.run())
        yield line, told
        line.task.cancel()


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("https://x.convex.cloud", "wss://x.convex.cloud/api/sync"),
        ("http://127.0.0.1:3210/", "ws://127.0.0.1:3210/api/sync"),
        ("wss://h/path", "wss://h/api/sync"),
        ("ws://[::1]:1", "ws://[::1]:1/api/sync"),
    ],
)
def test_the_sync_socket_is_at_the_origin(url: str, uri: str) -> None:
    assert sync_uri(url) == uri


async def test_messages_go_both_ways_and_the_end_is_told() -> None:
    async def greet(talk: Talk) -> None:
        await talk.hear()
        await talk.socket.send("hello")
        await talk.socket.close(1011, "InternalServerError")

    async with deployed() as deployment:
        deployment.scripts.append(greet)
        async with running(deployment.url) as (line, told):
            assert await told.get() == Opened()
            line.send("{}")
            assert await told.get() == Received("hello")
            assert await told.get() == Closed("InternalServerError")
        assert deployment.talks[0].heard == [{}]


async def test_an_end_without_a_reason_tells_its_code() -> None:
    async def leave(talk: Talk) -> None:
        await talk.socket.close()

    async with deployed() as deployment:
        deployment.scripts.append(leave)
        async with running(deployment.url) as (_, told):
            assert await told.get() == Opened()
            assert await told.get() == Closed("closed with code 1000")


async def test_closing_sends_what_is_queued_first() -> None:
    async with deployed() as deployment:
        async with running(deployment.url) as (line, told):
            await told.get()
            line.send('{"type":"last"}')
            line.close()
            assert await told.get() == Closed("closed with code 1000")
        assert deployment.talks[0].heard == [{"type": "last"}]


async def test_closing_an_attempt_ends_it_untold() -> None:
    told: list[Event] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        port = silent.getsockname()[1]
        line = Line(f"ws://127.0.0.1:{port}/", "stella-0", told.extend)
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            line.task = tasks.create_task(line.run())
            caller, _ = await asyncio.get_running_loop().sock_accept(silent)
            line.close()
        caller.close()
    assert line.task.cancelled()
    assert told == []


async def test_a_ping_counts_as_heard() -> None:
    async with deployed() as deployment, running(deployment.url) as (line, told):
        await told.get()
        before = line.heard
        [talk] = deployment.talks
        await (await talk.socket.ping())
        assert line.heard > before


async def test_a_large_message_is_taken() -> None:
    large = "x" * (17 * 2**20)

    async def shout(talk: Talk) -> None:
        await talk.socket.send(large)
        await talk.socket.wait_closed()

    async with deployed() as deployment:
        deployment.scripts.append(shout)
        async with running(deployment.url) as (_, told):
            await told.get()
            assert await told.get() == Received(large)


async def test_a_message_in_pieces_is_whole_and_in_its_place() -> None:
    async def shout(talk: Talk) -> None:
        async def pieces(*texts: str | bytes) -> AsyncIterator[str | bytes]:
            for text in texts:
                yield text

        await talk.socket.send("one")
        await talk.socket.send(pieces("", "tw", "", "o"))
        await talk.socket.send(pieces(b"th", b"ree"))
        await talk.socket.send("four")
        await talk.socket.send("")
        await talk.socket.send(b"\xff", text=True)
        await talk.socket.wait_closed()

    async with deployed() as deployment:
        deployment.scripts.append(shout)
        async with running(deployment.url) as (_, told):
            assert await told.get() == Opened()
            messages = [await told.get() for _ in range(6)]
    assert messages == [
        Received(message) for message in ("one", "two", b"three", "four", "", b"\xff")
    ]


async def test_only_a_deployment_that_the_system_trusts_is_talked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, tls = certificate(tmp_path)
    async with deployed(tls) as deployment:
        room._trust.cache_clear()
        async with running(deployment.url) as (_, told):
            closed = await told.get()
        assert isinstance(closed, Closed)
        assert "certificate verify failed" in closed.reason
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        room._trust.cache_clear()
        async with running(deployment.url) as (_, told):
            assert await told.get() == Opened()
        room._trust.cache_clear()


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY"])
async def test_the_system_s_proxy_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    file, tls = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    room._trust.cache_clear()
    secure = tls if variable == "HTTPS_PROXY" else None
    async with proxy() as (url, asked), deployed(secure) as deployment:
        monkeypatch.setenv(variable, url)
        async with running(deployment.url) as (_, told):
            assert await told.get() == Opened()
        port = deployment.url.rpartition(":")[2]
        assert asked == [f"CONNECT localhost:{port} HTTP/1.1"]
        assert len(deployment.talks) == 1
    room._trust.cache_clear()


async def test_a_proxy_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with proxy() as (url, _):
        pass
    async with deployed() as deployment:
        monkeypatch.setenv("http_proxy", url)
        async with running(deployment.url) as (_, told):
            closed = await told.get()
        assert isinstance(closed, Closed)
        assert closed.reason.startswith("cannot connect: ")
        assert deployment.requests == []


async def test_messages_are_compressed_where_the_server_can() -> None:
    async with deployed() as deployment, running(deployment.url) as (line, told):
        await told.get()
        [talk] = deployment.talks
        offered = deployment.requests[0].headers["Sec-WebSocket-Extensions"]
        assert offered.startswith("permessage-deflate")
        assert line._socket is not None
        for end in (line._socket, talk.socket):
            [extension] = end.protocol.extensions
            assert extension.name == "permessage-deflate"
        await talk.socket.send("x" * 1000)
        assert await told.get() == Received("x" * 1000)
