from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from materializer import config, outputs
from materializer.fetch import Fetcher, Guard, Rules
from materializer.gallery import Gallery, items, ledger, outbox
from materializer.model import Account, Job, JobError, JobRecord, Snapshot
from materializer.pipeline import Pipeline
from materializer.place import Places
from origin import Origin

ME = Account("https://happy.example", "iss|me")
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\2\0\0\0\3" + b"\0" * 20


class House:
    """A pipeline with a real gallery, disk and source, and nothing above it."""

    def __init__(self, state: Path, source: Origin, flags: dict[str, Any]) -> None:
        paths = config.Paths.of(state)
        paths.partial.mkdir(parents=True, exist_ok=True)
        settings = config.load(
            {"state_dir": str(state), "min_free_space": "0"} | flags, {}
        )
        guard = Guard([("127.0.0.1", source.port)])
        self.outputs = paths.outputs
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.announced = 0
        self.failed = 0
        self.gallery = Gallery.open(paths.gallery_db, paths.outputs)
        self.fetcher = Fetcher(guard, Rules(idle_timeout=5), user_agent="t")
        self.happened = asyncio.Event()
        self.pipeline = Pipeline(
            self.gallery,
            self.fetcher,
            Places(paths.outputs, paths.partial),
            settings,
            emit=self.emit,
            on_announced=self.count_announced,
            on_failed=self.count_failed,
        )

    def emit(self, owner: str, topic: str, type_: str, data: dict[str, Any]) -> None:
        assert owner == ME.owner
        self.events.append((topic, type_, data))
        self.happened.set()

    async def until(self, type_: str) -> None:
        async with asyncio.timeout(5):
            while not any(event[1] == type_ for event in self.events):
                self.happened.clear()
                await self.happened.wait()

    def count_announced(self) -> None:
        self.announced += 1

    def count_failed(self) -> None:
        self.failed += 1

    async def settle(self, *jobs: Job, failed: tuple[Job, ...] = ()) -> None:
        self.pipeline.offer(ME, Snapshot(ME.owner, jobs, failed))
        for job in (*jobs, *failed):
            await self.pipeline.settled(ME.owner, job.job_id)

    async def record(self, job_id: str = "j") -> JobRecord:
        found = await self.gallery.read(items.record, ME.owner, job_id)
        assert found is not None
        return found

    async def updates(self) -> list[tuple[str, Any]]:
        rows = await self.gallery.read(outbox.after, ME.owner, 0, 99)
        return [(row.action, row.payload["asset"]) for row in rows]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.outputs.iterdir() if path.is_file())


@asynccontextmanager
async def house(state: Path, source: Origin, **flags: Any) -> AsyncIterator[House]:
    built = House(state, source, flags)
    running = asyncio.Event()

    async def run() -> None:
        running.set()
        await built.pipeline.run()

    try:
        async with asyncio.TaskGroup() as group:
            worker = group.create_task(run())
            await running.wait()
            yield built
            worker.cancel()
    finally:
        await built.fetcher.close()
        await built.gallery.close()


def job(output: Any, name: str = "j", capability: str = "text_to_image") -> Job:
    now = time.time_ns() // 1_000_000
    return Job(name, "succeeded", capability, output=output, completed_at=now)


async def test_every_output_is_placed_entered_and_announced(
    source: Origin, tmp_path: Path
) -> None:
    urls = [{"url": source.serve(f"/{n}.gif", PNG + bytes([n]))} for n in range(3)]
    async with house(tmp_path, source) as home:
        await home.settle(job({"images": urls}))
        assert home.files() == ["j_0.png", "j_1.png", "j_2.png"]
        record = await home.record()
        assert (record.state, record.attempts) == ("done", 1)
        assert [(item.width, item.height) for item in record.items] == [(2, 3)] * 3
        paths = [str(home.outputs / f"j_{n}.png") for n in range(3)]
        assert await home.updates() == [("open", {"kind": "image", "filePaths": paths})]
        assert home.announced == 1
        assert ("job", "done", {"jobId": "j", "state": "done"}) in home.events
        assert list((home.outputs / ".partial").iterdir()) == []


async def test_what_a_crash_left_of_a_job_is_swept_when_it_settles(
    source: Origin, tmp_path: Path
) -> None:
    async with house(tmp_path, source) as home:
        left = home.outputs / ".partial" / "j_7.part"
        left.touch()
        await home.settle(job({"text": "x"}))
        assert not left.exists()


async def test_caught_up_means_with_the_newest_that_was_offered(
    source: Origin, tmp_path: Path
) -> None:
    async with house(tmp_path, source) as home:
        home.pipeline.offer(ME, Snapshot(ME.owner, (job({"text": "x"}),), ()))
        await home.pipeline.caught_up()
        assert (await home.record()).state == "done"


async def test_the_same_snapshot_again_is_no_work(
    source: Origin, tmp_path: Path
) -> None:
    wanted = job({"images": [{"url": source.serve("/a", PNG)}]})
    async with house(tmp_path, source) as home:
        await home.settle(wanted)
        other = job({"text": "later"}, "k")
        await home.settle(wanted, other)
        assert len(source.requests) == 1
        assert len(await home.updates()) == 2


async def test_a_transcript_is_text_file_json_file_and_one_item(
    source: Origin, tmp_path: Path
) -> None:
    async with house(tmp_path, source) as home:
        await home.settle(job({"text": "hello", "language": "en"}))
        assert home.files() == ["j_0.txt", "j_1.json"]
        assert (home.outputs / "j_0.txt").read_text() == "hello"
        assert [item.kind for item in (await home.record()).items] == ["text"]
        assert await home.updates() == [("open", {"kind": "text", "text": "hello"})]


async def test_an_unrecognised_output_is_kept_and_reported(
    source: Origin, tmp_path: Path
) -> None:
    async with house(tmp_path, source) as home:
        await home.settle(job({"seed": 7}))
        assert home.files() == ["j_0.json"]
        record = await home.record()
        assert (record.state, record.told) == ("unrecognised", "due")
        assert record.items[0].label == "Unrecognised output"
        assert home.failed == 1


async def test_a_missing_output_is_tried_again_and_only_that_one(
    source: Origin, tmp_path: Path
) -> None:
    first = source.serve("/0", PNG)
    second = source.raw("/1", "503 Busy")
    async with house(tmp_path, source) as home:
        home.pipeline.offer(
            ME, Snapshot(ME.owner, (job({"images": [first, second]}),), ())
        )
        await home.until("pending")
        assert home.files() == ["j_0.png"]
        assert await home.updates() == []
        source.serve("/1", PNG + b"2")
        await asyncio.wait_for(home.pipeline.settled(ME.owner, "j"), 10)
        assert home.files() == ["j_0.png", "j_1.png"]
        asked = [head.split(" ")[1] for head in source.requests]
        assert asked == ["/0", "/1", "/1"] or asked == ["/1", "/0", "/1"]
        ((_, asset),) = await home.updates()
        assert len(asset["filePaths"]) == 2


async def test_a_refused_output_is_final_and_the_rest_is_shown(
    source: Origin, tmp_path: Path
) -> None:
    good = source.serve("/0", PNG)
    async with house(tmp_path, source) as home:
        await home.settle(job({"images": [good, "http://127.0.0.1:1/secret"]}))
        record = await home.record()
        assert (record.state, record.told, home.failed) == ("failed", "due", 1)
        assert "not on the public internet" in (record.error or "")
        assert "secret" not in (record.error or "")
        ((_, asset),) = await home.updates()
        assert asset["filePaths"] == [str(home.outputs / "j_0.png")]


async def test_a_web_page_is_never_taken_for_the_file(
    source: Origin, tmp_path: Path
) -> None:
    page = source.serve("/0", b"<!doctype html><title>Log in</title>")
    async with house(tmp_path, source) as home:
        home.pipeline.offer(ME, Snapshot(ME.owner, (job({"images": [page]}),), ()))
        await home.until("pending")
        assert home.files() == []
        assert "web page" in ((await home.record()).error or "")


async def test_failures_are_recorded_once_and_canceled_ones_quietly(
    source: Origin, tmp_path: Path
) -> None:
    words = JobError("boom at https://h.test/x?sig=canary", "E1")
    failed = Job("f", "failed", error=words, completed_at=5)
    canceled = Job("c", "canceled", completed_at=6)
    async with house(tmp_path, source) as home:
        await home.settle(failed=(failed, canceled))
        await home.settle(job({"text": "x"}), failed=(failed, canceled))
        due = await home.gallery.read(items.to_tell, ME.owner)
        assert home.failed == 1
        assert [record.job.job_id for record in due] == ["f"]
        assert due[0].job.error == JobError("boom at https://h.test", "E1")
        assert "canary" not in str(home.events)
        assert [event[2]["jobId"] for event in home.events if event[1] == "failed"] == [
            "f",
            "c",
        ]


async def test_a_file_placed_before_a_crash_is_adopted(
    source: Origin, tmp_path: Path
) -> None:
    wanted = job({"images": [{"url": source.serve("/a", PNG)}]})
    async with house(tmp_path, source) as home:
        (home.outputs / "j_0.png").write_bytes(PNG)
        before = (home.outputs / "j_0.png").stat().st_ino
        await home.settle(wanted)
        assert (home.outputs / "j_0.png").stat().st_ino == before
        assert (await home.record()).state == "done"


async def test_a_full_disk_pauses_and_counts_no_attempt(
    source: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.pipeline.DISK_PAUSE", 0.05)
    free = iter([0, 0])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        "shutil.disk_usage",
        lambda _path: usage._replace(free=next(free, usage.free)),
    )
    wanted = job({"images": [{"url": source.serve("/a", PNG)}]})
    async with house(tmp_path, source, min_free_space="1MiB") as home:
        await home.settle(wanted)
        record = await home.record()
        assert (record.state, record.attempts) == ("done", 1)
        assert home.pipeline.disk_trouble is None


async def test_no_more_downloads_run_at_once_than_allowed(
    source: Origin, tmp_path: Path
) -> None:
    entered = asyncio.Event()

    async def hold(writer: asyncio.StreamWriter) -> None:
        if source.at_once >= 2:
            entered.set()
        await entered.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntext")

    urls = [source.respond(f"/{n}", hold) for n in range(8)]
    async with house(tmp_path, source, max_concurrent_downloads=2) as home:
        await home.settle(*(job({"video": url}, f"j{n}") for n, url in enumerate(urls)))
        assert source.at_once == 2


async def test_a_slip_in_one_job_does_not_stop_the_others(
    source: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = outputs.extract

    def slip(output: Any) -> outputs.Extraction:
        if output == "slip":
            raise RuntimeError("a slip")
        return extract(output)

    monkeypatch.setattr("materializer.outputs.extract", slip)
    async with house(tmp_path, source) as home:
        jobs = (job("slip", "bad"), job({"text": "x"}, "good"))
        home.pipeline.offer(ME, Snapshot(ME.owner, jobs, ()))
        await asyncio.wait_for(home.pipeline.settled(ME.owner, "good"), 5)
        known = await home.gallery.read(ledger.known, ME.owner, ["bad", "good"])
        assert (known["bad"].state, known["good"].state) == ("pending", "done")


async def test_what_nobody_has_looked_at_keeps_its_place_in_the_backlog(
    source: Origin, tmp_path: Path
) -> None:
    now = time.time_ns() // 1_000_000
    jobs = [
        Job(f"j{n}", "succeeded", output={"text": "x"}, completed_at=now + n)
        for n in range(3)
    ]
    async with house(tmp_path, source) as home:
        home.pipeline.offer(ME, Snapshot(ME.owner, tuple(jobs[:2]), (), backlog=True))
        await home.settle(*jobs)
        rows = await home.gallery.read(outbox.after, ME.owner, 0, 99)
        assert {row.payload["jobId"]: row.action for row in rows} == {
            "j0": "register",
            "j1": "register",
            "j2": "open",
        }


async def test_a_job_that_settles_during_a_look_is_not_done_twice(
    source: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = job({"images": [{"url": source.serve("/a", PNG)}]})
    other = job({"text": "x"}, "other")
    asked = asyncio.Event()

    async def hold(writer: asyncio.StreamWriter) -> None:
        await asked.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntext")

    source.respond("/a", hold)
    async with house(tmp_path, source) as home:
        home.pipeline.offer(ME, Snapshot(ME.owner, (wanted,), ()))
        await home.until("fetching")
        read = home.gallery.read

        async def stale(do: Any, *args: Any) -> Any:
            found = await read(do, *args)
            if do is ledger.known and len(args[1]) == 2:
                # The job settles after the ledger was read and before that is used.
                asked.set()
                await home.until("done")
                while home.pipeline.in_flight:  # noqa: ASYNC110 -- it tells nobody
                    await asyncio.sleep(0)
            return found

        monkeypatch.setattr(home.gallery, "read", stale)
        home.pipeline.offer(ME, Snapshot(ME.owner, (wanted, other), ()))
        await home.pipeline.settled(ME.owner, "other")
        monkeypatch.undo()
        await home.pipeline.caught_up()
        assert len(await home.updates()) == 2
        assert len(source.requests) == 1
