from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import pytest

from materializer.devserver.app import Backend
from materializer.devserver.verbatim import HttpConnection
from materializer.devserver.weather import Break, Slow, StorageTrouble, Swap, Weather
from wire import asked, heard

DATA = bytes(range(256)) * 4000
ENDLESS, STALL = Swap(does="endless"), Break(does="stall")


def troubled(backend: Backend, *troubles: StorageTrouble) -> str:
    backend.weather = Weather(storage=troubles)
    return backend.site_url + backend.storage.link(backend.storage.keep(DATA, "a/b"))


def serving() -> set[asyncio.Task[object]]:
    """Return the tasks in which uvicorn lets answers be made."""
    return {task for task in asyncio.all_tasks() if "run_asgi" in repr(task)}


@pytest.mark.parametrize(
    "trouble", [STALL, ENDLESS, Slow(rate=1)], ids=["stall", "endless", "slow"]
)
async def test_an_answer_is_over_when_its_client_has_gone(
    backend: Backend, trouble: StorageTrouble, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with asked(troubled(backend, trouble)) as answer:
        await answer.head()
        answering = serving()
        assert len(answering) == 1
        answer.writer.transport.abort()
        done, _ = await asyncio.wait(answering, timeout=5)
    assert done == answering
    assert caplog.records == []


@pytest.mark.parametrize("does", ["cut", "reset"])
async def test_an_answer_that_ends_early_is_no_error_of_the_backend(
    backend: Backend, does: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    trouble = Break.model_validate({"does": does})
    assert (await heard(troubled(backend, trouble))).status == "200 OK"
    if answering := serving():
        await asyncio.wait(answering, timeout=5)
    assert caplog.records == []
    assert (await heard(troubled(backend))).body == DATA


@pytest.mark.parametrize("trouble", [STALL, ENDLESS], ids=["stall", "endless"])
async def test_the_backend_stops_although_an_answer_has_no_end(
    tmp_path: Path, trouble: StorageTrouble, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with AsyncExitStack() as client:
        async with Backend(tmp_path) as backend:
            url = troubled(backend, trouble)
            answer = await client.enter_async_context(asked(url))
            await answer.head()
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 0.9
        async with asyncio.timeout(5):
            await answer.body()
    assert caplog.records == []


async def test_what_a_client_does_not_read_is_not_piled_up(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []
    full = asyncio.Event()
    send = HttpConnection.send

    async def spy(connection: HttpConnection, data: bytes) -> None:
        waiting.append(connection.transport.get_write_buffer_size())
        asyncio.get_running_loop().call_soon(look, connection)
        await send(connection, data)

    def look(connection: HttpConnection) -> None:
        if connection.transport.get_write_buffer_size():
            full.set()

    monkeypatch.setattr(HttpConnection, "send", spy)
    async with asked(troubled(backend, ENDLESS)) as answer:
        await answer.head()
        cast("asyncio.Transport", answer.writer.transport).pause_reading()
        async with asyncio.timeout(5):
            await full.wait()
        for _ in range(20):
            await asyncio.sleep(0)
    assert len(waiting) > 2
    assert set(waiting) == {0}
