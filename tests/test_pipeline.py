from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from materializer import config, outputs
from materializer.errors import DiskTrouble
from materializer.fetch import Fetcher, Guard, Rules
from materializer.gallery import Gallery, items, ledger, outbox
from materializer.model import (
    Account,
    DisplayUpdate,
    Job,
    JobError,
    JobRecord,
    Output,
    Placed,
    Snapshot,
)
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
        self.troubles: list[str | None] = []
        self.gallery = Gallery.open(paths.gallery_db, paths.outputs)
        rules = Rules(at_once=settings.max_concurrent_downloads, idle_timeout=5)
        self.fetcher = Fetcher(guard, rules, user_agent="t")
        self.happened = asyncio.Event()
        self.pipeline = Pipeline(
            self.gallery,
            self.fetcher,
            Places(paths.outputs, paths.partial),
            settings,
            emit=self.emit,
            on_announced=self.count_announced,
            on_failed=self.count_failed,
            on_disk_trouble=self.troubles.append,
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

    def count_announced(self, owner: str, updates: Sequence[DisplayUpdate]) -> None:
        assert owner == ME.owner
        self.announced += len(updates)

    def count_failed(self) -> None:
        self.failed += 1

    async def settle(
        self, *jobs: Job, failed: tuple[Job, ...] = (), asked: tuple[Job, ...] = ()
    ) -> None:
        self.pipeline.offer(ME, Snapshot(ME.owner, jobs, failed, asked))
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


def job(output: Any, name: str = "j", *, ago: int = 0) -> Job:
    now = time.time_ns() // 1_000_000
    return Job(name, "succeeded", "new", output=output, completed_at=now - ago)


@pytest.fixture
def no_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    """No retry is due before the test has ended."""
    monkeypatch.setattr("materializer.retry._CALENDAR", (600.0,) * 9)
    monkeypatch.setattr("materializer.retry._FLOOR", 600.0)


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


class Disk:
    """A disk that is full for some jobs, as often as it is told.

    Attributes:
        tried: who tried it.
        times: when, in seconds.
        full_for: how often it still is full for whom.
        waits_for: what some have to wait for.
    """

    def __init__(self, home: House, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tried: list[str] = []
        self.times: list[float] = []
        self.full_for: dict[str, int] = {}
        self.waits_for: dict[str, asyncio.Event] = {}
        delivery = home.pipeline._delivery
        self._deliver_each = delivery.deliver_each
        monkeypatch.setattr(delivery, "deliver_each", self._deliver)

    async def _deliver(self, job: Job, *args: Any) -> Any:
        self.tried.append(job.job_id)
        self.times.append(time.monotonic())
        if job.job_id in self.waits_for:
            await self.waits_for[job.job_id].wait()
        if self.full_for.get(job.job_id, 0):
            self.full_for[job.job_id] -= 1
            raise DiskTrouble("the disk is full")
        return await self._deliver_each(job, *args)


async def test_a_full_disk_pauses_and_counts_no_attempt(
    source: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.pause.DISK_PAUSE", 0.05)
    wanted = job({"images": [{"url": source.serve("/a", PNG)}]})
    async with house(tmp_path, source) as home:
        disk = Disk(home, monkeypatch)
        disk.full_for = {"j": 2}
        await home.settle(wanted)
        record = await home.record()
        assert (record.state, record.attempts) == ("done", 1)
        assert disk.tried == ["j"] * 3
        assert home.troubles == ["the disk is full", None]
        assert home.pipeline.disk_trouble is None


async def test_what_the_disk_took_is_not_asked_for_again_with_what_did_not_fit(
    source: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.pause.DISK_PAUSE", 0.05)
    wanted = job({"images": [source.serve("/fits", PNG), source.serve("/large", PNG)]})
    async with house(tmp_path, source) as home:
        deliver, refusals = home.pipeline._delivery.deliver, [1, 1, 1]

        async def hardly(job: Job, output: Output, *args: Any) -> Placed:
            if output.index == 1 and refusals:
                refusals.pop()
                raise DiskTrouble("the disk is full")
            return await deliver(job, output, *args)

        monkeypatch.setattr(home.pipeline._delivery, "deliver", hardly)
        await home.settle(wanted)
        record = await home.record()
        assert (record.state, record.attempts, len(record.files)) == ("done", 1, 2)
        assert [head.split()[1] for head in source.requests] == ["/fits", "/large"]
        [(_, asset)] = await home.updates()
        assert len(asset["filePaths"]) == 2


async def test_while_the_disk_is_full_one_job_tries_it_and_then_all_go_on(
    source: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job({"text": str(n)}, f"j{n}", ago=9 - n) for n in range(9)]
    monkeypatch.setattr("materializer.pause.DISK_PAUSE", 0.2)
    async with house(tmp_path, source, max_concurrent_downloads=1) as home:
        disk = Disk(home, monkeypatch)
        # Four are at work at once, and the first two that try alone fail as well.
        disk.full_for = dict.fromkeys(("j0", "j1", "j2", "j3", "j4", "j5"), 1)
        home.pipeline.offer(ME, Snapshot(ME.owner, tuple(jobs), ()))
        await asyncio.wait_for(home.pipeline.caught_up(), 10)
        assert disk.tried[:7] == ["j0", "j1", "j2", "j3", "j4", "j5", "j6"]
        waits = [later - sooner for sooner, later in pairwise(disk.times)]
        assert min(waits[3:6]) > 0.15
        assert sorted(disk.tried[6:]) == [f"j{n}" for n in range(9)]
        assert home.troubles == ["the disk is full", None]
        assert home.pipeline.disk_trouble is None


async def test_trouble_that_comes_back_is_told_again(
    source: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.pause.DISK_PAUSE", 0.05)
    async with house(tmp_path, source) as home:
        Disk(home, monkeypatch).full_for = {"a": 1, "b": 1}
        await home.settle(job({"text": "x"}, "a"))
        await home.settle(job({"text": "x"}, "b"))
        assert home.troubles == ["the disk is full", None] * 2


async def test_a_ledger_that_cannot_be_written_is_a_pause_too(
    source: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.pause.DISK_PAUSE", 0.05)
    async with house(tmp_path, source) as home:
        refused = [ledger.take_up, ledger.settle]

        def refusing(hand_in: Callable[..., Awaitable[Any]]) -> Any:
            async def refuse(do: Any, *args: Any) -> Any:
                if do in refused:
                    refused.remove(do)
                    raise OSError("the gallery cannot be used")
                return await hand_in(do, *args)

            return refuse

        for kind in ("note", "write"):
            monkeypatch.setattr(
                home.gallery, kind, refusing(getattr(home.gallery, kind))
            )
        await home.settle(job({"text": "x"}))
        assert (await home.record()).attempts == 1
        assert [words is None for words in home.troubles] == [False, True] * 2
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
        await home.settle(
            *(job({"images": [url]}, f"j{n}") for n, url in enumerate(urls))
        )
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
        note = home.gallery.note

        async def stale(do: Any, *args: Any) -> Any:
            found = await note(do, *args)
            if do is ledger.take_up and len(args[1]) == 2:
                # The job settles after the ledger was read and before that is used.
                asked.set()
                await home.until("done")
                while home.pipeline.in_flight:  # noqa: ASYNC110 -- it tells nobody
                    await asyncio.sleep(0)
            return found

        monkeypatch.setattr(home.gallery, "note", stale)
        home.pipeline.offer(ME, Snapshot(ME.owner, (wanted, other), ()))
        await home.pipeline.settled(ME.owner, "other")
        monkeypatch.undo()
        await home.pipeline.caught_up()
        assert len(await home.updates()) == 2
        assert len(source.requests) == 1


# --- many at once


async def test_many_jobs_are_entered_at_once_and_worked_on_a_few_at_a_time(
    source: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job({"text": str(n)}, f"j{n}", ago=300 - n) for n in range(300)]
    async with house(tmp_path, source, max_concurrent_downloads=2) as home:
        calls: list[Any] = []
        at_once = 0
        read, write = home.gallery.read, home.gallery.write

        async def note(do: Any, *args: Any) -> Any:
            nonlocal at_once
            at_once = max(at_once, len(home.pipeline.in_flight))
            calls.append(do)
            reads = do in (ledger.open_jobs, items.placed)
            return await (read if reads else write)(do, *args)

        monkeypatch.setattr(home.gallery, "read", note)
        for kind in ("note", "write"):
            monkeypatch.setattr(home.gallery, kind, note)
        home.pipeline.offer(ME, Snapshot(ME.owner, tuple(jobs), ()))
        await asyncio.wait_for(home.pipeline.caught_up(), 30)
        assert 2 <= at_once <= 16
        assert calls.count(ledger.take_up) == 1
        bites = calls.count(ledger.take_up) + calls.count(ledger.remember)
        assert bites == 300 / ledger.BITE
        assert calls.count(ledger.settle) == 300
        assert calls.count(ledger.open_jobs) == 1
        assert items.placed not in calls
        rows = await read(outbox.after, ME.owner, 0, 999)
        assert [row.payload["jobId"] for row in rows] == [one.job_id for one in jobs]


async def test_the_feed_is_thought_of_after_all_of_many_and_not_after_each(
    source: Origin, tmp_path: Path
) -> None:
    jobs = [job({"text": str(n)}, f"j{n}") for n in range(50)]
    changes = 0

    async def count() -> None:
        nonlocal changes
        async for _ in home.pipeline.changes():
            changes += 1

    async with house(tmp_path, source) as home, asyncio.TaskGroup() as tasks:
        counting = tasks.create_task(count())
        home.pipeline.offer(ME, Snapshot(ME.owner, tuple(jobs), ()))
        await home.pipeline.caught_up()
        await asyncio.sleep(0)
        assert 2 <= changes <= 4
        counting.cancel()


async def test_films_that_take_long_keep_no_image_behind_them_waiting(
    source: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("materializer.turns.PATIENCE", 0.1)
    monkeypatch.setattr("materializer.turns.GRACE", 0.0)
    seen = asyncio.Event()

    async def hold(writer: asyncio.StreamWriter) -> None:
        await seen.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntext")

    films = [
        job({"video": source.respond(f"/f{n}", hold)}, f"f{n}", ago=99)
        for n in range(20)
    ]
    images = [job({"images": [source.serve(f"/{n}", PNG)]}, f"j{n}") for n in range(20)]
    async with house(tmp_path, source, max_concurrent_downloads=2) as home:
        async with asyncio.timeout(10):
            await home.settle(*images, asked=tuple(films))
        assert len(await home.updates()) == 20
        seen.set()
        await asyncio.wait_for(home.pipeline.caught_up(), 10)


async def test_jobs_that_end_side_by_side_are_announced_as_they_were_completed(
    source: Origin, tmp_path: Path
) -> None:
    second_is_here = asyncio.Event()

    async def hold(writer: asyncio.StreamWriter) -> None:
        await second_is_here.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntext")

    first = job({"images": [source.respond("/1", hold)]}, "first", ago=5)
    second = job({"text": "x"}, "second")
    async with house(tmp_path, source) as home:
        home.pipeline.offer(ME, Snapshot(ME.owner, (first, second), ()))
        async with asyncio.timeout(5):
            while len(home.files()) < 2:  # noqa: ASYNC110 -- files tell nobody
                await asyncio.sleep(0.01)
        second_is_here.set()
        await asyncio.wait_for(home.pipeline.caught_up(), 5)
        rows = await home.gallery.read(outbox.after, ME.owner, 0, 9)
        assert [row.payload["jobId"] for row in rows] == ["first", "second"]


async def test_what_waits_for_a_place_during_a_look_is_started_once(
    source: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = tuple(job({"text": "x"}, f"j{n}", ago=9 - n) for n in range(6))
    async with house(tmp_path, source, max_concurrent_downloads=1) as home:
        disk = Disk(home, monkeypatch)
        first, rest = asyncio.Event(), asyncio.Event()
        disk.waits_for = {"j0": first} | dict.fromkeys(("j1", "j2", "j3"), rest)
        home.pipeline.offer(ME, Snapshot(ME.owner, jobs, ()))
        await home.until("fetching")
        note = home.gallery.note

        async def slow(do: Any, *args: Any) -> Any:
            found = await note(do, *args)
            if do is ledger.take_up and len(args[1]) == 6 and not first.is_set():
                first.set()
                await home.until("done")
                while (ME.owner, "j0") in home.pipeline.in_flight:  # noqa: ASYNC110 -- it tells nobody
                    await asyncio.sleep(0)
            return found

        monkeypatch.setattr(home.gallery, "note", slow)
        home.pipeline.offer(ME, Snapshot(ME.owner, jobs, ()))
        while not first.is_set() or not home.pipeline.has_looked:  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.001)
        rest.set()
        await asyncio.wait_for(home.pipeline.caught_up(), 10)
        assert sorted(disk.tried) == [f"j{n}" for n in range(6)]


# --- what failed is tried again


async def test_what_is_there_of_a_job_is_not_fetched_again_after_a_restart(
    source: Origin, tmp_path: Path, at_once: None
) -> None:
    first = source.serve("/0", PNG)
    second = source.raw("/1", "503 Busy")
    wanted = job({"images": [first, second]})
    async with house(tmp_path, source) as home:
        home.pipeline.offer(ME, Snapshot(ME.owner, (wanted,), ()))
        await home.until("pending")
    source.serve("/1", PNG + b"2")
    async with house(tmp_path, source) as home:
        await asyncio.wait_for(home.settle(wanted), 10)
        assert home.files() == ["j_0.png", "j_1.png"]
        ((_, asset),) = await home.updates()
        assert len(asset["filePaths"]) == 2
        assert (await home.record()).attempts >= 2
    asked = [head.split(" ")[1] for head in source.requests]
    assert asked.count("/0") == 1


async def test_a_source_that_always_sends_a_page_is_tried_four_times(
    source: Origin, tmp_path: Path, at_once: None
) -> None:
    page = source.serve("/0", b"<!doctype html><title>Log in</title>")
    good = source.serve("/1", PNG)
    async with house(tmp_path, source) as home:
        await asyncio.wait_for(home.settle(job({"images": [page, good]})), 10)
        record = await home.record()
        assert (record.state, record.attempts, record.told) == ("failed", 4, "due")
        assert "web page" in (record.error or "")
        assert home.files() == ["j_1.png"]
        assert len(await home.updates()) == 1


async def test_one_output_that_is_refused_does_not_end_the_attempts_at_another(
    source: Origin, tmp_path: Path, at_once: None
) -> None:
    busy = source.raw("/0", "503 Busy")
    async with house(tmp_path, source) as home:
        wanted = job({"images": ["http://127.0.0.1:1/x", busy]})
        home.pipeline.offer(ME, Snapshot(ME.owner, (wanted,), ()))
        await home.until("pending")
        source.serve("/0", PNG)
        await asyncio.wait_for(home.pipeline.settled(ME.owner, "j"), 10)
        record = await home.record()
        assert (record.state, record.told) == ("failed", "due")
        assert "not on the public internet" in (record.error or "")
        assert len(await home.updates()) == 1


@pytest.mark.parametrize("status", ["401 No", "403 No", "404 No", "410 No"])
async def test_a_link_that_is_gone_is_tried_at_once_when_a_newer_one_is_shown(
    source: Origin, tmp_path: Path, no_calendar: None, status: str
) -> None:
    old, new = source.raw("/old", status), source.serve("/new", PNG)
    async with house(tmp_path, source) as home:
        home.pipeline.offer(ME, Snapshot(ME.owner, (job({"images": [old]}),), ()))
        await home.until("pending")
        home.pipeline.offer(ME, Snapshot(ME.owner, (job({"images": [old]}),), ()))
        home.pipeline.offer(ME, Snapshot(ME.owner, asked=(job({"images": [new]}),)))
        await asyncio.wait_for(home.pipeline.settled(ME.owner, "j"), 5)
        assert (await home.record()).state == "done"
        assert [head.split(" ")[1] for head in source.requests] == ["/old", "/new"]


async def test_the_same_link_that_is_gone_waits_for_the_calendar(
    source: Origin, tmp_path: Path, no_calendar: None
) -> None:
    old = source.raw("/old", "403 No")
    async with house(tmp_path, source) as home:
        home.pipeline.offer(ME, Snapshot(ME.owner, (job({"images": [old]}),), ()))
        await home.until("pending")
        await home.settle(job({"text": "x"}, "other"), asked=(job({"images": [old]}),))
        assert len(source.requests) == 1
        assert (await home.record()).state == "pending"


async def test_a_newer_link_that_comes_while_the_old_one_is_tried_is_not_missed(
    source: Origin, tmp_path: Path, no_calendar: None
) -> None:
    asked, told = asyncio.Event(), asyncio.Event()

    async def hold(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await told.wait()
        writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")

    old, new = source.respond("/old", hold), source.serve("/new", PNG)
    async with house(tmp_path, source) as home:
        home.pipeline.offer(ME, Snapshot(ME.owner, (job({"images": [old]}),), ()))
        await asked.wait()
        other = job({"text": "x"}, "other")
        home.pipeline.offer(ME, Snapshot(ME.owner, (job({"images": [new]}), other)))
        await home.pipeline.settled(ME.owner, "other")
        told.set()
        await asyncio.wait_for(home.pipeline.settled(ME.owner, "j"), 5)
        assert (await home.record()).state == "done"


async def test_a_source_whose_every_link_is_gone_is_not_asked_without_end(
    source: Origin, tmp_path: Path, no_calendar: None
) -> None:
    async with house(tmp_path, source) as home:
        for n in range(9):
            link = source.raw(f"/{n}", "403 No")
            home.pipeline.offer(ME, Snapshot(ME.owner, (job({"images": [link]}),), ()))
            await home.settle(
                job({"text": "x"}, f"other{n}"), asked=(job({"images": [link]}),)
            )
        assert len(source.requests) == 2


async def test_a_restart_is_a_reason_to_try_a_link_that_was_gone(
    source: Origin, tmp_path: Path, no_calendar: None
) -> None:
    wanted = job({"images": [source.raw("/a", "403 No")]})
    async with house(tmp_path, source) as home:
        home.pipeline.offer(ME, Snapshot(ME.owner, (wanted,), ()))
        await home.until("pending")
    source.serve("/a", PNG)
    async with house(tmp_path, source) as home:
        await asyncio.wait_for(home.settle(wanted), 5)
        assert (await home.record()).state == "done"


async def test_parts_of_jobs_that_are_over_are_removed_at_the_start(
    tmp_path: Path, source: Origin
) -> None:
    busy = source.raw("/busy", "503 Busy")
    async with house(tmp_path, source) as home:
        home.pipeline.offer(ME, Snapshot(ME.owner, (job({"image": {"url": busy}}),)))
        await home.until("pending")
        partial = home.outputs / ".partial"
    for name in ("j_0.part", "j_0.part.json", "other_0.part", "other_0.part.json"):
        (partial / name).write_bytes(b"x")
    async with house(tmp_path, source) as home:
        await home.settle(job(None, "next"))
        kept = sorted(path.name for path in partial.iterdir())
    assert kept == ["j_0.part", "j_0.part.json"]


async def test_it_gives_a_sign_of_life_unless_it_is_stuck(
    tmp_path: Path, source: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, free = asyncio.Event(), asyncio.Event()

    async def look() -> None:
        stuck.set()
        await free.wait()

    async with house(tmp_path, source) as home, asyncio.timeout(5):
        for _ in range(2):
            await home.pipeline.pulse()
        monkeypatch.setattr(home.pipeline, "_look", look)
        home.pipeline.wake()
        await stuck.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(home.pipeline.pulse(), 0.1)
        home.pipeline._stale = False
        free.set()
        await home.pipeline.pulse()


async def test_other_settings_count_from_the_next_job_on(
    tmp_path: Path, source: Origin
) -> None:
    link = {"images": [{"url": source.serve("/a.png", PNG)}]}
    flags = {"state_dir": str(tmp_path), "min_free_space": "0"}
    quiet = flags | {"open_policy": "register", "max_bytes": "image=10"}
    async with house(tmp_path, source) as home:
        home.pipeline.adopt(config.load(quiet | {"max_bytes": None}, {}))
        await home.settle(job(link, "quiet"))
        assert [action for action, _ in await home.updates()] == ["register"]
        home.pipeline.adopt(config.load(quiet, {}))
        await home.settle(job(link, "large"))
        assert (await home.record("large")).state == "failed"
