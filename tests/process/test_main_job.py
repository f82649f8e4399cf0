"""The whole way of the data: from the feed to the disk, the gallery and a consumer."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from materializer.devserver import media
from materializer.devserver.app import Backend
from origin import Origin
from process.house import App, Held, House, png, until

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4"
    "2mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
# What is ordered; the extension and media type of each file; the kind of its asset.
CAPABILITIES: tuple[tuple[dict[str, Any], list[tuple[str, str]], str], ...] = (
    (
        {
            "capability": "text_to_image",
            "prompt": "a blue lamp",
            "aspectRatio": "1:1",
            "input": {"num_images": 4, "image_size": {"width": 64, "height": 32}},
        },
        [("png", "image/png")] * 4,
        "image",
    ),
    (
        {
            "capability": "text_to_image",
            "profile": "fast",
            "prompt": "a red fox",
            "input": {"output_format": "jpeg"},
        },
        [("jpg", "image/jpeg")],
        "image",
    ),
    (
        {"capability": "image_to_video", "prompt": "push in", "source": PIXEL},
        [("mp4", "video/mp4")],
        "video",
    ),
    (
        {"capability": "text_to_dialogue", "prompt": "Welcome to Stella."},
        [("wav", "audio/wav")],
        "audio",
    ),
    (
        {"capability": "speech_to_text", "source": "data:audio/wav;base64,UklGRg=="},
        [("txt", "text/plain")],
        "text",
    ),
    (
        {"capability": "text_to_music", "prompt": "warm keys"},
        [("mp3", "audio/mpeg")],
        "audio",
    ),
    (
        {"capability": "text_to_3d", "prompt": "a pebble"},
        [("glb", "model/gltf-binary")],
        "model3d",
    ),
)


async def test_every_capability_ends_on_disk_in_the_gallery_and_with_a_consumer(
    house: House,
) -> None:
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        jobs = {await house.order(request): request for request, _, _ in CAPABILITIES}
        updates = [await app.update() for _ in CAPABILITIES]
        assert [update["seq"] for update in updates] == list(range(1, 8))
        by_job = {update["payload"]["jobId"]: update for update in updates}
        assert by_job.keys() == jobs.keys()
        for job_id, (request, files, kind) in zip(jobs, CAPABILITIES, strict=True):
            page = await app.call("gallery.list", jobId=job_id)
            assert page["total"] == len(files)
            check_items(house, job_id, request, page["items"], files)
            paths = [item["path"] for item in page["items"]]
            assert {item["kind"] for item in page["items"]} == {kind}
            check_update(house, job_id, request, by_job[job_id], kind, paths)
            record = await app.call("job.get", jobId=job_id)
            assert (record["state"], record["error"]) == ("done", None)
            assert record["outputs"] == page["items"]
        transcript = next(
            job for job in by_job if by_job[job]["payload"]["asset"]["kind"] == "text"
        )
        whole = json.loads((house.outputs / f"{transcript}_1.json").read_text())
        assert whole == media.transcript("The embedded backend heard this.")
        everything = await app.call("gallery.list")
    # Four and five pictures and sounds, and the transcript's companion.
    assert everything["total"] == 10
    assert len(house.files()) == 11
    if os.name == "posix":
        modes = {path.stat().st_mode & 0o777 for path in house.outputs.glob("*_*")}
        assert modes == {0o600}


def check_items(
    house: House,
    job_id: str,
    request: dict[str, Any],
    items: list[dict[str, Any]],
    files: list[tuple[str, str]],
) -> None:
    row = house.backend.deployment.row(job_id, house.backend.owner())
    assert row is not None
    for index, (item, (extension, mime_type)) in enumerate(
        zip(items, files, strict=True)
    ):
        path = house.outputs / f"{job_id}_{index}.{extension}"
        content = path.read_bytes()
        expected = {
            "id": f"{job_id}_{index}",
            "jobId": job_id,
            "index": index,
            "path": str(path),
            "fileName": path.name,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "mimeType": mime_type,
            "capability": request["capability"],
            "profile": row.profile,
            "createdAt": row.completed_at,
            "missing": False,
        }
        assert {key: item[key] for key in expected} == expected
        assert item["savedAt"] >= item["createdAt"]
        assert item.get("prompt") == request.get("prompt")


def check_update(
    house: House,
    job_id: str,
    request: dict[str, Any],
    update: dict[str, Any],
    kind: str,
    paths: list[str],
) -> None:
    row = house.backend.deployment.row(job_id, house.backend.owner())
    assert row is not None
    asset: dict[str, Any] = {"kind": kind}
    if kind == "image":
        asset["filePaths"] = paths
    elif kind == "text":
        asset["text"] = Path(paths[0]).read_text()
    else:
        asset["filePath"] = paths[0]
    if kind == "model3d":
        asset["label"] = "Download 3D model"
    payload = {
        "kind": "media",
        "asset": asset,
        "jobId": job_id,
        "capability": request["capability"],
        "createdAt": row.completed_at,
    }
    payload |= {
        key: request[key] for key in ("prompt", "aspectRatio") if key in request
    }
    if size := request.get("input", {}).get("image_size"):
        payload["requestedSize"] = size
    assert (update["action"], update["replay"]) == ("open", False)
    assert update["payload"] == payload


async def test_a_failure_is_told_once_with_the_truth_about_its_notification(
    house: House,
) -> None:
    async with house.daemon(), App(house.state) as app:
        await app.feed("live")
        first = await house.order(
            {"capability": "text_to_3d", "prompt": "[fail:quota No more today.]"}
        )
        told = await app.event("notification")
        assert told == {
            "jobId": first,
            "title": "3D model generation failed",
            "body": "No more today.",
            "shown": False,  # there is no desktop here
        }
        record = await app.call("job.get", jobId=first)
        assert (record["state"], record["status"]) == ("failed", "failed")
        assert record["error"] == "No more today."
        assert "not shown" in (await app.call("daemon.status"))["notifications"]
    async with house.daemon(), App(house.state) as app:
        await app.feed("live")
        second = await house.order(
            {"capability": "text_to_3d", "prompt": "[fail: Two]"}
        )
        assert (await app.event("notification"))["jobId"] == second
    lines = [line for line in house.log().splitlines() if "generation failed" in line]
    assert [first in line for line in lines] == [True, False]
    assert all("not shown" in line for line in lines)


async def test_a_token_that_appears_signs_in_without_a_restart(house: House) -> None:
    house.finish_picture("waiting")
    token_file = house.root / "later" / "token.json"
    async with house.daemon(token_file=token_file), App(house.state) as app:
        await app.subscribe()
        await app.feed("signed_out")
        assert (await app.call("hello", client="test", protocol=1))["owner"] is None
        token_file.parent.mkdir()
        token_file.write_bytes(house.backend.token_file.read_bytes())
        assert (await app.event("auth"))["owner"] == house.backend.owner()
        await app.feed("live")
        assert (await app.update())["payload"]["jobId"] == "waiting"
        token_file.write_text("")
        await app.event("feed", state="signed_out")
        listed = await app.call("gallery.list")
        assert [item["jobId"] for item in listed["items"]] == ["waiting"]


async def test_the_feed_recovers_when_the_backend_comes_back(house: House) -> None:
    state = house.root / "mortal"
    async with AsyncExitStack() as life:
        house.backend = await life.enter_async_context(Backend(state))
        port = int(house.backend.convex_url.rpartition(":")[2])
        async with house.daemon(), App(house.state) as app:
            await app.subscribe()
            await app.feed("live")
            await life.aclose()
            await app.event("feed", state="backoff")
            async with Backend(state, port, speed=20) as house.backend:
                await app.event("feed", state="live")
                house.finish_picture("after")
                assert (await app.update())["payload"]["jobId"] == "after"
                feed = (await app.call("daemon.status"))["feed"]
                assert feed["reconnects"] >= 1


async def test_of_what_finished_meanwhile_only_the_newest_is_opened(
    house: House,
) -> None:
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
    for job_id, age in (("oldest", 60), ("newest", 20), ("middle", 40)):
        house.finish_picture(job_id, seconds_ago=age)
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        updates = [await app.update() for _ in range(3)]
    assert {update["payload"]["jobId"]: update["action"] for update in updates} == {
        "oldest": "register",
        "middle": "register",
        "newest": "open",
    }


async def test_updates_keep_the_order_of_completion(
    house: House, source: Origin
) -> None:
    held = Held(source, "/older.png", png("older"))
    house.finish("older", {"images": [{"url": held.url}]}, seconds_ago=20)
    house.finish_picture("newer", seconds_ago=10)
    async with house.daemon(), App(house.state) as app:
        await app.call("display.subscribe", consumer="app", after=0)
        await held.halfway()
        await until(lambda: "newer_0.png" in house.files())
        held.let_go()
        updates = [await app.update() for _ in range(2)]
    assert [update["payload"]["jobId"] for update in updates] == ["older", "newer"]


async def test_what_finished_too_long_ago_is_registered_even_if_it_is_the_newest(
    house: House,
) -> None:
    house.finish_picture("old", seconds_ago=5)
    async with house.daemon("--fresh-window", "2s"), App(house.state) as app:
        await app.call("display.subscribe", consumer="app", after=0)
        assert (await app.update())["action"] == "register"
        house.finish_picture("new")
        assert (await app.update())["action"] == "open"


async def test_what_was_not_acknowledged_comes_again_with_the_same_number(
    house: House,
) -> None:
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        before = []
        for job_id in ("a", "b", "c"):
            house.finish_picture(job_id)
            before.append(await app.update())
        await app.ack(before[0])
    async with house.daemon(), App(house.state) as app:
        assert (await app.call("display.subscribe", consumer="app"))["cursor"] == 1
        again = [await app.update() for _ in range(2)]
        assert again == [update | {"replay": True} for update in before[1:]]
        house.finish_picture("d")
        after = await app.update()
        assert (after["seq"], after["payload"]["jobId"]) == (4, "d")
