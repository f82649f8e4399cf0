from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from home import DAY, PNG, SOON, at_home, finish, opened, submit
from materializer import config
from materializer.daemon import Manner
from materializer.devserver.app import Backend
from materializer.errors import SignInNeeded
from materializer.gallery import ledger
from materializer.gateway import Gateway
from materializer.host import prepare_directories
from materializer.model import Account, Job, JobError
from origin import Origin


async def test_a_token_file_is_all_it_needs_and_an_order_ends_on_disk(
    backend: Backend, state: Path
) -> None:
    order = {"capability": "text_to_image", "prompt": "a kite"}
    async with at_home(state, backend.token_file) as home:
        await home.event("feed", "live")
        await home.ask("display.subscribe", consumer="app")
        async with Gateway(backend.site_url, backend.token()) as gateway:
            job_id = (await gateway.generate(order, idempotency_key="k"))["jobId"]
        await home.event("job", "done", jobId=job_id)
        update = await home.update()
        [path] = update["payload"]["asset"]["filePaths"]
        assert update["action"] == "open"
        assert Path(path).read_bytes().startswith(b"\x89PNG")
        assert Path(path).name == f"{job_id}_0.png"
        assert await home.gallery() == [f"{job_id}_0"]
        status = await home.ask("daemon.status")
        assert status["owner"] == backend.owner()
        assert status["feed"]["state"] == "live"
        assert status["feed"]["url"] == backend.convex_url
        assert status["jobs"]["done"] == 1


async def test_a_failed_job_is_told_in_words(backend: Backend, state: Path) -> None:
    now = submit(backend, "j")
    backend.deployment.fail(now, "j", "No kites today.")
    async with at_home(state, backend.token_file) as home:
        told = await home.event("notification", "not_shown", jobId="j")
        assert told["body"] == "No kites today."
        assert (await home.ask("job.get", jobId="j"))["state"] == "failed"


async def test_a_failure_of_which_nobody_was_told_yet_is_told_at_the_next_start(
    backend: Backend, state: Path
) -> None:
    lost = Job("j", "failed", error=JobError("No kites today."), completed_at=5)
    account = Account(backend.convex_url, backend.owner())
    settings = config.load({"state_dir": str(state)}, {})
    prepare_directories(settings.paths)
    async with opened(settings) as gallery:
        await gallery.write(ledger.fail, account, [(lost, True)])
    async with at_home(state, backend.token_file) as home:
        told = await home.event("notification", "not_shown", jobId="j")
        assert told["body"] == "No kites today."


async def test_once_it_leaves_when_everything_has_settled(
    backend: Backend, state: Path
) -> None:
    for n in range(3):
        finish(backend, f"j{n}", ago=n)
    lost = submit(backend, "lost")
    backend.deployment.fail(lost, "lost", "No.")
    submit(backend, "runs")
    async with at_home(state, backend.token_file, Manner(once=True)) as home:
        async with asyncio.timeout(SOON):
            await home.running
        status = await home.ask("daemon.status")
        assert status["jobs"] == {"pending": 0, "fetching": 0, "done": 3, "failed": 1}


async def test_once_and_signed_out_it_leaves_with_that(
    backend: Backend, state: Path, tmp_path: Path
) -> None:
    with pytest.RaisesGroup(SignInNeeded):
        async with at_home(
            state,
            tmp_path / "none",
            Manner(once=True),
            convex_url=backend.convex_url,
        ) as home:
            async with asyncio.timeout(SOON):
                await home.running


@pytest.mark.usefixtures("at_once")
async def test_a_job_that_waits_for_a_retry_is_taken_up_again_after_a_restart(
    backend: Backend, state: Path, source: Origin
) -> None:
    busy = source.raw("/a", "503 Busy")
    finish(backend, "old", ago=DAY, output={"image": {"url": busy}})
    async with at_home(state, backend.token_file, Manner(since=0)) as home:
        await home.event("job", "pending", jobId="old")
    source.serve("/a", PNG)
    async with at_home(state, backend.token_file) as home:
        await home.event("job", "done", jobId="old")


async def test_signed_out_from_the_start_the_last_owner_s_items_are_shown(
    backend: Backend, state: Path, tmp_path: Path
) -> None:
    finish(backend, "j")
    async with at_home(state, backend.token_file, Manner(once=True)) as home:
        await home.running
    async with at_home(state, tmp_path / "none", convex_url=backend.convex_url) as home:
        await home.event("feed", "signed_out", reason="nobody is signed in")
        assert (await home.ask("hello", client="t", protocol=1))["owner"] is None
        assert await home.gallery() == ["j_0"]
