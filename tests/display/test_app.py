from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import pytest

from display.conftest import Visit
from home import at_home
from materializer.config import Paths
from materializer.display.app import DisplayPage
from materializer.errors import DaemonUnreachable, SettingsInvalid


async def test_without_a_daemon_nothing_is_served(state: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="stella-materializer run"):
        async with DisplayPage(Paths.of(state)):
            pass


async def test_a_port_that_is_taken_is_told_of(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with at_home(state):
            with pytest.raises(SettingsInvalid, match=f"port {port}: .*--port"):
                async with DisplayPage(Paths.of(state), port):
                    pass


async def test_it_listens_on_loopback_alone_on_the_port_that_was_asked_for(
    state: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with at_home(state), DisplayPage(Paths.of(state), port) as page:
        assert page.url.startswith(f"http://127.0.0.1:{port}/?key=")
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        for other in ("127.0.0.2", "::1"):
            with pytest.raises(OSError, match="Errno"):
                await asyncio.open_connection(other, port)


async def test_it_ends_at_once_with_pages_that_are_open_and_says_no_secret(
    visit: Visit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = visit.page.url.rpartition("=")[2]
    used = await visit.browser.get(visit.page.url)
    assert used.status_code == 403
    same = {"Sec-Fetch-Site": "same-origin"}
    async with visit.browser.stream("GET", "/api/events", headers=same) as stream:
        async with asyncio.timeout(10):
            await visit.page.__aexit__()
            text = [text async for text in stream.aiter_text()]
    assert "event: state" in "".join(text)
    told = [r for r in caplog.records if r.name.startswith(("uvicorn", "materializer"))]
    assert [r for r in told if r.levelno > logging.INFO] == []
    assert not any(key in record.getMessage() for record in told)
    await visit.page.__aenter__()  # for the fixture to end


async def test_a_fault_of_its_user_comes_out_as_it_was(state: Path) -> None:
    async with at_home(state):
        with pytest.raises(KeyError, match="mine"):
            async with DisplayPage(Paths.of(state)):
                raise KeyError("mine")
