"""The daemon as a part of an app: how it is started twice, upgraded and let go."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import AsyncExitStack
from pathlib import Path

from materializer import __version__
from materializer.config import Paths
from materializer.host import InstanceLock, prepare_directories
from materializer.ipc.client import Client
from materializer.ipc.connection import Method
from materializer.ipc.jsonlines import SHUTTING_DOWN, RpcError
from materializer.ipc.server import IpcServer
from need import need
from process.house import (
    MATERIALIZER,
    SOON,
    App,
    Ended,
    House,
    ended,
    environment,
    posix,
    started,
    until,
)

SECOND = (*MATERIALIZER, "run", "--if-not-running", "--ready-json")


def of_version(version: str) -> tuple[str, ...]:
    """Return the command of a program that takes itself for another version."""
    code = (
        f"import materializer; materializer.__version__ = {version!r};"
        "from materializer.cli import materializer as run; run()"
    )
    return sys.executable, "-c", code, *SECOND[len(MATERIALIZER) :]


async def test_a_second_daemon_leaves_it_to_the_first(house: House) -> None:
    async with house.daemon() as first:
        second = await house.command(*SECOND)
        ready = json.loads(second.out)
        assert (second.code, ready["ready"]) == (0, True)
        assert ready["endpoint"]["pid"] == first.pid
        quiet = await house.command(*MATERIALIZER, "run", "--if-not-running")
        assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
        refused = await house.command(*MATERIALIZER, "run")
        assert refused.code == 3
        assert f"process {first.pid} already serves" in refused.err
        async with App(house.state) as app:
            assert (await app.call("daemon.status"))["pid"] == first.pid


async def test_a_newer_daemon_takes_over_from_an_older_one(house: House) -> None:
    async with started(house.root, house.environ, *of_version("0.0.9")) as older:
        told = json.loads(await older.line())["endpoint"]
        assert (told["version"], told["pid"]) == ("0.0.9", older.pid)
        async with started(house.root, house.environ, *SECOND) as newer:
            told = json.loads(await newer.line())["endpoint"]
            assert (told["version"], told["pid"]) == (__version__, newer.pid)
            assert (await older.ended()).code == 0
            # What comes later and is older leaves it to the newer one.
            late = await house.command(*of_version("0.0.9"))
            assert json.loads(late.out)["endpoint"]["pid"] == newer.pid


async def test_one_that_is_stopping_is_waited_for(house: House) -> None:
    paths = Paths.of(house.state)
    prepare_directories(paths)
    asked = asyncio.Event()

    async def refuse(_: object, __: object) -> object:
        asked.set()
        raise RpcError(SHUTTING_DOWN, "the daemon is shutting down")

    async with AsyncExitStack() as held:
        with InstanceLock(paths.lock):
            async with IpcServer(paths.state, "0.0.9") as server:
                server.offer({"hello": Method(lambda sent: sent, refuse)})
                starting = started(house.root, house.environ, *SECOND)
                second = await held.enter_async_context(starting)
                async with asyncio.timeout(SOON):
                    await asked.wait()
        told = json.loads(await second.line())["endpoint"]
        assert told["pid"] == second.pid


async def test_of_two_that_start_together_one_serves(house: House) -> None:
    async with (
        started(house.root, house.environ, *SECOND) as one,
        started(house.root, house.environ, *SECOND) as other,
    ):
        first, second = [json.loads(await run.line()) for run in (one, other)]
        assert first == second
        serving = first["endpoint"]["pid"]
        assert serving in (one.pid, other.pid)
        left = other if serving == one.pid else one
        assert (await left.ended()).code == 0


@posix
async def test_hello_is_answered_before_the_libraries_are_there(house: House) -> None:
    loaded = house.root / "loaded"
    slow = (
        "import os, sys, time\n"
        "class Slow:\n"
        "    def find_spec(self, name, *_):\n"
        f"        while name == 'websockets' and not os.path.exists({str(loaded)!r}):\n"
        "            time.sleep(0.01)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "from materializer.cli import materializer as run; run()"
    )
    command = (sys.executable, "-c", slow, "run", "--ready-json")
    async with (
        started(house.root, house.environ, *command) as daemon,
        asyncio.timeout(SOON),
    ):
        await daemon.line()
        async with Client(house.state) as client, asyncio.TaskGroup() as tasks:
            status = tasks.create_task(client.call("daemon.status"))
            hello = await client.call("hello", {"client": "test", "protocol": 1})
            assert hello["pid"] == daemon.pid
            assert not status.done()
            loaded.touch()
            assert (await status)["pid"] == daemon.pid


@posix
async def test_nobody_needs_to_listen_to_what_it_says(house: House) -> None:
    """Neither the ready line nor the log may kill it, or change how it ends."""
    gone, out = os.pipe()
    os.close(gone)
    daemon = await asyncio.create_subprocess_exec(
        *(*MATERIALIZER, "run", "--ready-json"),
        stdin=DEVNULL,
        stdout=out,
        stderr=out,
        env=house.environ,
        cwd=house.root,
    )
    os.close(out)
    try:
        await serving(house.state)
        daemon.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SOON):
            assert await daemon.wait() == 0
    finally:
        if daemon.returncode is None:
            daemon.kill()
        await daemon.wait()
    assert "stopping" in house.log()


async def serving(state: Path) -> None:
    """Return when a daemon answers."""
    await until((state / "materializer" / "endpoint.json").exists)
    async with App(state) as app:
        await app.call("daemon.status")


@posix
async def test_a_daemon_that_node_has_detached_outlives_it(house: House) -> None:
    end = await spawned_by_node(house, SECOND, detached=True)
    pid = json.loads(end.out)["endpoint"]["pid"]
    try:
        async with App(house.state) as app:
            assert (await app.call("daemon.status"))["pid"] == pid
            await app.call("daemon.shutdown")
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise


@posix
async def test_a_daemon_that_is_attached_leaves_when_node_is_killed(
    house: House,
) -> None:
    command = (*SECOND, "--exit-with-parent")
    end = await spawned_by_node(house, command, detached=False)
    assert json.loads(end.out)["ready"]
    endpoint = house.state / "materializer" / "endpoint.json"
    await until(lambda: not endpoint.exists())


async def spawned_by_node(
    house: House, command: tuple[str, ...], *, detached: bool
) -> Ended:
    """Let Node start a daemon, say what that says first, and be killed."""
    need("node")
    options = {
        "detached": detached,
        "stdio": ["ignore" if detached else "pipe", "pipe", "ignore"],
    }
    [program, *flags] = command
    script = (
        f"const child = require('node:child_process').spawn({json.dumps(program)},"
        f" {json.dumps(flags)}, {json.dumps(options)});"
        " child.stdout.once('data', (line) => process.stdout.write(line, () =>"
        " process.kill(process.pid, 'SIGKILL')));"
    )
    end = await ended(house.root, house.environ, "node", "-e", script)
    assert end.code == -signal.SIGKILL
    return end


async def test_an_overview_that_nobody_reads_is_no_failure(tmp_path: Path) -> None:
    gone, out = os.pipe()
    os.close(gone)
    process = await asyncio.create_subprocess_exec(
        *(*MATERIALIZER, "--help"),
        stdout=out,
        stderr=PIPE,
        env=environment(tmp_path),
    )
    os.close(out)
    _, said = await process.communicate()
    assert (process.returncode, said) == (0, b"")
