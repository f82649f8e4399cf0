"""A small server on its standard input and output; it is a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

SOON = 10.0
SERVER = """
import asyncio, sys
from pathlib import Path
from materializer.errors import MaterializerError
from materializer.ipc.address import STDIO
from materializer.ipc.connection import Method
from materializer.ipc.server import IpcServer

async def echo(connection, params):
    return params

async def chat(connection, params):
    print("to whom it may concern")
    return sys.stdin.read()

async def flood(connection, params):
    for _ in range(params):
        connection.notify("news", "x" * 65536)

async def main():
    stop = asyncio.Event()
    async with IpcServer(Path(sys.argv[1]), "1", stop, STDIO) as server:
        methods = echo, chat, flood
        server.offer({do.__name__: Method(lambda sent: sent, do) for do in methods})
        await stop.wait()

try:
    asyncio.run(main())
except MaterializerError as error:
    sys.exit(str(error))
"""


def line(call: int, method: str, params: object = None) -> bytes:
    return json.dumps({"id": call, "method": method, "params": params}).encode() + b"\n"


@asynccontextmanager
async def served(state: Path) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVER, str(state)),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        limit=1 << 20,
    )
    try:
        async with asyncio.timeout(SOON):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate(b"")


async def told(process: Process) -> Any:
    assert process.stdout is not None
    return json.loads(await process.stdout.readline())


async def test_a_request_on_stdin_is_answered_on_stdout_until_stdin_ends(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as process:
        assert process.stdin is not None
        for call in range(3):
            process.stdin.write(line(call, "echo", {"n": call}))
            assert (await told(process))["result"] == {"n": call}
        process.stdin.write(line(3, "echo", "last"))
        out, err = await process.communicate(b"")
    assert json.loads(out)["result"] == "last"
    assert (process.returncode, err) == (0, b"")


async def test_what_else_prints_or_reads_does_not_disturb_the_connection(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write(line(1, "chat") + line(2, "echo", 2))
        assert [(await told(process))["result"] for _ in range(2)] == ["", 2]
        out, err = await process.communicate(b"")
    assert (out, err) == (b"", b"to whom it may concern\n")


async def test_it_does_not_end_before_its_parent_has_read_all_that_it_said(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write(line(1, "echo", 1))
        await told(process)
        process.stdout._transport.pause_reading()  # type: ignore[union-attr]
        process.stdin.write(line(2, "flood", 3))
        process.stdin.close()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await process.wait()
        process.stdout._transport.resume_reading()  # type: ignore[union-attr]
        out, _ = await process.communicate()
    *news, answer = map(json.loads, out.splitlines())
    assert ([one["method"] for one in news], answer["id"]) == (["news"] * 3, 2)


async def test_it_ends_when_nobody_reads_its_stdout_any_more(tmp_path: Path) -> None:
    source, sink = os.pipe()
    with os.fdopen(sink, "wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SERVER, str(tmp_path)), stdin=PIPE, stdout=out
        )
    os.close(source)
    assert process.stdin is not None
    process.stdin.write(line(1, "echo"))
    async with asyncio.timeout(SOON):
        assert await process.wait() == 0
    process.stdin.close()


async def test_a_file_can_ask_and_a_file_can_hold_the_answers(tmp_path: Path) -> None:
    asked, answered = tmp_path / "asked", tmp_path / "answered"
    asked.write_bytes(line(1, "echo", "a") + line(2, "echo", "b"))
    with asked.open("rb") as stdin, answered.open("wb") as stdout:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", SERVER, str(tmp_path)],
            stdin=stdin,
            stdout=stdout,
            timeout=SOON,
        )
    assert done.returncode == 0
    results = [json.loads(one)["result"] for one in answered.read_text().splitlines()]
    assert results == ["a", "b"]


async def test_nobody_else_is_told_of_it_and_an_old_endpoint_is_gone(
    tmp_path: Path,
) -> None:
    (tmp_path / "materializer").mkdir(mode=0o700)
    (tmp_path / "materializer" / "endpoint.json").write_text("{}")
    async with served(tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write(line(1, "echo"))
        await told(process)
        assert list((tmp_path / "materializer").iterdir()) == []


@pytest.mark.skipif("sys.platform == 'win32'", reason="needs a shell")
async def test_a_process_whose_stdout_is_closed_says_what_it_needs(
    tmp_path: Path,
) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-c", '"$@" >&-', "sh", sys.executable, "-c", SERVER, str(tmp_path)],
        stderr=subprocess.PIPE,
        timeout=SOON,
    )
    assert done.returncode == 1
    assert b"needs standard input, output and error" in done.stderr
