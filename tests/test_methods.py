from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convex_side import jwt
from desk import ME, SOON, T0, YOU, Desk, ask, refusal, told
from materializer import __version__
from materializer.feed import FeedStatus
from materializer.gallery import ledger, outbox
from materializer.ipc.client import Client
from materializer.ipc.connection import MAX_LIVE_BYTES
from materializer.ipc.contract import PARAMS, TOPICS
from materializer.ipc.jsonlines import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    NOT_FOUND,
    NOT_SIGNED_IN,
)
from materializer.model import (
    Job,
    Placed,
    Query,
    Snapshot,
)
from materializer.plan import OVERLAP_MS


def test_there_is_a_method_for_every_name_of_the_contract(desk: Desk) -> None:
    assert desk.methods.table().keys() == PARAMS.keys()


async def test_hello_says_who_and_where_and_whose(desk: Desk, client: Client) -> None:
    hello = await ask(client, "hello", client="t", protocol=1)
    assert hello == {
        "server": "stella-materializer",
        "version": __version__,
        "protocol": 1,
        "pid": os.getpid(),
        "stateDir": str(desk.state),
        "owner": ME.owner,
    }
    desk.presence.account = None
    assert (await ask(client, "hello", client="t", protocol=1))["owner"] is None


@pytest.mark.parametrize(
    ("method", "params", "field"),
    [
        ("hello", {"client": "t", "protocol": 2}, "protocol"),
        ("display.subscribe", {"consumer": ""}, "consumer"),
        ("display.subscribe", {"consumer": "app", "after": -1}, "after"),
        ("display.ack", {"consumer": "app", "seq": "1"}, "seq"),
        ("events.subscribe", {"topics": ["job", "weather"]}, "topics.1"),
        ("gallery.list", {"limit": 501}, "limit"),
        ("gallery.list", {"kind": "smell"}, "kind"),
        ("gallery.list", {"cursor": "none of ours"}, "cursor"),
        ("gallery.list", {"cursor": f"{10**30}:j_0"}, "cursor"),
        ("display.suppress", {"suppressed": 1}, "suppressed"),
        ("job.get", {}, "jobId"),
        ("job.list", {"state": "lost"}, "state"),
        ("job.list", {"limit": 0}, "limit"),
        ("job.retry", {"jobId": ""}, "jobId"),
        ("job.claim", {}, "jobId"),
        ("job.materialize", {"jobId": 5}, "jobId"),
        ("auth.set", {}, "token"),
        ("auth.set", {"token": "a.b.c", "convexUrl": 5}, "convexUrl"),
    ],
)
async def test_wrong_params_are_refused_by_name(
    client: Client, method: str, params: dict[str, object], field: str
) -> None:
    code, say = await refusal(client, method, **params)
    assert code == INVALID_PARAMS
    assert say.startswith(f"{field}: ")


async def test_an_item_has_every_field_of_the_contract(
    desk: Desk, client: Client
) -> None:
    image = desk.image("j")
    await desk.save("j", image)
    item = {
        "id": "j_0",
        "jobId": "j",
        "index": 0,
        "kind": "image",
        "path": image.path,
        "fileName": "j_0.png",
        "bytes": 3,
        "sha256": "abc",
        "mimeType": "image/png",
        "width": 20,
        "height": 10,
        "prompt": "a picture of j",
        "capability": "text_to_image",
        "profile": "best",
        "aspectRatio": "16:9",
        "createdAt": T0,
        "savedAt": T0 + 5,
        "missing": False,
    }
    page = await ask(client, "gallery.list")
    assert page == {"items": [item], "nextCursor": None, "total": 1}
    Path(image.path).unlink()
    page = await ask(client, "gallery.list")
    assert page["items"] == [item | {"missing": True}]


async def test_the_gallery_is_paged_newest_first_and_nothing_comes_twice(
    desk: Desk, client: Client
) -> None:
    for n in range(3):
        await desk.save(f"j{n}", desk.image(f"j{n}", 0), desk.image(f"j{n}", 1), at=n)
    seen: list[str] = []
    cursor, totals = None, []
    while True:
        page = await ask(client, "gallery.list", limit=4, cursor=cursor)
        seen += [item["id"] for item in page["items"]]
        totals.append(page["total"])
        if (cursor := page["nextCursor"]) is None:
            break
    assert seen == ["j2_0", "j2_1", "j1_0", "j1_1", "j0_0", "j0_1"]
    assert totals == [6, 6]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"kind": "video"}, ["film_0"]),
        ({"jobId": "j"}, ["j_0"]),
        ({"search": "OF FILM"}, ["film_0"]),
        ({"capability": "text_to_image"}, ["film_0", "j_0"]),
        ({"capability": "text_to_3d"}, []),
    ],
)
async def test_the_gallery_is_narrowed_by_what_is_asked(
    desk: Desk, client: Client, wanted: dict[str, object], found: list[str]
) -> None:
    path = str(desk.outputs / "film_0.mp4")
    await desk.save("j", desk.image("j"), at=1)
    await desk.save("film", Placed(0, "video", path, 3, "abc", "video/mp4"), at=2)
    page = await ask(client, "gallery.list", **wanted)
    assert [item["id"] for item in page["items"]] == found
    assert page["total"] == len(found)


async def test_signed_out_what_is_here_stays_readable_and_the_feed_is_not(
    desk: Desk, client: Client
) -> None:
    await desk.save("j", desk.image("j"))
    desk.sign_out()
    assert (await ask(client, "gallery.list"))["total"] == 1
    assert (await ask(client, "job.get", jobId="j"))["state"] == "done"
    assert await ask(client, "display.subscribe", consumer="app", after=0)
    assert (await told(client, "display.update"))["seq"] == 1
    assert await ask(client, "display.ack", consumer="app", seq=1) == {"cursor": 1}
    code, _ = await refusal(client, "job.materialize", jobId="j")
    assert (code, desk.asked) == (NOT_SIGNED_IN, [])


async def test_whoever_is_signed_in_sees_nothing_of_anybody_else(
    desk: Desk, client: Client
) -> None:
    await desk.save("mine", desk.image("mine"))
    both = desk.image("yours", 0), desk.image("yours", 1)
    await desk.save("yours", *both, account=YOU)
    desk.presence.account = YOU
    page = await ask(client, "gallery.list")
    assert [item["id"] for item in page["items"]] == ["yours_0", "yours_1"]
    assert page["total"] == 2
    assert (await refusal(client, "job.get", jobId="mine"))[0] == NOT_FOUND
    await ask(client, "display.subscribe", consumer="app", after=0)
    update = await told(client, "display.update")
    assert update["payload"]["jobId"] == "yours"
    status = await ask(client, "daemon.status")
    assert status["gallery"] == {"items": 2, "bytes": 6}
    assert client._wire.unasked.empty()


async def test_updates_are_replayed_until_they_are_acknowledged_with_the_same_seq(
    desk: Desk, client: Client
) -> None:
    await desk.save("a", desk.image("a"))
    assert await ask(client, "display.subscribe", consumer="app", after=0) == {
        "cursor": 0
    }
    first = await told(client, "display.update")
    await desk.save("b", desk.image("b"))
    second = await told(client, "display.update")
    path = str(desk.outputs / "a_0.png")
    assert first == {
        "seq": 1,
        "action": "register",
        "replay": True,
        "payload": {
            "kind": "media",
            "asset": {"kind": "image", "filePaths": [path]},
            "jobId": "a",
            "capability": "text_to_image",
            "prompt": "a picture of a",
            "aspectRatio": "16:9",
            "createdAt": T0,
        },
    }
    assert (second["seq"], second["replay"]) == (2, False)
    assert await ask(client, "display.ack", consumer="app", seq=1) == {"cursor": 1}
    assert await ask(client, "display.ack", consumer="app", seq=0) == {"cursor": 1}
    async with Client(desk.state) as again:
        assert await ask(again, "display.subscribe", consumer="app") == {"cursor": 1}
        assert await told(again, "display.update") == second | {"replay": True}


async def test_a_new_consumer_starts_at_the_newest_update(
    desk: Desk, client: Client
) -> None:
    await desk.save("a", desk.image("a"))
    assert await ask(client, "display.subscribe", consumer="new") == {"cursor": 1}
    await desk.save("b", desk.image("b"))
    assert (await told(client, "display.update"))["seq"] == 2


async def test_a_long_replay_waits_for_the_reader_instead_of_dropping_it(
    desk: Desk, client: Client
) -> None:
    long = {"text": "x" * (MAX_LIVE_BYTES // 8)}
    for _ in range(10):
        await desk.gallery.write(outbox.append, ME.owner, "register", long)
    await ask(client, "display.subscribe", consumer="app", after=0)
    seqs = [(await told(client, "display.update"))["seq"] for _ in range(10)]
    assert seqs == list(range(1, 11))


@pytest.mark.parametrize("consumer", ["app", "another"])
async def test_a_second_subscription_takes_the_place_of_the_first(
    desk: Desk, client: Client, consumer: str
) -> None:
    await ask(client, "display.subscribe", consumer="app", after=0)
    await desk.save("a", desk.image("a"))
    assert (await told(client, "display.update"))["seq"] == 1
    await ask(client, "display.subscribe", consumer=consumer, after=0)
    await desk.save("b", desk.image("b"))
    seqs = [(await told(client, "display.update"))["seq"] for _ in range(2)]
    assert seqs == [1, 2]
    async with Client(desk.state) as other:
        await ask(other, "display.subscribe", consumer="app", after=1)
        assert (await told(other, "display.update"))["seq"] == 2
    await ask(client, "daemon.status")
    assert client._wire.unasked.empty()


async def test_a_place_that_was_never_reached_is_the_newest(
    desk: Desk, client: Client
) -> None:
    await desk.save("a", desk.image("a"))
    subscribed = await ask(client, "display.subscribe", consumer="app", after=99)
    assert subscribed == {"cursor": 1}
    assert await ask(client, "display.ack", consumer="app", seq=99) == {"cursor": 1}
    await desk.save("b", desk.image("b"))
    assert (await told(client, "display.update"))["seq"] == 2


async def test_while_a_client_suppresses_it_nothing_opens_for_anybody(
    desk: Desk, client: Client
) -> None:
    await desk.save("before", desk.image("before"), action="open")
    async with Client(desk.state) as one, Client(desk.state) as other:
        for quiet in (one, other, one):
            asked = await ask(quiet, "display.suppress", suppressed=True)
            assert asked == {"suppressed": True}
        await ask(client, "display.subscribe", consumer="app", after=0)
        first = await told(client, "display.update")
        assert (first["seq"], first["action"]) == (1, "register")
        asked = await ask(one, "display.suppress", suppressed=False)
        assert asked == {"suppressed": False}
        assert desk.announcer.is_quiet()
    async with asyncio.timeout(SOON):
        while desk.announcer.is_quiet():
            await ask(client, "daemon.status")
    await ask(client, "display.subscribe", consumer="app", after=0)
    again = await told(client, "display.update")
    assert (again["seq"], again["action"]) == (1, "open")
    assert len(desk.methods._begun) == 1


async def test_what_was_recorded_while_it_was_suppressed_never_opens(
    desk: Desk, client: Client
) -> None:
    await ask(client, "display.subscribe", consumer="app", after=0)
    job = Job("j", "succeeded", "speech_to_text", output={"text": "hi"})
    job = replace(job, completed_at=time.time_ns() // 1_000_000)
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(desk.pipeline.run())
        await ask(client, "display.suppress", suppressed=True)
        desk.pipeline.offer(ME, Snapshot(ME.owner, (job,), ()))
        assert (await told(client, "display.update"))["action"] == "register"
        await ask(client, "display.suppress", suppressed=False)
        desk.pipeline.offer(ME, Snapshot(ME.owner, (job, replace(job, job_id="k")), ()))
        assert (await told(client, "display.update"))["action"] == "open"
        working.cancel()
    await ask(client, "display.subscribe", consumer="app", after=0)
    actions = [(await told(client, "display.update"))["action"] for _ in range(2)]
    assert actions == ["register", "open"]


async def test_asking_for_events_again_replaces_the_topics(
    desk: Desk, client: Client
) -> None:
    for topics in (["job"], ["feed"], ["feed"]):
        await ask(client, "events.subscribe", topics=topics)
    desk.events.emit("job", "done", {})
    desk.events.emit("feed", "live", {})
    assert (await told(client, "event"))["topic"] == "feed"
    await ask(client, "daemon.status")
    assert client._wire.unasked.empty()
    assert len(desk.methods._begun) == 1


@pytest.mark.parametrize(
    ("topics", "heard"),
    [(None, sorted(TOPICS)), (["job", "feed"], ["feed", "job"]), ([], [])],
)
async def test_events_of_the_wanted_topics_are_told(
    desk: Desk, client: Client, topics: list[str] | None, heard: list[str]
) -> None:
    params = {} if topics is None else {"topics": topics}
    assert await ask(client, "events.subscribe", **params) == {}
    for topic in sorted(TOPICS):
        desk.events.emit(topic, "happened", {"n": 1})
    events = [await told(client, "event") for _ in heard]
    assert [event["topic"] for event in events] == heard
    assert all(event.keys() == {"topic", "type", "at", "data"} for event in events)
    await ask(client, "daemon.status")
    assert client._wire.unasked.empty()


async def test_the_status_has_every_field_of_the_contract(
    desk: Desk, client: Client
) -> None:
    desk.presence.feed = FeedStatus("backoff", "https://a.test", None, 3, "no line")
    desk.presence.notifications = "shown through plyer"
    await desk.gallery.write(ledger.cursors, ME, first=7)
    await desk.save("done", desk.image("done"))
    await desk.save("odd", state="unrecognised")
    await desk.save("waits", state="pending", at=T0 + 10)
    await desk.save("runs", state="pending", at=T0 + 10)
    lost = Job("lost", "failed", completed_at=T0)
    await desk.gallery.write(ledger.fail, ME, [(lost, True)])
    reached: dict[Query, int] = {"succeeded": T0, "failed": T0}
    await desk.gallery.write(ledger.advance, ME, T0, reached)
    desk.presence.gap = 9
    desk.pipeline.fetching |= {(ME.owner, "runs"), (YOU.owner, "other")}
    status = await ask(client, "daemon.status")
    assert 0 <= status.pop("uptimeMs") < 60_000
    assert status["disk"].pop("freeBytes") > 0
    assert status == {
        "version": __version__,
        "pid": os.getpid(),
        "stateDir": str(desk.state),
        "owner": ME.owner,
        "feed": {
            "state": "backoff",
            "url": "https://a.test",
            "connectedAt": None,
            "reconnects": 3,
            "lastError": "no line",
            "gap": 9,
        },
        "jobs": {"pending": 1, "fetching": 1, "done": 1, "failed": 2},
        "gallery": {"items": 1, "bytes": 3},
        "disk": {"paused": False},
        "since": T0 - OVERLAP_MS,
        "notifications": "shown through plyer",
        "snoozedUntil": None,
        "openPolicy": "open",
    }


async def test_signed_out_the_status_has_no_owner_and_no_cursor(
    desk: Desk, client: Client
) -> None:
    desk.presence.account = None
    status = await ask(client, "daemon.status")
    assert (status["owner"], status["since"]) == (None, None)


async def test_a_disk_that_is_full_is_a_state_with_words(
    desk: Desk, client: Client
) -> None:
    desk.pipeline.disk_trouble = "the disk is full"
    disk = (await ask(client, "daemon.status"))["disk"]
    assert disk.pop("freeBytes") > 0
    assert disk == {"paused": True, "error": "the disk is full"}


async def test_a_disk_that_is_gone_is_a_state_with_words(
    desk: Desk, client: Client
) -> None:
    (desk.outputs / ".partial").rmdir()
    desk.outputs.rmdir()
    disk = (await ask(client, "daemon.status"))["disk"]
    assert (disk["freeBytes"], disk["paused"]) == (None, True)
    assert "outputs directory" in disk["error"]


async def test_a_shutdown_is_answered_and_then_asked_for(
    desk: Desk, client: Client
) -> None:
    assert await ask(client, "daemon.shutdown") == {}
    assert desk.stop.is_set()


async def test_a_token_that_is_set_wins_until_it_is_cleared(
    desk: Desk, client: Client
) -> None:
    changes = desk.credentials.changes()
    result = await ask(client, "auth.set", token=jwt("you"), convexUrl="https://b.test")
    assert result == {"owner": YOU.owner}
    async with asyncio.timeout(SOON):
        await anext(changes)
    now = await desk.credentials.current()
    assert (now and now.owner) == YOU.owner
    assert desk.credentials.grant.convex_url == "https://b.test"
    assert await ask(client, "auth.clear") == {}
    now = await desk.credentials.current()
    assert (now and now.owner) == ME.owner


async def test_a_bad_token_is_refused_without_being_shown(
    desk: Desk, client: Client
) -> None:
    code, say = await refusal(client, "auth.set", token="not-a-jwt-but-secret")
    assert code == INVALID_PARAMS
    assert "JWT" in say
    assert "secret" not in say
    now = await desk.credentials.current()
    assert (now and now.owner) == ME.owner


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "ftp://a.test",
        "https://",
        "https://happy.convex.site",
    ],
)
async def test_a_deployment_that_cannot_be_is_refused_and_changes_nothing(
    desk: Desk, client: Client, url: str
) -> None:
    code, say = await refusal(client, "auth.set", token=jwt("you"), convexUrl=url)
    assert code == INVALID_PARAMS
    assert "URL" in say
    now = await desk.credentials.current()
    assert (now and now.owner) == ME.owner


async def test_the_pipeline_s_announcements_reach_a_subscriber(
    desk: Desk, client: Client
) -> None:
    await ask(client, "display.subscribe", consumer="app", after=0)
    job = Job("j", "succeeded", "speech_to_text", output={"text": "hi"}, completed_at=5)
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(desk.pipeline.run())
        desk.pipeline.offer(ME, Snapshot(ME.owner, (job,), ()))
        update = await told(client, "display.update")
        working.cancel()
    assert update["payload"]["asset"] == {"kind": "text", "text": "hi"}
    job_now = await ask(client, "job.get", jobId="j")
    assert [Path(file).name for file in job_now["files"]] == ["j_0.txt", "j_1.json"]
    assert [item["id"] for item in job_now["outputs"]] == ["j_0"]


async def test_the_page_of_the_client_that_came_last_is_the_one_to_open(
    desk: Desk, client: Client
) -> None:
    one, two = "http://127.0.0.1:1/", "http://127.0.0.1:2/"
    async with Client(desk.state) as other:
        await ask(client, "display.subscribe", consumer="a", page=one)
        await ask(other, "display.subscribe", consumer="b", page=two)
        assert desk.pages.newest == two
        await ask(other, "display.subscribe", consumer="b")
        # A page that was taken back is gone a turn of the loop later.
        await asyncio.sleep(0)
        assert desk.pages.newest == one


async def test_trouble_with_the_disk_is_the_answer_and_one_line_in_the_log(
    desk: Desk,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "the gallery cannot be used: disk I/O error")

    monkeypatch.setattr(outbox, "acknowledge", fail)
    code, say = await refusal(client, "display.ack", consumer="app", seq=1)
    assert (code, say) == (
        INTERNAL_ERROR,
        "the gallery cannot be used: disk I/O error",
    )
    [record] = caplog.records
    assert record.getMessage() == f"display.ack: {say}"
    assert record.exc_info is None


async def test_a_status_waits_for_one_turn_of_the_gallery_only(
    desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.presence.account = ME
    reads = []
    read = desk.gallery.read

    async def counted(do: Callable[..., Any], *args: object) -> Any:
        reads.append(do)
        return await read(do, *args)

    monkeypatch.setattr(desk.gallery, "read", counted)
    status = await ask(client, "daemon.status")

    assert status["jobs"]["done"] == 0
    assert len(reads) == 1
