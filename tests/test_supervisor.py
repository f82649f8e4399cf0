from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from materializer.supervisor import Supervisor

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="systemd is Linux's")

SOON = 10.0


class Manager:
    """A socket that listens as systemd does."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.setblocking(False)

    async def heard(self) -> str:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(SOON):
            return (await loop.sock_recv(self._socket, 4096)).decode()

    def heard_so_far(self) -> list[str]:
        heard = []
        while True:
            try:
                heard.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(str(tmp_path / "notify"))
    yield listening
    listening.close()


class Stages:
    """Stages that answer, until they are stuck."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[None] = asyncio.Queue()
        self.free = asyncio.Event()
        self.free.set()

    async def pulse(self) -> None:
        self.asked.put_nowait(None)
        await self.free.wait()


async def lines(*told: str) -> AsyncIterator[str]:
    for line in told:
        yield line
    await asyncio.Event().wait()


async def test_it_is_told_of_the_start_the_state_and_the_end(manager: Manager) -> None:
    supervisor = Supervisor(manager.address)
    told = lines("live", "backoff: no\nREADY=0")
    async with asyncio.TaskGroup() as tasks:
        attending = tasks.create_task(supervisor.attend(Stages().pulse, told))
        assert await manager.heard() == "READY=1"
        assert await manager.heard() == "STATUS=live"
        assert await manager.heard() == "STATUS=backoff: no READY=0"
        attending.cancel()
    assert manager.heard_so_far() == ["STOPPING=1"]


@pytest.mark.skipif("sys.platform != 'linux'", reason="such names are Linux's")
async def test_a_socket_without_a_file_is_found_too() -> None:
    manager = Manager(f"@stella-{os.getpid()}-{os.urandom(4).hex()}")
    with Supervisor(manager.address).reloading():
        told = await manager.heard()
    assert told.startswith("RELOADING=1\nMONOTONIC_USEC=")
    age = time.monotonic_ns() // 1000 - int(told.rpartition("=")[2])
    assert 0 <= age < SOON * 1e6
    assert await manager.heard() == "READY=1"
    manager.close()


async def test_stuck_stages_give_no_sign_of_life(manager: Manager) -> None:
    stages = Stages()
    supervisor = Supervisor(manager.address, 0.01)
    async with asyncio.TaskGroup() as tasks:
        attending = tasks.create_task(supervisor.attend(stages.pulse, lines()))
        assert await manager.heard() == "READY=1"
        for _ in range(3):
            assert await manager.heard() == "WATCHDOG=1"
        stages.free.clear()
        while not stages.asked.empty():
            stages.asked.get_nowait()
        async with asyncio.timeout(SOON):
            await stages.asked.get()  # from now on it waits for an answer
        manager.heard_so_far()
        await asyncio.sleep(0.1)  # ten signs of life, if they were given all the same
        assert manager.heard_so_far() == []
        stages.free.set()
        assert await manager.heard() == "WATCHDOG=1"
        attending.cancel()


def test_who_listens_is_hidden_from_children(manager: Manager) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "60000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    supervisor = Supervisor.of(environ)
    assert environ == {"HOME": "/"}
    assert supervisor._interval == 30
    with supervisor.reloading():
        pass
    assert manager.heard_so_far()[1:] == ["READY=1"]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"},
    ],
)
def test_nobody_waits_for_a_sign_of_life(environ: dict[str, str]) -> None:
    assert Supervisor.of(environ)._interval is None


async def test_without_systemd_nothing_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with asyncio.timeout(SOON):
        await Supervisor.of({"NOTIFY_SOCKET": "vsock:2:1"}).attend(
            Stages().pulse, lines("live")
        )
    with Supervisor().reloading():
        pass
    assert not caplog.records


def test_a_systemd_that_does_not_listen_is_no_reason_to_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Supervisor(str(tmp_path / "gone")).reloading():
        pass
    assert "systemd cannot be told READY=1: " in caplog.text
