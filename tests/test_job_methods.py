from __future__ import annotations

import asyncio
from typing import Any

import pytest

from desk import ME, SOON, T0, YOU, Desk, ask, refusal, told
from materializer.feed import FeedStatus
from materializer.gallery import items, outbox
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import CONFLICT, NOT_FOUND, NOT_SIGNED_IN

BUSY = ("unavailable", "the source is busy")


async def test_a_job_is_told_with_its_files_and_items(
    desk: Desk, client: Client
) -> None:
    image = desk.image("j")
    await desk.save("j", image)
    [item] = (await ask(client, "gallery.list"))["items"]
    assert await ask(client, "job.get", jobId="j") == {
        "jobId": "j",
        "state": "done",
        "status": "succeeded",
        "capability": "text_to_image",
        "attempts": 1,
        "nextAttemptAt": None,
        "error": None,
        "files": [image.path],
        "outputs": [item],
        "prompt": "a picture of j",
    }


async def test_a_job_that_waits_says_until_when_and_why(
    desk: Desk, client: Client
) -> None:
    why = ("unavailable", "the source is busy")
    await desk.save("j", state="pending", error=why, retry_at=T0 + 99)
    job = await ask(client, "job.get", jobId="j")
    assert (job["state"], job["attempts"]) == ("pending", 1)
    assert (job["nextAttemptAt"], job["error"]) == (T0 + 99, "the source is busy")
    assert (job["files"], job["outputs"]) == ([], [])
    desk.pipeline.fetching.add((ME.owner, "j"))
    assert (await ask(client, "job.get", jobId="j"))["state"] == "fetching"


async def test_a_job_that_waits_for_the_disk_says_so(
    desk: Desk, client: Client
) -> None:
    await desk.save("waits", state="pending", error=None)
    await desk.save("done")
    desk.pipeline.disk_trouble = "the disk is full"
    assert (await ask(client, "job.get", jobId="waits"))["error"] == "the disk is full"
    assert (await ask(client, "job.get", jobId="done"))["error"] is None


async def test_a_job_that_failed_upstream_says_so(desk: Desk, client: Client) -> None:
    await desk.lose("j")
    job = await ask(client, "job.get", jobId="j")
    assert (job["state"], job["status"], job["error"]) == ("failed", "failed", "No.")


async def test_an_unknown_job_is_not_found(client: Client) -> None:
    code, say = await refusal(client, "job.get", jobId="nothing")
    assert code == NOT_FOUND
    assert "job" in say


async def test_a_job_is_materialized_and_then_told(desk: Desk, client: Client) -> None:
    await desk.save("j", desk.image("j"))
    job = await ask(client, "job.materialize", jobId="j")
    assert job == await ask(client, "job.get", jobId="j")
    assert desk.asked == [(ME, "j")]


async def test_who_waited_for_a_job_that_failed_is_told_by_the_answer_alone(
    desk: Desk, client: Client
) -> None:
    left = asyncio.Event()
    desk.audience.on_change = left.set
    desk.settled.clear()
    async with asyncio.TaskGroup() as tasks:
        saving = tasks.create_task(ask(client, "job.materialize", jobId="j"))
        async with asyncio.timeout(SOON):
            await desk.has_asked.wait()
        assert desk.audience.expects((ME.owner, "j"))
        await desk.lose("j")
        assert await told_of(desk) == "due"
        desk.settled.set()
        assert (await saving)["state"] == "failed"
    async with asyncio.timeout(SOON):
        await left.wait()
    assert not desk.audience.expects((ME.owner, "j"))
    assert await told_of(desk) == "told by answer"


async def test_who_goes_at_once_with_the_answer_was_told_by_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, recording, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
    desk.audience.on_change = left.set
    await desk.lose("j")
    write = desk.gallery.write

    async def slowly(do: Any, *args: Any) -> Any:
        recording.set()
        await gone.wait()
        return await write(do, *args)

    monkeypatch.setattr(desk.gallery, "write", slowly)
    async with asyncio.timeout(SOON):
        async with Client(desk.state) as hasty:
            assert (await ask(hasty, "job.materialize", jobId="j"))["state"] == "failed"
            await recording.wait()
        for _ in range(50):  # turns of the loop, in which the connection could end
            await asyncio.sleep(0)
        gone.set()
        await left.wait()
    assert await told_of(desk) == "told by answer"


async def test_who_left_before_a_job_failed_was_not_told(desk: Desk) -> None:
    left = asyncio.Event()
    desk.audience.on_change = left.set
    desk.settled.clear()
    async with Client(desk.state) as impatient:
        with pytest.raises(TimeoutError):
            await impatient.call("job.materialize", {"jobId": "j"}, timeout=0)
        async with asyncio.timeout(SOON):
            await desk.has_asked.wait()
    async with asyncio.timeout(SOON):
        await left.wait()
    await desk.lose("j")
    assert not desk.audience.expects((ME.owner, "j"))
    assert await told_of(desk) == "due"


async def told_of(desk: Desk) -> str | None:
    record = await desk.gallery.read(items.record, ME.owner, "j")
    assert record is not None
    return record.told


async def test_a_job_that_the_backend_does_not_know_is_not_found(
    desk: Desk, client: Client
) -> None:
    code, say = await refusal(client, "job.materialize", jobId="nothing")
    assert code == NOT_FOUND
    assert "job" in say
    assert desk.asked == [(ME, "nothing")]


async def test_as_the_daemon_starts_a_job_is_asked_for_once_somebody_is_known(
    desk: Desk, client: Client
) -> None:
    await desk.save("j", desk.image("j"))
    desk.presence.account = desk.presence.last_owner = None
    async with Client(desk.state) as other, asyncio.TaskGroup() as tasks:
        saving = tasks.create_task(ask(client, "job.materialize", jobId="j"))
        getting = tasks.create_task(ask(other, "job.get", jobId="j"))
        await ask(client, "daemon.status")
        await ask(other, "daemon.status")
        assert not saving.done()
        assert not getting.done()
        desk.sign_in(ME)
        assert await saving == await getting
    assert desk.asked == [(ME, "j")]


async def test_as_the_daemon_starts_it_is_not_waited_for_ever_who_it_is(
    desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.presence.account = desk.presence.last_owner = None
    monkeypatch.setattr("materializer.job_methods.PATIENCE", 0.05)
    for method, code in (
        ("job.materialize", NOT_SIGNED_IN),
        ("job.claim", NOT_SIGNED_IN),
        ("job.get", NOT_FOUND),
    ):
        assert (await refusal(client, method, jobId="j"))[0] == code
    assert desk.asked == []


async def test_who_finds_out_that_nobody_is_signed_in_is_told_at_once(
    desk: Desk, client: Client
) -> None:
    desk.presence.account = None
    async with asyncio.TaskGroup() as tasks:
        saving = tasks.create_task(refusal(client, "job.materialize", jobId="j"))
        await ask(client, "daemon.status")
        desk.sign_out()
        code, say = await saving
    assert (code, desk.asked) == (NOT_SIGNED_IN, [])
    assert "nobody is signed in" in say


async def leave(desk: Desk) -> None:
    desk.sign_out()


async def switch(desk: Desk) -> None:
    desk.sign_in(YOU)


async def be_refused(desk: Desk) -> None:
    desk.presence.feed = FeedStatus("signed_out", "", refused=True)
    desk.presence.changed()
    desk.presence.changed()


@pytest.mark.parametrize("go", [leave, switch, be_refused])
async def test_who_signs_out_is_not_kept_waiting_for_a_job(
    desk: Desk, client: Client, go: Any
) -> None:
    desk.settled.clear()
    async with asyncio.TaskGroup() as tasks:
        saving = tasks.create_task(refusal(client, "job.materialize", jobId="j"))
        async with asyncio.timeout(SOON):
            await desk.has_asked.wait()
        desk.presence.changed()
        await ask(client, "daemon.status")
        assert not saving.done()
        await go(desk)
        code, say = await saving
    assert code == NOT_SIGNED_IN
    assert "signed out meanwhile" in say
    assert desk.presence._ends == {}


async def test_a_refused_sign_in_cannot_ask_for_a_job(
    desk: Desk, client: Client
) -> None:
    await be_refused(desk)
    assert (await refusal(client, "job.materialize", jobId="j"))[0] == NOT_SIGNED_IN


async def listed(client: Client, **params: object) -> list[str]:
    jobs = (await ask(client, "job.list", **params))["jobs"]
    return [job["jobId"] for job in jobs]


async def test_jobs_are_listed_newest_first_as_job_get_tells_them(
    desk: Desk, client: Client
) -> None:
    await desk.save("a", desk.image("a"), at=T0)
    await desk.lose("b", at=T0 + 2)
    await desk.save("c", state="pending", error=BUSY, at=T0 + 1)
    await desk.save("d", state="pending", error=BUSY, at=T0 + 1)
    await desk.save("yours", desk.image("yours"), account=YOU)
    assert await listed(client) == ["b", "c", "d", "a"]
    assert await listed(client, limit=2) == ["b", "c"]
    for job in (await ask(client, "job.list"))["jobs"]:
        assert job == await ask(client, "job.get", jobId=job["jobId"])
    desk.sign_in(YOU)
    assert await listed(client) == ["yours"]


async def test_jobs_are_listed_by_their_state(desk: Desk, client: Client) -> None:
    await desk.save("here", desk.image("here"))
    await desk.save("odd", state="unrecognised")
    await desk.lose("lost")
    await desk.save("waits", state="pending")
    await desk.save("runs", state="pending")
    desk.pipeline.fetching |= {(ME.owner, "runs"), (YOU.owner, "waits")}
    found = {
        state: await listed(client, state=state)
        for state in ("pending", "fetching", "done", "failed", "unrecognised")
    }
    assert found == {
        "pending": ["waits"],
        "fetching": ["runs"],
        "done": ["here"],
        "failed": ["lost"],
        "unrecognised": ["odd"],
    }


@pytest.mark.parametrize("state", ["failed", "pending"])
async def test_a_job_that_did_not_arrive_is_tried_anew(
    desk: Desk, client: Client, state: Any
) -> None:
    retry_at = T0 + 99 if state == "pending" else None
    await desk.save("j", state=state, error=BUSY, retry_at=retry_at)
    await ask(client, "events.subscribe", topics=["job"])
    looked = desk.pipeline._wake
    job = await ask(client, "job.retry", jobId="j")
    assert job == await ask(client, "job.get", jobId="j")
    assert (job["state"], job["attempts"]) == ("pending", 0)
    assert (job["nextAttemptAt"], job["error"]) == (None, None)
    assert looked.is_set()
    event = await told(client, "event")
    assert (event["type"], event["data"]) == (
        "pending",
        {"jobId": "j", "state": "pending"},
    )
    assert await desk.gallery.read(items.to_tell, ME.owner) == []


@pytest.mark.parametrize("state", ["done", "unrecognised"])
async def test_a_job_that_is_here_is_told_instead_of_tried(
    desk: Desk, client: Client, state: Any
) -> None:
    await desk.save("j", desk.image("j"), state=state)
    desk.sign_out()
    job = await ask(client, "job.retry", jobId="j")
    assert (job["state"], len(job["files"])) == (state, 1)


async def test_a_job_that_failed_where_it_was_made_cannot_be_tried(
    desk: Desk, client: Client
) -> None:
    await desk.lose("j", "No more today.")
    code, say = await refusal(client, "job.retry", jobId="j")
    assert code == CONFLICT
    assert "failed where it was made" in say
    job = await ask(client, "job.get", jobId="j")
    assert (job["state"], job["error"]) == ("failed", "No more today.")


async def test_what_is_unknown_or_somebody_else_s_cannot_be_tried(
    desk: Desk, client: Client
) -> None:
    await desk.save("yours", state="failed", error=BUSY, account=YOU)
    for job_id in ("nothing", "yours"):
        assert (await refusal(client, "job.retry", jobId=job_id))[0] == NOT_FOUND
    desk.sign_in(YOU)
    assert (await ask(client, "job.get", jobId="yours"))["state"] == "failed"


async def test_signed_out_a_job_cannot_be_tried_and_stays_as_it_is(
    desk: Desk, client: Client
) -> None:
    await desk.save("j", state="failed", error=BUSY)
    desk.sign_out()
    assert (await refusal(client, "job.retry", jobId="j"))[0] == NOT_SIGNED_IN
    assert (await ask(client, "job.get", jobId="j"))["state"] == "failed"


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
async def test_a_claimed_job_is_announced_quietly(
    desk: Desk, client: Client, known: bool
) -> None:
    if known:
        await desk.save("j", state="pending")
    assert await ask(client, "job.claim", jobId="j") == {}
    assert await ask(client, "job.claim", jobId="j") == {}
    assert desk.asked == []
    await desk.save("j", desk.image("j"), action="open")
    await desk.save("k", desk.image("k"), action="open")
    await desk.save("j", desk.image("j"), account=YOU, action="open")
    for owner, actions in ((ME.owner, ["register", "open"]), (YOU.owner, ["open"])):
        updates = await desk.gallery.read(outbox.after, owner, 0, 9)
        assert [update.action for update in updates] == actions


async def test_signed_out_a_job_of_the_last_owner_can_be_claimed(
    desk: Desk, client: Client
) -> None:
    desk.sign_out()
    assert await ask(client, "job.claim", jobId="j") == {}
    await desk.save("j", desk.image("j"), action="open")
    [update] = await desk.gallery.read(outbox.after, ME.owner, 0, 9)
    assert update.action == "register"
    desk.presence.last_owner = None
    assert (await refusal(client, "job.claim", jobId="j"))[0] == NOT_SIGNED_IN
