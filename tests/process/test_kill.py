"""Killed without warning between any two steps: a restart completes every job."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from materializer.ipc.address import Address
from origin import Origin
from process.house import App, Held, House, png, posix, until


@contextmanager
def nobody_can_commit(house: House) -> Iterator[None]:
    """Hold the right to write to the gallery, as a slow disk would a commit."""
    db = sqlite3.connect(house.state / "media/gallery.db", isolation_level=None)
    try:
        db.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        db.close()


async def nothing_but(app: App, house: House, job_id: str) -> None:
    """Let a job finish, and see that its update is the next one."""
    house.finish_picture(job_id)
    update = await app.update()
    assert update["payload"]["jobId"] == job_id
    await app.ack(update)


async def test_a_kill_during_a_download_costs_nothing(
    house: House, source: Origin
) -> None:
    pictures = [png(name) for name in "abc"]
    held = Held(source, "/b.png", pictures[1])
    urls = [
        source.serve("/a.png", pictures[0]),
        held.url,
        source.serve("/c.png", pictures[2]),
    ]
    async with house.daemon() as daemon, App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        house.finish("job", {"images": [{"url": url} for url in urls]})
        await held.halfway()
        await until(
            lambda: house.files() == [".partial/job_1.part", "job_0.png", "job_2.png"]
        )
        await daemon.killed()
    placed = (house.outputs / "job_0.png").stat()
    held.let_go()
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        update = await app.update()
        assert (update["seq"], update["payload"]["jobId"]) == (1, "job")
        await app.ack(update)
        names = ["job_0.png", "job_1.png", "job_2.png"]
        assert house.files() == names
        assert [(house.outputs / name).read_bytes() for name in names] == pictures
        listed = await app.call("gallery.list", jobId="job")
        assert [item["fileName"] for item in listed["items"]] == names
        await nothing_but(app, house, "next")
    # What was in its place already was adopted, not fetched again.
    assert (house.outputs / "job_0.png").stat().st_ino == placed.st_ino


async def test_a_kill_between_the_rename_and_the_row_costs_nothing(
    house: House, source: Origin
) -> None:
    held = Held(source, "/a.png", png("a"))
    async with house.daemon() as daemon, App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        house.finish("job", {"images": [{"url": held.url}]})
        await held.halfway()
        with nobody_can_commit(house):
            held.let_go()
            await until(lambda: house.files() == ["job_0.png"])
            await daemon.killed()
    placed = (house.outputs / "job_0.png").stat()
    async with house.daemon(), App(house.state) as app:
        assert (await app.call("display.subscribe", consumer="app"))["cursor"] == 0
        update = await app.update()
        assert (update["seq"], update["payload"]["jobId"]) == (1, "job")
        await app.ack(update)
        assert house.files() == ["job_0.png"]
        assert (house.outputs / "job_0.png").read_bytes() == png("a")
        assert (house.outputs / "job_0.png").stat().st_ino == placed.st_ino
        assert (await app.call("gallery.list"))["total"] == 1
        await nothing_but(app, house, "next")


async def test_a_kill_around_the_acknowledgement_neither_loses_nor_repeats(
    house: House,
) -> None:
    async with house.daemon() as daemon, App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        house.finish_picture("job")
        told = await app.update()
        await daemon.killed()
    async with house.daemon() as daemon, App(house.state) as app:
        await app.subscribe()
        again = await app.update()
        assert again == told | {"replay": True}
        await app.ack(again)
        await daemon.killed()
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        await nothing_but(app, house, "next")
    assert house.files() == ["job_0.png", "next_0.png"]


@posix
async def test_what_a_killed_daemon_leaves_behind_does_not_hinder_the_next(
    house: House,
) -> None:
    async with house.daemon() as daemon:
        await daemon.killed()
    left = {path.name for path in (house.state / "materializer").iterdir()}
    assert {"daemon.lock", "endpoint.json"} <= left
    assert Path(Address.usual(house.state).path).is_socket()
    async with house.daemon() as daemon, App(house.state) as app:
        hello = await app.call("hello", client="test", protocol=1)
        assert hello["pid"] == daemon.pid


async def test_a_kill_amid_a_large_body_fetches_only_the_rest(
    house: House, source: Origin
) -> None:
    body = os.urandom(2**20) * 200
    half = len(body) // 2
    url = source.ranged("/film", body, 'ETag: "one"')
    part = house.outputs / ".partial" / "film_0.part"
    async with house.daemon("--max-bandwidth", "100MiB") as daemon:
        house.finish("film", {"video": {"url": url}}, capability="text_to_video")
        await until(lambda: part.exists() and part.stat().st_size > half)
        await daemon.killed()
    kept = part.stat().st_size
    assert half < kept < len(body)
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        update = await app.update()
        assert update["payload"]["jobId"] == "film"
    first, second = source.requests
    assert "range:" not in first.lower()
    assert f"range: bytes={kept}-\r\n" in second.lower()
    assert 'if-range: "one"' in second.lower()
    assert house.files() == ["film_0.mp4"]
    placed = (house.outputs / "film_0.mp4").read_bytes()
    assert hashlib.sha256(placed).digest() == hashlib.sha256(body).digest()
