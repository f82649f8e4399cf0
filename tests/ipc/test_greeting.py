"""Who answers is told before anything else can be."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest

from materializer import __version__
from materializer.ipc.client import Client
from materializer.ipc.contract import Hello, reader
from materializer.ipc.greeting import greeting
from materializer.ipc.jsonlines import INVALID_PARAMS, SHUTTING_DOWN, RpcError
from materializer.ipc.server import IpcServer

GOOD = {"client": "test", "protocol": 1}


async def test_hello_is_answered_while_everything_else_waits(state: Path) -> None:
    hello = greeting(state, lambda: "iss|ada")
    async with IpcServer(state, "9", greeting=hello) as server, Client(state) as client:
        async with asyncio.timeout(10):
            assert await client.call("hello", GOOD) == {
                "server": "stella-materializer",
                "version": __version__,
                "protocol": 1,
                "pid": os.getpid(),
                "stateDir": str(state),
                "owner": "iss|ada",
            }
            with suppress(TimeoutError):
                await client.call("daemon.status", timeout=0.2)
                pytest.fail("there is nobody yet who could answer")
            server.offer({})
            with pytest.raises(RpcError, match="no such method"):
                await client.call("daemon.status")


async def test_who_waits_when_the_daemon_stops_is_told(state: Path) -> None:
    server = IpcServer(state, "9", greeting=greeting(state, lambda: None))
    async with server, Client(state) as client, asyncio.timeout(10):
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(refusal(client))
            await client.call("hello", GOOD)
            await server.__aexit__(None)
        assert call.result() == SHUTTING_DOWN


async def refusal(client: Client) -> int:
    with pytest.raises(RpcError) as refused:
        await client.call("daemon.status")
    return refused.value.rpc_code


@pytest.mark.parametrize(
    "sent",
    [
        GOOD,
        GOOD | {"more": 1},
        {"client": "x" * 200, "protocol": 1},
        {"client": "x" * 201, "protocol": 1},
        {"client": "", "protocol": 1},
        {"client": 5, "protocol": 1},
        {"protocol": 1},
        {"client": "test"},
        {"client": "test", "protocol": 2},
        {"client": "test", "protocol": "1"},
        {"client": "test", "protocol": True},
        [],
        None,
    ],
)
def test_it_takes_what_the_contract_says(sent: object) -> None:
    read = greeting(Path("/state"), lambda: None).read
    try:
        reader(Hello)(sent)
    except RpcError:
        with pytest.raises(RpcError) as refused:
            read(sent)
        assert refused.value.rpc_code == INVALID_PARAMS
    else:
        read(sent)
