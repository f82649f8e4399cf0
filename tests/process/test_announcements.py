"""What consumers are told, and how loudly, from outside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from materializer.devserver import media
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import NOT_FOUND, NOT_SIGNED_IN, RpcError
from origin import Origin
from process.house import MATERIALIZER, SOON, App, Held, House, png


async def refusal(app: App, method: str, **params: object) -> int:
    with pytest.raises(RpcError) as refused:
        await app.call(method, **params)
    return refused.value.rpc_code


async def actions(app: App, count: int) -> dict[str, str]:
    """Return the action of the next updates, by job."""
    updates = [await app.update() for _ in range(count)]
    return {update["payload"]["jobId"]: update["action"] for update in updates}


def shown(update: dict[str, Any]) -> set[str]:
    """Return the paths of an update."""
    asset = update["payload"]["asset"]
    return {*asset.get("filePaths", [asset.get("filePath")])}


async def test_a_claim_made_before_the_job_is_known_outlives_the_daemon(
    house: House,
) -> None:
    async with house.daemon() as daemon, App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        assert await app.call("job.claim", jobId="chat") == {}
        await daemon.killed()
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        for job_id in ("chat", "other"):
            house.finish_picture(job_id)
        assert await actions(app, 2) == {"chat": "register", "other": "open"}
        assert (await app.call("job.get", jobId="chat"))["state"] == "done"
        assert (await app.call("gallery.list", jobId="chat"))["total"] == 1


async def test_a_job_that_is_claimed_while_it_downloads_is_registered(
    house: House, source: Origin
) -> None:
    held = Held(source, "/held.png", png("held"))
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        house.finish("held", {"images": [{"url": held.url}]})
        await held.halfway()
        await app.call("job.claim", jobId="held")
        held.let_go()
        assert await actions(app, 1) == {"held": "register"}


async def test_what_is_suppressed_is_recorded_and_stays_quiet_when_it_comes_again(
    house: House,
) -> None:
    async with house.daemon() as daemon, App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        async with App(house.state) as one, App(house.state) as other:
            for quiet in (one, other):
                await quiet.call("display.suppress", suppressed=True)
            await one.call("display.suppress", suppressed=False)
            house.finish_picture("during")
            assert await actions(app, 1) == {"during": "register"}
        # The other has gone, and its wish with it.
        house.finish_picture("after")
        assert await actions(app, 1) == {"after": "open"}
        await daemon.killed()
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        assert await actions(app, 2) == {"during": "register", "after": "open"}


@pytest.mark.parametrize(
    ("policy", "action"),
    [("open", "open"), ("register", "register"), ("never", "register")],
)
async def test_the_policy_says_whether_anything_opens_and_clients_can_read_it(
    house: House, policy: str, action: str
) -> None:
    async with house.daemon("--open-policy", policy), App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        house.finish_picture("job")
        assert await actions(app, 1) == {"job": action}
        assert (await app.call("daemon.status"))["openPolicy"] == policy


async def test_several_fresh_jobs_of_one_later_result_are_each_opened(
    house: House,
) -> None:
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        for job_id in ("a", "b", "c"):
            house.finish_picture(job_id)
        assert await actions(app, 3) == {"a": "open", "b": "open", "c": "open"}


async def test_of_what_finished_without_a_daemon_at_most_one_job_opens(
    house: House,
) -> None:
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        house.finish_picture("first", seconds_ago=90)
        await app.ack(await app.update())
    for n in range(30):
        house.finish_picture(f"job{n:02}", seconds_ago=30 - n)
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        opened = await actions(app, 30)
    assert [job for job, action in opened.items() if action == "open"] == ["job29"]
    assert list(opened) == sorted(opened)


async def test_a_finished_job_waits_for_an_earlier_one_only_for_a_moment(
    house: House, source: Origin
) -> None:
    held = Held(source, "/older.png", png("older"))
    house.finish("older", {"images": [{"url": held.url}]}, seconds_ago=20)
    house.finish_picture("newer", seconds_ago=10)
    async with house.daemon(), App(house.state) as app:
        await app.call("display.subscribe", consumer="app", after=0)
        await held.halfway()
        assert (await app.update())["payload"]["jobId"] == "newer"
        assert (await app.call("job.get", jobId="older"))["state"] == "fetching"
        held.let_go()
        assert (await app.update())["payload"]["jobId"] == "older"


async def test_each_consumer_has_a_place_of_its_own_that_a_crash_does_not_move(
    house: House,
) -> None:
    async with house.daemon() as daemon, App(house.state) as app:
        await app.feed("live")
        for consumer in ("quick", "slow"):
            await app.call("display.subscribe", consumer=consumer)
        for job_id in ("a", "b", "c"):
            house.finish_picture(job_id)
            await app.event("job", jobId=job_id, state="done")
        for consumer, seq, cursor in (
            ("quick", 2, 2),
            ("slow", 1, 1),
            ("quick", 1, 2),
            ("slow", 99, 3),
            ("new", 3, 3),
        ):
            ack = await app.call("display.ack", consumer=consumer, seq=seq)
            assert ack == {"cursor": cursor}
        await daemon.killed()
    async with house.daemon(), App(house.state) as app:
        for consumer, place in (("quick", 2), ("slow", 3), ("unheard-of", 3)):
            subscribed = await app.call("display.subscribe", consumer=consumer)
            assert subscribed == {"cursor": place}
        async with App(house.state) as again:
            await again.call("display.subscribe", consumer="quick")
            assert (await again.update())["seq"] == 3


async def test_every_topic_tells_what_it_should_in_the_shape_it_should(
    house: House, source: Origin
) -> None:
    dripping = asyncio.Event()
    body = png("slow")

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        sent = 0
        while not dripping.is_set() and sent < len(body) // 2:
            writer.write(body[sent : sent + 1])
            await writer.drain()
            await asyncio.sleep(0.02)
            sent += 1
        writer.write(body[sent:])

    token = house.root / "token"
    token.write_text(house.backend.token())
    async with house.daemon(token_file=token), App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        house.finish("j", {"images": [{"url": source.respond("/slow.png", drip)}]})
        assert await app.event("job", jobId="j") == {"jobId": "j", "state": "fetching"}
        progress = await app.event("download")
        began, told = asyncio.get_running_loop().time(), 0
        while told < 3:
            told += 1
            received = (await app.event("download"))["receivedBytes"]
            assert received > progress["receivedBytes"]
        took = asyncio.get_running_loop().time() - began
        assert told <= took / 0.25 + 1
        dripping.set()
        assert await app.event("job", jobId="j") == {"jobId": "j", "state": "done"}
        assert await app.event("gallery") == {"id": "j_0"}
        assert 0 < progress.pop("receivedBytes") < len(body)
        assert progress == {"jobId": "j", "index": 0, "totalBytes": len(body)}
        lost = await house.order(
            {"capability": "audio_generation", "prompt": "[fail: Out of tune.]"}
        )
        failed = {"jobId": lost, "state": "failed", "error": "Out of tune."}
        assert await app.event("job", jobId=lost) == failed
        notice = await app.event("notification")
        assert notice == {
            "jobId": lost,
            "title": notice["title"],
            "body": "Out of tune.",
            "shown": False,
        }
        token.write_text("")
        assert await app.event("auth", owner=None) == {"owner": None}
        assert await app.event("feed", state="signed_out") == {
            "state": "signed_out",
            "reason": "nobody is signed in",
        }


async def test_a_page_that_is_full_is_told_as_a_gap(house: House) -> None:
    for n in range(201):
        house.finish(f"j{n}", {"text": "hi"}, seconds_ago=300 - n)
    async with house.daemon(), App(house.state) as app:
        gap = await app.event("feed", state="gap")
        assert gap.keys() == {"state", "reason", "before"}
        status = await app.call("daemon.status")
        assert status["feed"]["gap"] == gap["before"]


@pytest.mark.parametrize("image", [False, True], ids=["stems", "images"])
async def test_a_retried_job_tells_only_of_what_is_new(
    house: House, source: Origin, image: bool
) -> None:
    first = png("a") if image else media.speech("a").data
    second = png("b") if image else media.speech("b").data
    kept = house.backend.storage.keep(first, "image/png" if image else "audio/wav")
    here = house.backend.site_url + house.backend.storage.link(kept)
    there = source.serve("/b", second)
    if image:
        output: dict[str, Any] = {"images": [{"url": here}, {"url": there}]}
    else:
        output = {"stems": {"vocals": {"url": here}, "drums": {"url": there}}}
    port = house.backend.site_url.rpartition(":")[2]
    house.environ["STELLA_ALLOW_PRIVATE_HOSTS"] = f"127.0.0.1:{port}"
    house.finish("j", output)
    async with house.daemon(), App(house.state) as app:
        await app.call("display.subscribe", consumer="app", after=0)
        one = await app.update()
        await app.ack(one)
        assert (await app.call("job.get", jobId="j"))["state"] == "failed"
        job = await app.call("job.retry", jobId="j")
        assert (job["state"], job["error"]) in (("pending", None), ("fetching", None))
        refused = await app.event("job", jobId="j", state="failed")
        assert refused == await app.event("job", jobId="j", state="failed")
    house.environ["STELLA_ALLOW_PRIVATE_HOSTS"] = "127.0.0.1"
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        end = await house.command(*MATERIALIZER, "retry", "j")
        assert (end.code, end.err) == (0, "")
        two = await app.update()
        assert (await app.call("job.get", jobId="j"))["state"] == "done"
        page = await app.call("gallery.list")
    assert (one["seq"], two["seq"], two["action"]) == (1, 2, "register")
    every = {item["path"] for item in page["items"]}
    assert len(every) == 2
    assert shown(two) == (every if image else every - shown(one))


async def test_signed_out_the_last_owner_s_things_stay_and_another_owner_sees_none(
    house: House,
) -> None:
    token = house.root / "token"
    token.write_text(house.backend.token())
    async with house.daemon(token_file=token), App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        house.finish_picture("mine")
        house.finish("torn", {"images": [{"url": "http://10.0.0.1/x.png"}]})
        await app.update()
        await app.event("job", jobId="torn", state="failed")
        token.write_text("")
        await app.event("feed", state="signed_out")
        assert (await app.call("gallery.list"))["total"] == 1
        assert (await app.call("job.get", jobId="mine"))["state"] == "done"
        listed = (await app.call("job.list"))["jobs"]
        assert {job["jobId"] for job in listed} == {"mine", "torn"}
        await app.call("display.subscribe", consumer="app", after=0)
        await app.ack(await app.update())
        for method, job_id in (
            ("job.materialize", "mine"),
            ("job.materialize", "new"),
            ("job.retry", "torn"),
        ):
            assert await refusal(app, method, jobId=job_id) == NOT_SIGNED_IN
        status = await app.call("daemon.status")
        assert (status["owner"], status["gallery"]["items"]) == (None, 1)

        token.write_text(house.backend.token("another"))
        await app.event("auth", owner=house.backend.owner("another"))
        assert (await app.call("gallery.list"))["total"] == 0
        assert (await app.call("job.list"))["jobs"] == []
        for method in ("job.get", "job.retry"):
            assert await refusal(app, method, jobId="mine") == NOT_FOUND
        async with App(house.state) as display:
            await display.call("display.subscribe", consumer="app", after=0)
            token.write_text(house.backend.token())
            await app.event("auth", owner=house.backend.owner())
            # What comes first is what came after the one that was acknowledged.
            house.finish_picture("more")
            assert await actions(display, 1) == {"more": "open"}


async def test_from_the_start_a_daemon_shows_only_what_is_of_who_is_signed_in(
    house: House,
) -> None:
    async with house.daemon(), App(house.state) as app:
        house.finish_picture("mine")
        await app.event("job", jobId="mine", state="done")
    token = house.root / "token"
    token.write_text(house.backend.token("another"))
    async with (
        house.daemon(token_file=token),
        Client(house.state) as client,
        App(house.state) as app,
    ):
        page = await client.call("gallery.list", timeout=SOON)
        assert page["total"] == 0
        place = {"consumer": "app", "after": 0}
        await client.call("display.subscribe", place, timeout=SOON)
        await app.feed("live")
        await client.call("daemon.status", timeout=SOON)
        assert client._wire.unasked.empty()


async def test_a_job_that_waits_is_let_go_when_the_person_signs_out(
    house: House,
) -> None:
    token = house.root / "token"
    token.write_text(house.backend.token())
    async with (
        house.daemon(token_file=token),
        App(house.state) as app,
        asyncio.TaskGroup() as tasks,
    ):
        await app.feed("live")
        lamp = {"capability": "text_to_image", "prompt": "[slow:60] a lamp"}
        job_id = await house.order(lamp)
        async with App(house.state) as other:
            saving = tasks.create_task(refusal(other, "job.materialize", jobId=job_id))
            await asyncio.sleep(0)  # calls start in the order in which they are made
            assert (await other.call("job.get", jobId=job_id))["state"] == "pending"
            token.write_text("")
            async with asyncio.timeout(SOON):
                assert await saving == NOT_SIGNED_IN


async def test_a_daemon_that_has_only_just_started_can_be_asked_for_a_job(
    house: House,
) -> None:
    house.finish_picture("job", seconds_ago=3 * 86400)
    async with house.daemon(), App(house.state) as app:
        job = await app.call("job.materialize", jobId="job")
    assert (job["state"], len(job["files"])) == ("done", 1)
