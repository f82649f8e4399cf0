"""What happened while no daemon ran: nothing of it is lost."""

from __future__ import annotations

import json
import time

import pytest

from materializer.model import SUBMITTED
from process.house import MATERIALIZER, MEDIA, App, House

DAY = 86400
LAMP = {"capability": "text_to_image", "prompt": "[slow:60] a lamp"}


@pytest.fixture
async def studio(house: House) -> House:
    """A house whose commands are signed in, and whose lists show only what is new."""
    house.environ["STELLA_MEDIA_TOKEN_FILE"] = str(house.backend.token_file)
    house.environ["STELLA_MATERIALIZER_FIRST_RUN_LOOKBACK"] = "0s"
    return house


async def generate(studio: House, *flags: str) -> str:
    """Submit a job that takes long; return its id."""
    command = (*MEDIA, "generate", "--request", json.dumps(LAMP), *flags)
    end = await studio.command(*command)
    if "--wait" in flags:
        assert end.code == 124, end.err
        return end.err.split()[2].rstrip(":")
    assert (end.code, end.err) == (0, "")
    job_id = json.loads(end.out)["jobId"]
    assert isinstance(job_id, str)
    return job_id


def succeed(studio: House, job_id: str, seconds_ago: float) -> None:
    output = {"images": [{"url": studio.picture(job_id)}]}
    now = time.time_ns() - int(seconds_ago * 1e9)
    studio.backend.deployment.succeed(now, job_id, output)


async def test_three_days_and_180_jobs_later_all_of_them_are_here(
    house: House,
) -> None:
    house.finish_picture("before", seconds_ago=3 * DAY)
    async with (
        house.daemon("--first-run-lookback", "4d") as daemon,
        App(house.state) as app,
    ):
        await app.call("display.subscribe", consumer="app", after=0)
        await app.ack(await app.update())
        await daemon.killed()
    for n in range(180):
        house.finish_picture(f"job-{n:03}", seconds_ago=(180 - n) * 3 * DAY / 181)
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        updates = [await app.update() for _ in range(180)]
        assert {update["action"] for update in updates} == {"register"}
        listed = await app.call("gallery.list")
        assert listed["total"] == 181
    names = [f"job-{n:03}_0.png" for n in range(180)]
    assert house.files() == ["before_0.png", *names]


@pytest.mark.parametrize("flags", [[], ["--wait", "--timeout", "0.5"]], ids=str)
async def test_a_job_submitted_without_a_daemon_is_saved_by_the_next_one(
    studio: House, flags: list[str]
) -> None:
    job_id = await generate(studio, *flags)
    succeed(studio, job_id, seconds_ago=DAY)
    async with studio.daemon(), App(studio.state) as app:
        await app.call("display.subscribe", consumer="app", after=0)
        assert (await app.update())["payload"]["jobId"] == job_id
    assert studio.files() == [f"{job_id}_0.png"]


@pytest.mark.parametrize("flags", [[], ["--wait", "--timeout", "0.5"]], ids=str)
async def test_a_job_submitted_with_a_daemon_outlives_command_and_daemon(
    studio: House, flags: list[str]
) -> None:
    async with studio.daemon() as daemon, App(studio.state) as app:
        await app.feed("live")
        job_id = await generate(studio, *flags)
        known = await app.call("job.get", jobId=job_id)
        assert (known["state"], known["status"]) == ("pending", SUBMITTED)
        await daemon.killed()
    succeed(studio, job_id, seconds_ago=DAY)
    end = await studio.command(
        *(*MATERIALIZER, "run", "--once"),
        *("--convex-url", studio.backend.convex_url),
        *("--token-file", str(studio.backend.token_file)),
    )
    assert end.code == 0, end.err
    assert studio.files() == [f"{job_id}_0.png"]


async def test_a_command_that_cannot_enter_its_job_says_so_and_has_still_submitted_it(
    studio: House,
) -> None:
    emptied = studio.root / "nobody"
    emptied.write_text("")
    async with studio.daemon(token_file=emptied), App(studio.state) as app:
        await app.feed("signed_out")
        command = (*MEDIA, "generate", "--request", json.dumps(LAMP))
        end = await studio.command(*command)
    job_id = json.loads(end.out)["jobId"]
    assert end.code == 0
    assert end.err.startswith(f"{job_id} is not looked after on this computer: ")
