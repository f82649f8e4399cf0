"""The host module in Node, with the real daemon and the embedded backend."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from host.app import NAME, App, running
from host.conftest import MODULE, complaints
from materializer.ipc.client import Client
from materializer.ipc.endpoint import endpoint_file
from process import house as houses
from process.house import MATERIALIZER, SOON, House, posix, until
from sidebar import is_accepted

Calls = dict[str, dict[str, Any]]
# A daemon may tell more than is typed, so this takes what is at least the type.
ANSWERS = """
declare function answers<M extends keyof Methods>(
  method: M,
): <T extends ReturnType<Methods[M]>>(answer: T) => void;
declare function payload<T extends DisplayPayload>(sent: T): void;
"""
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
ORDERS: Calls = {
    "image": {
        "capability": "text_to_image",
        "prompt": "two lamps",
        "input": {"num_images": 2},
    },
    "video": {"capability": "image_to_video", "prompt": "push in", "source": PIXEL},
    "audio": {"capability": "text_to_music", "prompt": "warm keys"},
    "model3d": {"capability": "text_to_3d", "prompt": "a pebble"},
    "text": {
        "capability": "speech_to_text",
        "source": "data:audio/wav;base64,UklGRg==",
    },
}
KILLS = 50

pytestmark = posix


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with houses.house(tmp_path) as built:
        yield built


def command(house: House) -> list[str]:
    """Return what starts a daemon of this house."""
    where = ("--convex-url", house.backend.convex_url)
    return [*MATERIALIZER, "run", *where, "--token-file", str(house.backend.token_file)]


async def make_known(house: House) -> None:
    """Let the app be one that was here, with nothing to show, before any job."""
    async with house.daemon(), houses.App(house.state) as other:
        await other.feed("live")
        await other.call("display.ack", consumer=NAME, seq=0)


async def test_jobs_of_every_kind_reach_the_renderer_as_it_takes_them(
    house: House, built: Path
) -> None:
    await make_known(house)
    async with running(
        built, house.state, house.environ, command=command(house)
    ) as app:
        [hello] = await app.hears("attached")
        assert hello["stateDir"] == str(house.state)
        jobs = {kind: await house.order(request) for kind, request in ORDERS.items()}
        jobs["download"] = "parcel"
        house.finish("parcel", {"nobody": "knows"})
        seen: Calls = {}
        while len(seen) < len(jobs):
            _, channel, payload, _ = await app.hears("sent")
            assert channel == "display:update"
            assert is_accepted(payload)
            seen[payload["asset"]["kind"]] = payload
        items = (await app.ask("gallery.list"))["items"]
        await app.disposed()
    assert {kind: payload["jobId"] for kind, payload in seen.items()} == jobs
    told = {path for payload in seen.values() for path in files(payload)}
    kept = {item["path"] for item in items if item["kind"] != "text"}
    assert told == kept
    assert all(Path(path).stat().st_size for path in told)
    with pytest.raises(ProcessLookupError):
        os.kill(hello["pid"], 0)
    assert not endpoint_file(house.state).exists(), "it was killed, and did not leave"


async def test_an_app_attaches_to_the_daemon_that_runs_and_leaves_it_running(
    house: House, built: Path
) -> None:
    async with house.daemon() as daemon:
        async with running(
            built, house.state, house.environ, command=command(house)
        ) as app:
            [hello] = await app.hears("attached")
            await app.disposed()
        assert hello["pid"] == daemon.pid
        async with Client(house.state) as client:
            assert (await client.call("daemon.status"))["pid"] == daemon.pid


def calls(job: dict[str, Any], item: dict[str, Any], house: House) -> Calls:
    """Return every request, with what to say."""
    return {
        "display.suppress": {"suppressed": True},
        "gallery.list": {},
        "gallery.get": {"id": item["id"]},
        "gallery.rebuild": {},
        "job.get": job,
        "job.list": {},
        "job.retry": job,
        "job.materialize": job,
        "job.claim": job,
        "daemon.status": {},
        "gallery.remove": {"id": item["id"]},
        "auth.set": {"token": house.backend.token()},
        "auth.clear": {},
        "daemon.shutdown": {},
    }


async def test_what_a_daemon_answers_has_the_types_that_an_app_is_promised(
    house: House, built: Path, tmp_path: Path
) -> None:
    await make_known(house)
    ours = command(house)
    lines = [
        f'import type {{ DisplayPayload, Methods }} from "{MODULE / "protocol.js"}";',
        ANSWERS,
    ]
    async with running(built, house.state, house.environ, command=ours) as app:
        [hello] = await app.hears("attached")
        house.finish_picture("job")
        [_, _, payload, _] = await app.hears("sent")
        job = {"jobId": "job"}
        [shown] = (await app.ask("gallery.list", limit=1))["items"]
        answers = {"hello": hello}
        for method, params in calls(job, shown, house).items():
            answers[method] = await app.ask(method, **params)
    lines += [
        f'answers("{name}")({json.dumps(told)});' for name, told in answers.items()
    ]
    lines.append(f"payload({json.dumps(payload)});")
    lines += ["// @ts-expect-error: the types are looked at", 'answers("job.get")({});']
    source = tmp_path / "answers.ts"
    source.write_text("\n".join(lines))
    assert complaints(tmp_path, source, noEmit=True, types=[]) == ""


@pytest.mark.timeout(180)
async def test_either_side_is_killed_often_and_each_update_is_shown_once_in_order(
    house: House, built: Path
) -> None:
    await make_known(house)
    chance = random.Random(5)  # noqa: S311 -- the same every time
    killed = {"daemon": 0, "app": 0}
    lives: list[App] = []
    jobs: list[str] = []
    async with AsyncExitStack() as stack:
        ours = command(house)

        async def born() -> App:
            app = running(built, house.state, house.environ, command=ours, slowest=20)
            lives.append(await stack.enter_async_context(app))
            return lives[-1]

        app = await born()
        while sum(killed.values()) < KILLS:
            for _ in range(chance.choice((1, 2, 3))):
                jobs.append(f"job-{len(jobs):03}")
                house.finish_picture(jobs[-1])
            for _ in range(chance.choice((0, 1, 1))):
                await app.hears("sent")
            victim = chance.choice(("daemon", "daemon", "app"))
            if victim == "app":
                await app.killed()
                app = await born()
            else:
                os.kill(await running_daemon(house), signal.SIGKILL)
            killed[victim] += 1
        while len({*shown(lives)}) < len(jobs):
            await app.hears("sent")
        await app.disposed()
    assert min(killed.values()) >= KILLS / 5
    assert_once_and_in_order(lives)
    # Those that end in one millisecond have no order of their own.
    assert sorted({*shown(lives)}) == jobs


def shown(lives: list[App]) -> list[str]:
    return [sent[2]["jobId"] for app in lives for sent in app.sent()]


def assert_once_and_in_order(lives: list[App]) -> None:
    """Only the last update of an app that was killed may be shown to the next one."""
    seqs = [(sent[0], life) for life, app in enumerate(lives) for sent in app.sent()]
    for (seq, life), (following, later) in pairwise(seqs):
        assert following == seq + 1 or (following == seq and later > life)


async def running_daemon(house: House) -> int:
    """Return the process of the daemon that can be connected to, when there is one."""
    found = 0

    def is_there() -> bool:
        nonlocal found
        with suppress(OSError, ValueError):
            found = json.loads(endpoint_file(house.state).read_text())["pid"]
            os.kill(found, 0)
            return Path(f"/proc/{found}/stat").read_text().split()[2] != "Z"
        return False

    await until(is_there, SOON)
    return found


def files(payload: dict[str, Any]) -> list[str]:
    asset = payload["asset"]
    return [asset["filePath"]] if "filePath" in asset else asset.get("filePaths", [])
