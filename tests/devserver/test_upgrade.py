from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bank import Bank
from materializer.devserver.app import Backend
from materializer.devserver.sync import Conversation

GET = "media_jobs:getByJobId"


@asynccontextmanager
async def opened(
    backend: Backend, path: str = "/api/sync"
) -> AsyncIterator[ClientConnection]:
    url = backend.convex_url.replace("http", "ws", 1) + path
    async with connect(url) as feed, asyncio.timeout(10):
        yield feed


async def say(feed: ClientConnection, kind: str, **fields: Any) -> None:
    await feed.send(json.dumps({"type": kind} | fields))


async def hear(feed: ClientConnection) -> Any:
    return json.loads(await feed.recv())


async def sign_in(feed: ClientConnection, token: str) -> Any:
    await say(feed, "Authenticate", baseVersion=0, tokenType="User", value=token)
    return await hear(feed)


async def follow(feed: ClientConnection, job_id: str) -> Any:
    query = {"type": "Add", "queryId": 0, "udfPath": GET, "args": [{"jobId": job_id}]}
    versions = {"baseVersion": 0, "newVersion": 1}
    await say(feed, "ModifyQuerySet", **versions, modifications=[query])
    return await hear(feed)


@pytest.mark.parametrize(
    "path",
    ["/api/sync", "/api/1.48.0/sync", "/api/1.0.0-alpha.1/sync", "/api/sync?a=b"],
)
async def test_a_client_sees_its_job_change(backend: Backend, path: str) -> None:
    me = backend.owner()
    backend.deployment.submit(0, owner=me, job_id="j", capability="icon")
    async with opened(backend, path) as feed:
        await sign_in(feed, backend.token())
        first = await follow(feed, "j")
        assert first["modifications"][0]["value"]["status"] == "queued"
        backend.deployment.start(0, "j")
        second = await hear(feed)
        assert second["modifications"][0]["value"]["status"] == "running"
        assert second["startVersion"] == first["endVersion"]


@pytest.mark.parametrize(
    ("path", "status"), [("/api/abc/sync", 400), ("/api/1.2/sync", 400), ("/ws", 404)]
)
async def test_there_is_no_socket_elsewhere(
    backend: Backend, path: str, status: int
) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with opened(backend, path):
            pass
    assert caught.value.response.status_code == status


async def test_a_refused_token_is_told_and_ends_in_a_close_without_a_code(
    backend: Backend,
) -> None:
    async with opened(backend) as feed:
        error = await sign_in(feed, "x.y.z")
        assert error["type"] == "AuthError"
        with pytest.raises(ConnectionClosed) as caught:
            await feed.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1005


async def test_what_breaks_the_protocol_ends_in_1011(backend: Backend) -> None:
    async with opened(backend) as feed:
        await feed.send(b"binary")
        with pytest.raises(ConnectionClosed) as caught:
            await feed.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1011
    assert caught.value.rcvd.reason == "InternalServerError"


async def test_a_message_of_more_than_a_mebibyte_is_taken(backend: Backend) -> None:
    async with opened(backend) as feed:
        await say(feed, "Event", eventType="x", event="y" * 2**21)
        assert (await follow(feed, "j"))["type"] == "Transition"


async def test_a_burst_of_changes_is_told_without_a_gap(backend: Backend) -> None:
    me = backend.owner()
    async with opened(backend) as feed:
        await sign_in(feed, backend.token())
        told = (await follow(feed, "j"))["endVersion"]
        for number in range(50):
            backend.deployment.submit(number, owner=me, job_id="j", capability="icon")
        backend.deployment.succeed(60 * 10**6, "j", {})
        value: dict[str, Any] = {}
        while value.get("status") != "succeeded":
            transition = await hear(feed)
            assert transition["startVersion"] == told
            told = transition["endVersion"]
            value = transition["modifications"][0]["value"]


async def test_a_client_that_vanishes_leaves_nothing_behind(backend: Backend) -> None:
    at_rest = len(backend._tasks)
    async with opened(backend) as feed:
        await sign_in(feed, backend.token())
        assert len(backend.deployment.watchers) == 1
        ended = [task for task in backend._tasks if "SyncSocket.serve" in repr(task)]
        feed.transport.abort()
        await asyncio.wait(ended, timeout=5)
    assert not backend.deployment.watchers
    assert len(backend._tasks) == at_rest


async def test_an_upgrade_that_is_none_is_refused(backend: Backend) -> None:
    async with httpx.AsyncClient(base_url=backend.site_url) as client:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
        answer = await client.get("/api/sync", headers=headers)
        assert answer.status_code == 400
        assert (await client.get("/api/sync")).status_code == 404
        assert (await client.get("/version")).status_code == 200


async def test_a_slow_call_dies_with_its_connection(backend: Backend) -> None:
    bank = Bank()
    backend.deployment.functions |= bank.functions
    deposit = {"account": "ada", "amount": 5.0}
    async with opened(backend) as feed:
        call = {"udfPath": "bank:slowDeposit", "args": [deposit]}
        await say(feed, "Mutation", requestId=0, **call)
        await bank.waiting.wait()
        serving = [task for task in backend._tasks if "SyncSocket.serve" in repr(task)]
    await asyncio.wait(serving, timeout=5)
    bank.open.set()
    async with opened(backend) as feed:
        await follow(feed, "j")
    balance = backend.deployment.run("bank:balance", {"account": "ada"}, None)
    assert balance.value is None


async def test_a_connection_reset_in_the_handshake_is_survived(
    backend: Backend,
) -> None:
    host, _, port = backend.site_url.removeprefix("http://").partition(":")
    for _ in range(5):
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(
                b"GET /api/sync HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\n\r\n"
            )
    async with opened(backend) as feed:
        assert (await follow(feed, "j"))["type"] == "Transition"


async def test_a_conversation_that_fails_is_logged_and_costs_only_itself(
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(self: Conversation, text: str | bytes, now: int) -> list[Any]:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(Conversation, "receive", broken)
        async with opened(backend) as feed:
            await feed.send("{}")
            with pytest.raises(ConnectionClosed) as caught:
                await feed.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1011
    assert "a defect" in caplog.text
    async with opened(backend) as feed:
        assert (await follow(feed, "j"))["type"] == "Transition"
