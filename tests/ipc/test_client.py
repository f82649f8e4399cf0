import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from materializer.errors import DaemonUnreachable
from materializer.ipc import endpoint
from materializer.ipc.address import Address
from materializer.ipc.client import Client
from materializer.ipc.connection import Connection, Method
from materializer.ipc.endpoint import Endpoint
from materializer.ipc.jsonlines import NOT_FOUND, Request, RpcError
from materializer.ipc.server import IpcServer

SOON = 10.0


def as_it_came(sent: object) -> Any:
    return sent


async def count(connection: Connection, params: Any) -> str:
    for n in range(params["to"]):
        connection.notify("count", {"n": n})
    return "counted"


@asynccontextmanager
async def impostor(state: Path, reply: Callable[[Any], bytes]) -> AsyncIterator[None]:
    """Something else that listens where a daemon should."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(json.loads(await reader.readline())))
        await reader.read()
        writer.close()

    path = (await asyncio.to_thread(Address.usual, state)).path
    server = await asyncio.start_unix_server(talk, path)
    try:
        endpoint.publish(state, Endpoint(path, 1, "0", 0))
        yield
    finally:
        server.close()


async def test_results_and_notifications_arrive_in_order(tmp_path: Path) -> None:
    async with IpcServer(tmp_path, "1") as server:
        server.offer({"count": Method(as_it_came, count)})
        async with Client(tmp_path) as client, asyncio.timeout(SOON):
            assert await client.call("count", {"to": 3}) == "counted"
            received = []
            async for sent in client.notifications():
                received.append(sent)
                if len(received) == 3:
                    break
    assert received == [Request("count", {"n": n}) for n in range(3)]


async def test_calls_at_once_get_their_own_answers(tmp_path: Path) -> None:
    async def swap(_: Connection, params: Any) -> Any:
        await asyncio.sleep(0.01 if params["n"] == 0 else 0)
        return params["n"]

    async with IpcServer(tmp_path, "1") as server:
        server.offer({"swap": Method(as_it_came, swap)})
        async with Client(tmp_path) as client, asyncio.TaskGroup() as tasks:
            answers = [
                tasks.create_task(client.call("swap", {"n": n}, SOON)) for n in range(5)
            ]
    assert [answer.result() for answer in answers] == list(range(5))


async def test_a_refusal_is_raised_with_its_code(tmp_path: Path) -> None:
    async def find(_: Connection, __: Any) -> None:
        raise RpcError(NOT_FOUND, "no job j1")

    async with IpcServer(tmp_path, "1") as server:
        server.offer({"find": Method(as_it_came, find)})
        async with Client(tmp_path) as client:
            with pytest.raises(RpcError, match="no job j1") as refusal:
                await client.call("find", timeout=SOON)
    assert refusal.value.rpc_code == NOT_FOUND


async def test_a_call_that_takes_too_long_can_be_given_up(tmp_path: Path) -> None:
    async def long(_: Connection, __: Any) -> None:
        await asyncio.Event().wait()

    async with IpcServer(tmp_path, "1") as server:
        server.offer(
            {"long": Method(as_it_came, long), "count": Method(as_it_came, count)}
        )
        async with Client(tmp_path) as client:
            with pytest.raises(TimeoutError):
                await client.call("long", timeout=0.05)
            assert await client.call("count", {"to": 0}, SOON) == "counted"
            assert client._wire.waiting == {}


async def test_there_is_no_daemon_where_none_was_ever_started(tmp_path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="stella-materializer run"):
        await Client(tmp_path).__aenter__()


async def test_there_is_no_daemon_where_one_was_killed(tmp_path: Path) -> None:
    async with IpcServer(tmp_path, "1") as server:
        told = server.endpoint
    endpoint.publish(tmp_path, told)
    with pytest.raises(DaemonUnreachable, match="gone"):
        await Client(tmp_path).__aenter__()


async def test_when_the_daemon_goes_the_notifications_end_and_calls_fail(
    tmp_path: Path,
) -> None:
    async with IpcServer(tmp_path, "1") as server:
        server.offer({"count": Method(as_it_came, count)})
        client = await Client(tmp_path).__aenter__()
        await client.call("count", {"to": 1}, SOON)
    async with asyncio.timeout(SOON):
        for expected in (1, 0):
            assert len([sent async for sent in client.notifications()]) == expected
    with pytest.raises(DaemonUnreachable, match="closed"):
        await client.call("count", timeout=SOON)
    await client.__aexit__(None, None, None)


async def test_an_exception_leaves_it_as_it_was_raised(tmp_path: Path) -> None:
    async with IpcServer(tmp_path, "1"):
        with pytest.raises(ZeroDivisionError):
            async with Client(tmp_path):
                raise ZeroDivisionError


@pytest.mark.parametrize(
    "garbage", [b"garbage\n", b"[]\n", b"5\n", b"{}\n", b'{"id":[]}\n', b"[" * 99_999]
)
async def test_something_that_is_no_daemon_ends_the_call(
    tmp_path: Path, garbage: bytes
) -> None:
    async with (
        impostor(tmp_path, lambda _: garbage + b"\n"),
        Client(tmp_path) as client,
    ):
        with pytest.raises(DaemonUnreachable, match="before it answered"):
            await client.call("hello", timeout=SOON)


async def test_an_answer_to_nothing_is_passed_over(tmp_path: Path) -> None:
    def reply(asked: Any) -> bytes:
        stray, true = {"id": 99, "result": 1}, {"id": asked["id"], "result": 2}
        return json.dumps(stray).encode() + b"\n" + json.dumps(true).encode() + b"\n"

    async with impostor(tmp_path, reply), Client(tmp_path) as client:
        assert await client.call("hello", timeout=SOON) == 2
