"""The commands of `stella-materializer`, from outside."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from materializer import __version__
from materializer.gateway import Gateway
from materializer.plan import OVERLAP_MS
from process.house import (
    MATERIALIZER,
    App,
    House,
    ended,
    environment,
    posix,
    started,
)

# What would make `--help` slow.
HEAVY = {"httpx", "pydantic", "sqlite3", "asyncio", "click", "typing", "inspect"}
# What would make a daemon large.
UNNEEDED = {
    *("pydantic", "httpx", "html.entities", "difflib", "plyer", "jeepney"),
    *("starlette", "uvicorn", "PIL", "av", "numpy", "materializer.devserver"),
}


@pytest.mark.parametrize("door", ["materializer", "media"])
@pytest.mark.parametrize("flag", ["--help", "--version"])
async def test_help_and_version_load_next_to_nothing(
    tmp_path: Path, door: str, flag: str
) -> None:
    code = (
        "import atexit, sys; from materializer import cli;"
        f"atexit.register(lambda: print(*sys.modules, file=sys.stderr)); cli.{door}()"
    )
    command = (sys.executable, "-c", code, flag)
    end = await ended(tmp_path, environment(tmp_path), *command)
    assert end.code == 0
    if flag == "--version":
        assert end.out == f"stella-{door} {__version__}\n"
    else:
        assert end.out.startswith(f"Usage: stella-{door} ")
    loaded = set(end.err.split())
    assert "materializer.cli" in loaded
    assert loaded & HEAVY == set()


async def test_a_daemon_with_a_client_loads_none_of_what_it_can_do_without(
    house: House,
) -> None:
    code = (
        "import atexit, sys; from materializer import cli;"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
        "cli.materializer()"
    )
    command = (sys.executable, "-c", code, "run", "--ready-json")
    async with started(house.root, house.environ, *command) as daemon:
        await daemon.line()
        async with App(house.state) as app:
            await app.subscribe()
            await app.call("gallery.list")
            await app.call("daemon.status")
            await app.call("daemon.shutdown")
        end = await daemon.ended()
    loaded = set(end.err.split())
    assert "materializer.daemon" in loaded
    assert loaded & UNNEEDED == set()


@pytest.mark.parametrize("door", ["materializer", "media"])
async def test_without_arguments_the_help_is_told(tmp_path: Path, door: str) -> None:
    code = f"from materializer import cli; cli.{door}()"
    command = (sys.executable, "-c", code)
    end = await ended(tmp_path, environment(tmp_path), *command)
    help_ = await ended(tmp_path, environment(tmp_path), *command, "--help")
    assert end == help_


async def test_status_tells_what_the_daemon_is_doing(house: House) -> None:
    before = time.time_ns() // 1_000_000
    async with house.daemon() as daemon, App(house.state) as app:
        await app.call("display.subscribe", consumer="app", after=0)
        house.finish_picture("job")
        await app.update()
        told = await house.command(*MATERIALIZER, "status", "--json")
        words = await house.command(*MATERIALIZER, "status")
    assert (told.code, told.err, words.code, words.err) == (0, "", 0, "")
    status = json.loads(told.out)
    check_status(house, status, before)
    assert (status["version"], status["pid"]) == (__version__, daemon.pid)
    lines = dict(line.split(maxsplit=1) for line in words.out.splitlines())
    assert lines["feed"].startswith(f"live  {house.backend.convex_url}")
    assert lines["gallery"] == f"1 items, {status['gallery']['bytes']} bytes"
    assert house.backend.owner() in words.out


def check_status(house: House, status: dict[str, Any], before: int) -> None:
    assert status["stateDir"] == str(house.state)
    assert status["owner"] == house.backend.owner()
    assert 0 < status["uptimeMs"] < 60_000
    feed = status["feed"]
    assert feed["connectedAt"] >= before
    assert feed == {
        "state": "live",
        "url": house.backend.convex_url,
        "connectedAt": feed["connectedAt"],
        "reconnects": 0,
        "lastError": None,
        "gap": None,
    }
    assert status["jobs"] == {"pending": 0, "fetching": 0, "done": 1, "failed": 0}
    size = (house.outputs / "job_0.png").stat().st_size
    assert status["gallery"] == {"items": 1, "bytes": size}
    assert status["disk"]["freeBytes"] > 0
    assert status["disk"]["paused"] is False
    # The one job has settled, so that it is up to two minutes before its completion.
    assert before - 1000 < status["since"] + OVERLAP_MS < before + 60_000


async def test_watch_prints_each_update_once_for_a_consumer(house: House) -> None:
    watch = (*MATERIALIZER, "watch", "--consumer", "me")
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        async with started(
            house.root, house.environ, *watch, "--json", "--after", "0"
        ) as watching:
            house.finish_picture("first")
            update = json.loads(await watching.line())
            # Which of the two had subscribed before the job ended is chance.
            assert update | {"replay": None} == await app.update() | {"replay": None}
            assert (update["seq"], update["payload"]["jobId"]) == (1, "first")
            house.finish_picture("second")
            assert json.loads(await watching.line())["seq"] == 2
        # It had acknowledged the first before it printed the second.
        async with started(house.root, house.environ, *watch) as watching:
            house.finish_picture("third")
            lines = [await watching.line()]
            if " second " in lines[0]:
                lines.append(await watching.line())
            assert lines[-1].split() == [
                *("3", "open", "image", "third"),
                str(house.outputs / "third_0.png"),
            ]
            await app.call("daemon.shutdown")
            end = await watching.ended()
    assert (end.code, end.out, end.err) == (0, "", "the daemon has stopped\n")


async def test_the_gallery_is_listed_alike_with_and_without_a_daemon(
    house: House,
) -> None:
    command = (*MATERIALIZER, "gallery", "list")
    empty = await house.command(*command, "--json")
    assert json.loads(empty.out) == {"items": [], "nextCursor": None, "total": 0}
    async with house.daemon("--no-thumbnails"), App(house.state) as app:
        await app.call("display.subscribe", consumer="app", after=0)
        for job_id in ("old", "new"):
            house.finish_picture(job_id)
            await app.update()
        page = await app.call("gallery.list")
        running = [await house.command(*command, *more) for more in WAYS]
    stopped = [await house.command(*command, *more) for more in WAYS]
    assert running == stopped
    words, told, first_page, one_job = stopped
    assert {end.code for end in stopped} == {0}
    assert json.loads(told.out) == page
    assert [item["jobId"] for item in page["items"]] == ["new", "old"]
    paths = [line.split()[-1] for line in words.out.splitlines()]
    assert paths == [str(house.outputs / name) for name in ("new_0.png", "old_0.png")]
    assert first_page.out.splitlines() == words.out.splitlines()[:1]
    assert first_page.err.startswith("more: --cursor ")
    cursor = first_page.err.split()[-1]
    rest = await house.command(*command, "--cursor", cursor)
    assert rest.out.splitlines() == words.out.splitlines()[1:]
    assert [item["jobId"] for item in json.loads(one_job.out)["items"]] == ["old"]


WAYS = ((), ("--json",), ("--limit", "1"), ("--job-id", "old", "--json"))


@posix
async def test_dev_is_a_backend_whose_token_works(tmp_path: Path) -> None:
    environ = environment(tmp_path)
    command = (*MATERIALIZER, "dev", "--state", str(tmp_path / "backend"))
    async with started(tmp_path, environ, *command) as dev:
        ready = json.loads(await dev.line())
        assert ready.keys() == {"ready", "convexUrl", "siteUrl", "token", "tokenFile"}
        assert ready["ready"] is True
        token_file = Path(ready["tokenFile"])
        assert token_file.stat().st_mode & 0o777 == 0o600
        assert json.loads(token_file.read_text())["siteUrl"] == ready["siteUrl"]
        async with Gateway(ready["siteUrl"], ready["token"]) as gateway:
            request = {"capability": "text_to_3d", "prompt": "x"}
            accepted = await gateway.generate(request, idempotency_key="k")
            assert accepted["status"] == "queued"
        dev.send(signal.SIGTERM)
        end = await dev.ended(within=5)
    assert (end.code, end.out, end.err) == (0, "", "")


@posix
async def test_dev_leaves_nothing_behind_unless_told_where(tmp_path: Path) -> None:
    environ = environment(tmp_path) | {"TMPDIR": str(tmp_path)}
    async with started(tmp_path, environ, *MATERIALIZER, "dev") as dev:
        ready = json.loads(await dev.line())
        assert Path(ready["tokenFile"]).is_relative_to(tmp_path)
        dev.send(signal.SIGINT)
        assert (await dev.ended(within=5)).code == 0
        assert not Path(ready["tokenFile"]).parent.exists()


@posix
async def test_dev_has_the_weather_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "weather.toml"
    file.write_text('[[trouble]]\ndoes = "refuse"\nstatus = 418\n')
    command = (*MATERIALIZER, "dev", "--weather", str(file))
    async with started(tmp_path, environment(tmp_path), *command) as dev:
        feed = json.loads(await dev.line())["convexUrl"].replace("http", "ws", 1)
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{feed}/api/sync")
        assert refused.value.response.status_code == 418
        async with connect(f"{feed}/api/sync"):
            dev.send(signal.SIGTERM)
            assert (await dev.ended(within=5)).code == 0


@pytest.mark.parametrize(
    ("content", "say"),
    [
        (None, "No such file or directory"),
        (b"\xff", "invalid start byte"),
        (b"[[trouble]]\ndoes = 'rain'", "trouble.0: Input tag 'rain'"),
    ],
)
async def test_dev_refuses_a_weather_file_that_is_none(
    tmp_path: Path, content: bytes | None, say: str
) -> None:
    file = tmp_path / "weather.toml"
    if content is not None:
        file.write_bytes(content)
    command = (*MATERIALIZER, "dev", "--weather", str(file))
    end = await ended(tmp_path, environment(tmp_path), *command)
    assert (end.code, end.out) == (2, "")
    assert end.err.startswith(f"--weather: {file}: ")
    assert say in end.err
    assert end.err.count("\n") == 1


async def test_the_demo_shows_every_job_and_its_files(tmp_path: Path) -> None:
    state = tmp_path / "a place with spaces"
    end = await demo(tmp_path, state)
    assert end.code == 0, end.err
    outputs = state / "media" / "outputs"
    kept = {path.name for path in outputs.iterdir() if path.is_file()}
    rows = [line.split() for line in end.out.splitlines()]
    listed = {row[-1]: row for row in rows if row and row[-1] in kept}
    assert listed.keys() == kept
    assert len(kept) == 19
    sizes = {name: int(row[4].replace(",", "")) for name, row in listed.items()}
    assert sizes == {name: (outputs / name).stat().st_size for name in kept}
    assert "failed as it should, told: Image generation failed" in end.out
    assert f"files: {outputs}" in end.out
    assert "notification: not shown" in end.out
    assert "text_to_3d" in end.err
    assert end.err.count(" done") == 15
    assert not (state / "materializer" / "endpoint.json").exists()


async def test_the_demo_fails_when_an_output_did_not_arrive(tmp_path: Path) -> None:
    end = await demo(
        tmp_path, tmp_path / "state", STELLA_MATERIALIZER_MAX_BYTES="video=1"
    )
    assert end.code == 1
    [line] = [line for line in end.out.splitlines() if "image_to_video" in line]
    assert "max_bytes" in line


async def demo(root: Path, state: Path, **variables: str) -> Any:
    command = (*MATERIALIZER, "demo", "--headless", "--state-dir", str(state))
    return await ended(root, environment(root) | variables, *command)


@posix
async def test_on_a_terminal_the_demo_moves_one_line_a_job(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    command = (*MATERIALIZER, "demo", "--headless", "--state-dir", str(tmp_path / "s"))
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=theirs,
        env=environment(tmp_path),
    )
    os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        shown = await asyncio.to_thread(read_all, terminal)
    assert await process.wait() == 0
    moves = re.findall(rb"\x1b\[(\d+)A", shown)
    assert moves[-1] == b"16"
    assert shown.count(b"failed, reported") >= 1


def read_all(terminal: io.FileIO) -> bytes:
    shown = b""
    # A terminal that nobody has open any more is an error to read from.
    with contextlib.suppress(OSError):
        while piece := terminal.read(65536):
            shown += piece
    return shown
