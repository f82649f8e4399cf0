import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from materializer.errors import AlreadyRunning, SettingsInvalid
from materializer.ipc import sockets
from materializer.ipc.address import Address
from materializer.ipc.client import Client
from materializer.ipc.connection import Connection, Method
from materializer.ipc.endpoint import endpoint_file
from materializer.ipc.jsonlines import SHUTTING_DOWN, RpcError
from materializer.ipc.server import IpcServer

SOON = 10.0


def as_it_came(sent: object) -> Any:
    return sent


async def echo(_: Connection, params: Any) -> Any:
    return params


ECHO = {"echo": Method(as_it_came, echo)}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_endpoint_is_told_while_it_listens_and_to_us_only(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "materializer"
    async with IpcServer(tmp_path, "1.2.3") as server:
        told = json.loads((directory / "endpoint.json").read_text())
        assert told == server.endpoint.wire()
        started_at = told.pop("startedAt")
        assert told == {
            "protocol": 1,
            "transport": "unix",
            "path": server.endpoint.path,
            "pid": os.getpid(),
            "version": "1.2.3",
        }
        assert 1.7e12 < started_at < 1e13
        assert mode(directory) == 0o700
        assert mode(directory / "endpoint.json") == 0o600
        assert mode(Path(server.endpoint.path)) == 0o600
    assert list(directory.iterdir()) == []


async def test_a_call_made_before_there_are_methods_waits_for_them(
    tmp_path: Path,
) -> None:
    async with IpcServer(tmp_path, "1") as server, Client(tmp_path) as client:
        async with asyncio.TaskGroup() as tasks:
            early = tasks.create_task(client.call("echo", {"n": 1}, SOON))
            with pytest.raises(TimeoutError):
                await client.call("echo", timeout=0.05)
            assert not early.done()
            server.offer(ECHO)
        assert early.result() == {"n": 1}


async def test_listening_needs_no_heavy_import() -> None:
    names = "pydantic", "httpx", "websockets", "sqlite3", "plyer", "click"
    program = (
        f"import sys, materializer.ipc.server as _;"
        f"print([name for name in {names} if name in sys.modules])"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


async def test_once_it_is_to_stop_requests_are_refused_and_running_ones_end(
    tmp_path: Path,
) -> None:
    release = asyncio.Event()
    running = asyncio.Event()

    async def long(_: Connection, __: Any) -> str:
        running.set()
        await release.wait()
        return "done"

    stop = asyncio.Event()
    async with IpcServer(tmp_path, "1", stop) as server, Client(tmp_path) as client:
        server.offer({**ECHO, "long": Method(as_it_came, long)})
        async with asyncio.TaskGroup() as tasks:
            begun = tasks.create_task(client.call("long", timeout=SOON))
            await running.wait()
            stop.set()
            with pytest.raises(RpcError, match="shutting down") as refusal:
                await client.call("echo", timeout=SOON)
            assert refusal.value.rpc_code == SHUTTING_DOWN
            release.set()
        assert begun.result() == "done"


async def test_leaving_answers_calls_that_still_run_and_says_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = asyncio.Event()

    async def long(_: Connection, __: Any) -> None:
        running.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks, IpcServer(tmp_path, "1") as server:
        server.offer({"long": Method(as_it_came, long)})
        reader, writer = await asyncio.open_unix_connection(server.endpoint.path)
        idle = await asyncio.open_unix_connection(server.endpoint.path)
        writer.write(b'{"id":1,"method":"long"}\n')
        async with asyncio.timeout(SOON):
            await running.wait()
        answer = tasks.create_task(reader.readline())
    assert json.loads(answer.result())["error"]["code"] == SHUTTING_DOWN
    assert await reader.read() == b""
    assert await idle[0].read() == b""
    writer.close()
    idle[1].close()
    assert caplog.records == []


async def test_a_client_that_does_not_read_cannot_hold_up_the_end(
    tmp_path: Path,
) -> None:
    flooded = asyncio.Event()

    async def flood(connection: Connection, _: Any) -> None:
        flooded.set()
        connection.notify("news", "x" * (4 << 20))

    server = await IpcServer(tmp_path, "1").__aenter__()
    server.offer({"flood": Method(as_it_came, flood)})
    _, writer = await asyncio.open_unix_connection(server.endpoint.path)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b'{"id":1,"method":"flood"}\n')
    async with asyncio.timeout(SOON):
        await flooded.wait()
    async with asyncio.timeout(SOON / 2):
        await server.__aexit__(None, None, None)
    writer.transport.abort()


async def test_an_exception_leaves_it_as_it_was_raised(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with IpcServer(tmp_path, "1"):
            raise ZeroDivisionError
    assert list((tmp_path / "materializer").iterdir()) == []


async def test_a_socket_that_a_dead_daemon_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(Path(Address.usual(tmp_path).path)))
    async with IpcServer(tmp_path, "2") as server, Client(tmp_path) as client:
        server.offer(ECHO)
        assert await client.call("echo", {"n": 1}, SOON) == {"n": 1}


async def test_a_socket_on_which_somebody_answers_is_left_alone(tmp_path: Path) -> None:
    async with IpcServer(tmp_path, "1") as server:
        server.offer(ECHO)
        with pytest.raises(AlreadyRunning):
            await IpcServer(tmp_path, "2").__aenter__()
        async with Client(tmp_path) as client:
            assert await client.call("echo", {"n": 1}, SOON) == {"n": 1}


async def test_its_socket_is_removed_while_it_still_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nobody takes the place of a dead one, and then loses that to us."""
    vacate = sockets.vacate
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(5)

        def watched(path: Path) -> None:
            caller.connect(str(path))
            vacate(path)

        monkeypatch.setattr(sockets, "vacate", watched)
        async with IpcServer(tmp_path, "1") as server:
            path = Path(server.endpoint.path)
        assert not path.exists()
        # Who came last is let go like everybody else.
        assert await asyncio.to_thread(caller.recv, 1) == b""


def test_a_file_in_the_socket_s_place_is_left_alone(tmp_path: Path) -> None:
    path = Path(Address.usual(tmp_path).path)
    path.write_text("precious")
    with pytest.raises(SettingsInvalid, match="in the way"):
        asyncio.run(IpcServer(tmp_path, "1").__aenter__())
    assert path.read_text() == "precious"


@pytest.fixture
def obstructed(tmp_path: Path) -> Path:
    """A state directory in which no endpoint can be told."""
    (Path(Address.usual(tmp_path).path).parent / "endpoint.new").mkdir()
    return tmp_path


async def test_what_cannot_be_published_is_not_listened_on(obstructed: Path) -> None:
    with pytest.raises(SettingsInvalid, match="cannot be written"):
        await IpcServer(obstructed, "1").__aenter__()
    left = endpoint_file(obstructed).parent.iterdir()
    assert [path.name for path in left] == ["endpoint.new"]


async def test_a_path_too_long_for_a_socket_is_no_hindrance(tmp_path: Path) -> None:
    state = tmp_path / ("long " * 30) / "state"
    async with IpcServer(state, "1") as server, Client(state) as client:
        server.offer(ECHO)
        assert await client.call("echo", {"n": 1}, SOON) == {"n": 1}
        directory = Path(server.endpoint.path).parent
        assert directory != state / "materializer"
        assert mode(directory) == 0o700
    assert not directory.exists()


async def test_a_directory_that_others_may_enter_is_closed_to_them(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "materializer"
    directory.mkdir(mode=0o755)
    async with IpcServer(tmp_path, "1"):
        assert mode(directory) == 0o700


async def test_a_directory_that_is_a_link_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "materializer").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsInvalid, match="no directory of yours"):
        await IpcServer(tmp_path, "1").__aenter__()


@pytest.fixture
def open_state() -> Iterator[Path]:
    """A state directory that other users can enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


def lay_open(path: Path) -> None:
    path.parent.chmod(0o711)
    path.chmod(0o666)


STRANGER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as stranger:
    stranger.settimeout(10)
    stranger.connect(sys.argv[1])
    print(stranger.recv(1))
"""


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() != 0 or not Path("/usr/bin/python3").exists(),
    reason="only root can pose, and others need a Python that they can reach",
)
async def test_another_user_s_client_is_turned_away(
    open_state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with IpcServer(open_state, "1") as server:
        server.offer(ECHO)
        lay_open(Path(server.endpoint.path))
        stranger = await asyncio.create_subprocess_exec(
            "/usr/bin/python3",
            "-c",
            STRANGER,
            server.endpoint.path,
            user=65534,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await stranger.communicate()
    assert out == b"b''\n"
    assert [record.getMessage() for record in caplog.records] == [
        "refusing a client of another user"
    ]
