"""The official clients against the embedded backend, each in its own process.

The Python client holds the interpreter's lock while it waits, so a test that ran it
in this process could not even time out.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from need import need

HERE = Path(__file__).parent
PATIENCE = 30.0


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """Where the pinned npm packages are installed, and the script beside them."""
    need("node", "npm")
    folder = Path(os.environ.get("STELLA_TEST_CACHE", HERE))
    if folder != HERE:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "follow.mjs"):
            shutil.copy(HERE / name, folder)
    pinned = json.loads((folder / "package.json").read_text())["dependencies"]
    if any(installed(folder, name) != pinned[name] for name in pinned):
        quiet = ["--no-audit", "--no-fund", "--no-package-lock"]
        subprocess.run(["npm", "install", *quiet], cwd=folder, check=True)
    return folder


def installed(folder: Path, package: str) -> str | None:
    path = folder / "node_modules" / package / "package.json"
    return json.loads(path.read_text())["version"] if path.exists() else None


@pytest.fixture(params=["python", "javascript"])
def follower(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "python":
        return [sys.executable, str(HERE / "follow.py")]
    return ["node", str(request.getfixturevalue("node_folder") / "follow.mjs")]


class Lines:
    """A process that talks in lines of JSON."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def hear(self) -> Any:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if line.startswith((b"[", b"{")):
                return json.loads(line)
        pytest.fail("the process ended without saying more")

    async def until(self, name: str, good: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(PATIENCE):
            while True:
                told, value = await self.hear()
                if told == name and good(value):
                    return value

    def say(self, method: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        line = json.dumps([method, arguments]) + "\n"
        self._process.stdin.write(line.encode())


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[Lines]:
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        yield Lines(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def backend(state: Path, port: int = 0) -> AsyncIterator[tuple[Lines, Any]]:
    command = [sys.executable, str(HERE / "serve.py"), str(state), str(port)]
    async with running(*command) as lines, asyncio.timeout(2 * PATIENCE):
        yield lines, await lines.hear()


def has_status(status: str) -> Callable[[Any], bool]:
    return lambda row: bool(row) and row["status"] == status


def holds(job_id: str) -> Callable[[Any], bool]:
    return lambda rows: [row["jobId"] for row in rows] == [job_id]


def nothing(rows: Any) -> bool:
    return not rows


async def test_an_official_client_sees_a_job_change_state(
    tmp_path: Path, follower: list[str]
) -> None:
    async with backend(tmp_path) as (server, ready):
        server.say("submit", job_id="j", capability="icon")
        command = [*follower, ready["url"], ready["token"], "j"]
        async with running(*command) as client:
            await client.until("http", has_status("queued"))
            await client.until("getByJobId", has_status("queued"))
            server.say("start", job_id="j")
            await client.until("getByJobId", has_status("running"))
            server.say("succeed", job_id="j", output={"text": "done"})
            row = await client.until("getByJobId", has_status("succeeded"))
            assert row["output"] == {"text": "done"}


@pytest.mark.parametrize(
    ("method", "arguments", "query", "shown"),
    [
        (
            "succeed",
            {"output": {"text": "done"}},
            "listSucceededSince",
            {"output": {"text": "done"}},
        ),
        (
            "fail",
            {"message": "Unsafe prompt"},
            "listFailedSince",
            {"error": {"message": "Unsafe prompt"}},
        ),
    ],
    ids=["succeeded", "failed"],
)
async def test_an_official_client_sees_how_a_job_ended(
    tmp_path: Path,
    follower: list[str],
    method: str,
    arguments: dict[str, Any],
    query: str,
    shown: dict[str, Any],
) -> None:
    async with backend(tmp_path) as (server, ready):
        command = [*follower, ready["url"], ready["token"], "j"]
        async with running(*command) as client:
            await client.until(query, nothing)
            server.say("submit", job_id="j", capability="icon")
            server.say(method, job_id="j", **arguments)
            (row,) = await client.until(query, holds("j"))
            assert shown.items() <= row.items()


async def test_an_official_client_recovers_when_the_backend_restarts(
    tmp_path: Path, follower: list[str]
) -> None:
    async with AsyncExitStack() as stack:
        async with backend(tmp_path) as (server, ready):
            port = int(ready["url"].rpartition(":")[2])
            server.say("submit", job_id="before", capability="icon")
            server.say("succeed", job_id="before", output={})
            command = [*follower, ready["url"], ready["token"], "j"]
            client = await stack.enter_async_context(running(*command))
            await client.until("listSucceededSince", holds("before"))
        async with backend(tmp_path, port) as (server, _):
            server.say("submit", job_id="after", capability="icon")
            server.say("succeed", job_id="after", output={})
            await client.until("listSucceededSince", holds("after"))
