"""`run --listen`: clients come where a person wants them, or are the parent itself."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from materializer.ipc.endpoint import endpoint_file
from process.house import MATERIALIZER, SOON, App, House, posix


def run(house: House, *flags: str) -> tuple[str, ...]:
    return (
        *(*MATERIALIZER, "run", "--convex-url", house.backend.convex_url),
        *("--token-file", str(house.backend.token_file), *flags),
    )


class Parent:
    """What started a daemon, and talks to it through its standard files."""

    def __init__(self, daemon: asyncio.subprocess.Process) -> None:
        assert daemon.stdin is not None
        assert daemon.stdout is not None
        self.daemon = daemon
        self._in, self._out = daemon.stdin, daemon.stdout

    async def call(self, method: str, **params: object) -> Any:
        request = {"id": method, "method": method, "params": params}
        self._in.write(json.dumps(request).encode() + b"\n")
        return (await self.told("id", method))["result"]

    async def told(self, member: str, value: str) -> Any:
        """Return the next line that has such a member; every line is JSON."""
        async with asyncio.timeout(SOON):
            while True:
                said = json.loads(await self._out.readline())
                if said.get(member) == value:
                    return said

    async def hang_up(self) -> tuple[int | None, bytes]:
        """Close the daemon's stdin; return how it ended, and its last words."""
        async with asyncio.timeout(SOON):
            out, _ = await self.daemon.communicate(b"")
        return self.daemon.returncode, out


async def test_a_parent_is_served_on_standard_input_and_output(house: House) -> None:
    daemon = await asyncio.create_subprocess_exec(
        *run(house, "--listen", "stdio://"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=house.environ,
        cwd=house.root,
    )
    parent = Parent(daemon)
    try:
        hello = await parent.call("hello", client="parent", protocol=1)
        assert hello["pid"] == daemon.pid
        await parent.call("display.subscribe", consumer="parent")
        house.finish_picture("job")
        update = (await parent.told("method", "display.update"))["params"]
        assert update["payload"]["jobId"] == "job"
        assert not endpoint_file(house.state).exists()
        assert await parent.hang_up() == (0, b"")
    finally:
        if daemon.returncode is None:
            daemon.kill()
        await daemon.communicate()
    assert "stopping" in house.log()


async def test_questions_from_a_pipe_are_all_answered(house: House) -> None:
    asked = b'{"id":1,"method":"hello","params":{"client":"sh","protocol":1}}\n'
    asked += b'{"id":2,"method":"gallery.list"}\nnonsense\n'
    end = await house.command(*run(house, "--listen", "stdio://"), stdin=asked)
    answers = {said["id"]: said for said in map(json.loads, end.out.splitlines())}
    assert end.code == 0
    assert answers[1]["result"]["stateDir"] == str(house.state)
    assert answers[2]["result"]["items"] == []
    assert answers[None]["error"]["code"] == -32700


@posix
async def test_a_signal_ends_it_though_its_stdin_stays_open(house: House) -> None:
    daemon = await asyncio.create_subprocess_exec(
        *run(house, "--listen", "stdio://"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=house.environ,
        cwd=house.root,
    )
    parent = Parent(daemon)
    await parent.call("daemon.status")
    daemon.send_signal(signal.SIGTERM)
    async with asyncio.timeout(SOON):
        assert await daemon.wait() == 0
    await parent.hang_up()


@posix
async def test_clients_find_a_socket_that_a_person_chose(house: House) -> None:
    path = house.root / "own" / "x.sock"
    async with house.daemon("--listen", f"unix://{path}") as daemon:
        told = json.loads(endpoint_file(house.state).read_text())
        assert (told["transport"], told["path"]) == ("unix", str(path))
        assert path.stat().st_mode & 0o777 == 0o600
        async with App(house.state) as app:
            assert (await app.call("daemon.status"))["pid"] == daemon.pid
        daemon.send(signal.SIGTERM)
        assert (await daemon.ended()).code == 0
    assert list(path.parent.iterdir()) == []
    assert not endpoint_file(house.state).exists()


@posix
async def test_daemons_of_two_directories_do_not_take_each_other_s_socket(
    house: House,
) -> None:
    listen = ("--listen", f"unix://{house.root / 'own' / 'x.sock'}")
    async with house.daemon(*listen) as first, App(house.state) as app:
        other = str(house.root / "other")
        end = await house.command(*run(house, *listen, "--state-dir", other))
        assert (end.code, end.out) == (3, "")
        assert "another program answers" in end.err
        assert (await app.call("daemon.status"))["pid"] == first.pid


@posix
async def test_what_a_killed_daemon_left_is_replaced(house: House) -> None:
    listen = ("--listen", f"unix://{house.root / 'own' / 'x.sock'}")
    async with house.daemon(*listen) as daemon:
        await daemon.killed()
    async with house.daemon(*listen) as daemon, App(house.state) as app:
        assert (await app.call("daemon.status"))["pid"] == daemon.pid


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--listen", "tcp://127.0.0.1:1"], "--listen is 'tcp://127.0.0.1:1'; it"),
        (["--listen", "stdio://", "--ready-json"], "choose one"),
    ],
)
async def test_where_nobody_could_connect_is_refused_before_anything_is_made(
    house: House, flags: list[str], words: str
) -> None:
    end = await house.command(*run(house, *flags))
    assert (end.code, end.out) == (2, "")
    assert words in end.err
    assert len(end.err.splitlines()) == 1
    assert not house.state.exists()


@posix
async def test_a_directory_that_others_can_change_is_refused(
    house: House, tmp_path: Path
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    end = await house.command(*run(house, "--listen", f"unix://{tmp_path}/open/x"))
    assert end.code == 2
    assert "can be changed by other users" in end.err
