"""The official clients against the embedded backend, each in its own process.

The Python client holds the interpreter's lock while it waits, so a test that ran it
in this process could not even time out.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from materializer.devserver.app import Backend
from need import packages
from process.house import MEDIA, environment, started

HERE = Path(__file__).parent
PATIENCE = 30.0


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """Where the pinned npm packages are installed, and the script beside them."""
    folder = packages(HERE)
    if folder != HERE:
        for name in ("follow.mjs", "drive.mjs"):
            shutil.copy(HERE / name, folder)
    return folder


@pytest.fixture(params=["python", "javascript"])
def follower(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "python":
        return [sys.executable, str(HERE / "follow.py")]
    return ["node", str(request.getfixturevalue("node_folder") / "follow.mjs")]


@pytest.fixture(params=["python", "javascript"])
def driver(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "python":
        return [sys.executable, str(HERE / "drive.py")]
    return javascript(request.getfixturevalue("node_folder"))


def javascript(node_folder: Path) -> list[str]:
    return ["node", str(node_folder / "drive.mjs")]


class Lines:
    """A process that talks in lines of JSON."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def hear(self) -> Any:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            # The Python client prints what functions log, such as `[LOG] 'text'`.
            if line.startswith((b'["', b'{"')):
                return json.loads(line)
        pytest.fail("the process ended without saying more")

    async def until(self, name: str, good: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(PATIENCE):
            while True:
                told, value = await self.hear()
                if told == name and good(value):
                    return value

    async def told(self, name: str) -> Any:
        return await self.until(name, lambda _: True)

    async def until_connected(self, times: int) -> None:
        """Wait until clients have connected to this backend so many times."""
        count = 0
        async with asyncio.timeout(PATIENCE):
            while count < times:
                await asyncio.sleep(0.1)
                self.say("connections")
                count = await self.told("connections")

    def say(self, method: str, **arguments: Any) -> None:
        self.tell(method, arguments)

    def tell(self, *command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[Lines]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE,
        stdout=PIPE,
        env=os.environ | {"PYTHONPATH": str(HERE.parent)},
    )
    try:
        yield Lines(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def backend(
    state: Path, port: int = 0, pace: Mapping[str, float] = MappingProxyType({})
) -> AsyncIterator[tuple[Lines, Any]]:
    arguments = [str(state), str(port), json.dumps(dict(pace))]
    command = [sys.executable, str(HERE / "serve.py"), *arguments]
    async with running(*command) as lines, asyncio.timeout(2 * PATIENCE):
        yield lines, await lines.hear()


@asynccontextmanager
async def driven(
    state: Path, driver: list[str], speed: float = 1, **pace: float
) -> AsyncIterator[tuple[Lines, Lines, Any]]:
    """A backend, and a client of it that does what it is told."""
    async with (
        backend(state, pace=pace) as (server, ready),
        running(*driver, ready["url"], str(speed)) as client,
    ):
        yield server, client, ready


def has_status(status: str) -> Callable[[Any], bool]:
    return lambda row: bool(row) and row["status"] == status


def holds(*job_ids: str) -> Callable[[Any], bool]:
    return lambda rows: [row["jobId"] for row in rows] == [*job_ids]


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
    """S29"""
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
            await client.until("listSucceededSince", holds("after", "before"))


ADA, BOB = {"account": "ada"}, {"account": "bob"}
FIVE = ADA | {"amount": 5.0}


def is_value(wanted: Any) -> Callable[[Any], bool]:
    return lambda told: told == {"value": wanted}


def fails_with(words: str) -> Callable[[Any], bool]:
    return lambda told: words in told.get("error", "")


async def test_an_official_client_keeps_a_bank_account(
    tmp_path: Path, driver: list[str]
) -> None:
    """S1"""
    async with driven(tmp_path, driver) as (_, client, _):
        client.tell("subscribe", "ada", "bank:balance", ADA)
        await client.until("ada", is_value(None))
        client.tell("mutation", "deposit", "bank:deposit", FIVE)
        await client.until("deposit", is_value(5))
        client.tell("subscribe", "bob", "bank:balance", BOB)
        await client.until("bob", is_value(None))
        client.tell("mutation", "deposit", "bank:deposit", BOB | {"amount": 1.0})
        await client.until("bob", is_value(1))
        transfer = {"from": "ada", "to": "bob", "amount": 2.0}
        client.tell("mutation", "transfer", "bank:transfer", transfer)
        await client.until("bob", is_value(3))
        client.tell("action", "report", "bank:report", {})
        await client.until("report", is_value({"ada": 3, "bob": 3}))


async def test_an_official_client_hears_why_a_query_failed(
    tmp_path: Path, driver: list[str]
) -> None:
    """S3"""
    async with driven(tmp_path, driver) as (_, client, _):
        client.tell("subscribe", "broken", "bank:broken", {})
        await client.until("broken", fails_with("Uncaught Error: the vault is shut"))
        data = {"code": 1.0}
        client.tell("subscribe", "refused", "bank:refused", {"data": data})
        await client.until("refused", lambda told: told.get("data") == data)
        client.tell("subscribe", "good", "bank:default", {})
        await client.until("good", is_value("the bank"))


async def test_an_official_client_may_leave_the_name_of_a_function_out(
    tmp_path: Path, driver: list[str]
) -> None:
    """S16: after the drop the Python client spells the path in another way."""
    async with AsyncExitStack() as stack:
        async with backend(tmp_path) as (_, ready):
            port = int(ready["url"].rpartition(":")[2])
            client = await stack.enter_async_context(
                running(*driver, ready["url"], "1")
            )
            client.tell("subscribe", "bank", "bank", {})
            client.tell("subscribe", "ada", "bank.js:balance", ADA)
            await client.until("ada", is_value(None))
        async with backend(tmp_path, port) as (server, _):
            server.say("mutate", path="bank:deposit", args=FIVE, owner=None)
            await client.until("ada", is_value(5))
            client.tell("subscribe", "again", "bank", {})
            await client.until("again", is_value("the bank"))


@pytest.mark.parametrize("path", ["bank:brokenMutation", "bank:withdraw", "no:such"])
async def test_an_official_clients_mutation_that_fails_returns(
    tmp_path: Path, driver: list[str], path: str
) -> None:
    """S17"""
    async with driven(tmp_path, driver) as (_, client, _):
        client.tell("mutation", "failed", path, FIVE)
        told = await client.told("failed")
        assert "error" in told
        assert told.get("data") == ({"code": 42} if path == "bank:withdraw" else None)


@pytest.mark.parametrize(
    ("ping_after", "stays"), [(15, True), (600, False)], ids=["pings", "silence"]
)
async def test_the_official_javascript_client_stays_while_it_hears_pings(
    tmp_path: Path, node_folder: Path, ping_after: float, stays: bool
) -> None:
    """S18: forty times faster, the client's minute of patience included."""
    fast = {"speed": 40, "ping_after": ping_after / 40}
    async with driven(tmp_path, javascript(node_folder), **fast) as parts:
        server, client, _ = parts
        client.tell("subscribe", "bank", "bank:default", {})
        await client.until("bank", is_value("the bank"))
        if stays:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(server.until_connected(2), 4)
        else:
            await server.until_connected(2)


@pytest.mark.timeout(90)
async def test_the_official_python_client_stays_while_its_frames_are_pinged(
    tmp_path: Path,
) -> None:
    """S18: it looks every 5 s for 30 s of silence, and cannot be hurried."""
    python = [sys.executable, str(HERE / "drive.py")]
    async with driven(tmp_path, python, ping_after=600) as (server, client, _):
        client.tell("subscribe", "bank", "bank:default", {})
        await client.until("bank", is_value("the bank"))
        await asyncio.sleep(37)
        server.say("connections")
        assert await server.told("connections") == 1


@pytest.mark.parametrize("length", [6_000_000, 9_000_000])
async def test_an_official_client_takes_a_large_transition(
    tmp_path: Path, driver: list[str], length: int
) -> None:
    """S20: of 12 and 18 MB, in chunks or in frames."""
    async with driven(tmp_path, driver) as (server, client, _):
        args = {"length": float(length)}
        client.tell("subscribe", "letter", "bank:letter", args)
        await client.until("letter", is_value({"length": length}))
        server.say("connections")
        assert await server.told("connections") == 1


async def test_an_official_client_goes_on_with_a_fresh_token(
    tmp_path: Path, driver: list[str]
) -> None:
    """S21"""
    async with driven(tmp_path, driver) as (server, client, ready):
        server.say("token", lifetime=4)
        client.tell("auth", await server.told("token"))
        client.tell("subscribe", "me", "bank:whoami", {})
        client.tell("subscribe", "ada", "bank:balance", ADA)
        await client.until("me", lambda told: str(told["value"]).endswith("|dev"))
        await asyncio.sleep(4)
        if driver[0] == "node":  # asks for its token at need
            client.tell("renew", ready["token"])
        server.say("mutate", path="bank:deposit", args=FIVE, owner=None)
        await server.until_connected(2)
        if driver[0] != "node":
            client.tell("renew", ready["token"])
        await client.until("ada", is_value(5))
        client.tell("subscribe", "again", "bank:whoami", {})
        await client.until("again", lambda told: str(told["value"]).endswith("|dev"))


async def test_the_official_javascript_client_is_answered_in_order(
    tmp_path: Path, node_folder: Path
) -> None:
    """S23: the Python client can ask for one thing at a time only."""
    async with driven(tmp_path, javascript(node_folder)) as (server, client, _):
        client.tell("mutation", "slow", "bank:slowDeposit", FIVE)
        client.tell("mutation", "fast", "bank:deposit", FIVE)
        client.tell("action", "report", "bank:report", {})
        assert await client.hear() == ["report", {"value": {}}]
        server.say("open")
        assert await client.hear() == ["slow", {"value": 5}]
        assert await client.hear() == ["fast", {"value": 10}]


VALUES = {
    "bytes": {"$bytes": "AP8="},
    "integer": {"$integer": "BwAAAAAAAAA="},
    "floats": [
        {"$float": "AAAAAAAA8H8="},
        {"$float": "AAAAAAAA+H8="},
        {"$float": "AAAAAAAAAIA="},
        1.5,
    ],
    "plain": [None, True, "ä€😀", {}],
}


async def test_every_value_comes_back_to_an_official_client_as_it_went(
    tmp_path: Path, driver: list[str]
) -> None:
    """S25, and on the socket."""
    async with driven(tmp_path, driver) as (_, client, _):
        client.tell("subscribe", "socket", "bank:echo", {"value": VALUES})
        await client.until("socket", is_value(VALUES))
        client.tell("http", "http", "query", "bank:echo", {"value": VALUES})
        await client.until("http", is_value(VALUES))


async def test_an_official_http_client_is_served(
    tmp_path: Path, driver: list[str]
) -> None:
    """S25"""
    async with driven(tmp_path, driver) as (_, client, ready):
        client.tell("http", "me", "query", "bank:whoami", {}, ready["token"])
        assert (await client.told("me"))["value"].endswith("|dev")
        client.tell("http", "deposit", "mutation", "bank:deposit", FIVE)
        await client.until("deposit", is_value(5))
        client.tell("http", "report", "action", "bank:report", {})
        await client.until("report", is_value({"ada": 5}))
        client.tell("http", "poor", "mutation", "bank:withdraw", BOB | {"amount": 1.0})
        await client.until("poor", lambda told: told["data"] == {"code": 42})
        client.tell("http", "broken", "query", "bank:broken", {})
        await client.until("broken", fails_with("the vault is shut"))
        client.tell("http", "stranger", "query", "bank:whoami", {}, "x.y.z")
        await client.until("stranger", fails_with("InvalidAuthHeader"))


async def test_the_official_javascript_client_asks_at_one_time(
    tmp_path: Path, node_folder: Path
) -> None:
    """S25"""
    async with driven(tmp_path, javascript(node_folder)) as (_, client, _):
        client.tell("http", "bank", "consistentQuery", "bank:default", {})
        await client.until("bank", is_value("the bank"))


async def test_the_official_javascript_client_follows_what_stella_media_waits_for(
    tmp_path: Path, node_folder: Path
) -> None:
    request = json.dumps({"capability": "text_to_image", "prompt": "a cat [slow:6]"})
    command = (*MEDIA, "generate", "--wait", "--request", request)
    environ = environment(tmp_path) | {
        "STELLA_STATE_DIR": str(tmp_path / "state"),
        "STELLA_ALLOW_PRIVATE_HOSTS": "127.0.0.1",
    }
    async with Backend(tmp_path / "backend") as server, AsyncExitStack() as stack:
        environ["STELLA_MEDIA_TOKEN_FILE"] = str(server.token_file)
        queued = asyncio.Event()
        server.deployment.watchers.add(queued.set)
        waiting = await stack.enter_async_context(started(tmp_path, environ, *command))
        async with asyncio.timeout(PATIENCE):
            await queued.wait()
        [job_id] = server.deployment._rows
        follow = ["node", str(node_folder / "follow.mjs")]
        arguments = [server.convex_url, server.token(), job_id]
        client = await stack.enter_async_context(running(*follow, *arguments))
        # As `api.media_jobs.getByJobId`, which the accepted order names.
        await client.until("getByJobId", has_status("running"))
        row = await client.until("getByJobId", has_status("succeeded"))
        assert row["jobId"] == job_id
        end = await waiting.ended()
    picture = tmp_path / "state/media/outputs" / f"{job_id}_0.png"
    assert end.code == 0, end.err
    assert end.out == f"Media job {job_id} completed.\nimage: {picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG")
