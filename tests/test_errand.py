from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from encoded import picture
from materializer import config, errand
from materializer.config import Settings
from materializer.errors import AlreadyRunning, DiskTrouble
from materializer.gallery import Gallery, items, ledger, outbox
from materializer.host import InstanceLock, prepare_directories
from materializer.inventory import Rebuilt
from materializer.ipc.endpoint import Endpoint, publish
from materializer.model import Account, Job, JobError
from materializer.plan import OVERLAP_MS
from origin import Origin

ME = Account("https://a.test", "iss|me")
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\2\0\0\0\3" + b"\0" * 20
SOON = 10.0

HOLDER = """
import sys
from pathlib import Path
from materializer.host import InstanceLock
with InstanceLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def settings(tmp_path: Path, source: Origin) -> Settings:
    return configured(tmp_path, f"127.0.0.1:{source.port}")


def configured(state: Path, allowed: str, min_free_space: str = "0") -> Settings:
    flags = {"state_dir": str(state), "min_free_space": min_free_space}
    return config.load(flags, {"STELLA_ALLOW_PRIVATE_HOSTS": allowed})


def image(*urls: str) -> Job:
    output = {"images": [{"url": url} for url in urls]}
    return Job("j", "succeeded", "text_to_image", output=output, completed_at=5)


def files(settings: Settings) -> list[str]:
    outputs = settings.paths.outputs.iterdir()
    return sorted(path.name for path in outputs if path.is_file())


async def test_one_job_is_saved_without_a_daemon(
    settings: Settings, source: Origin
) -> None:
    record = await errand.save(settings, ME, image(source.serve("/a", PNG)))
    assert (record.state, record.error) == ("done", None)
    [item] = record.items
    assert Path(item.path).read_bytes() == PNG
    assert item.sha256 == sha256(PNG).hexdigest()
    assert files(settings) == ["j_0.png"]
    assert list(settings.paths.partial.iterdir()) == []


async def test_what_it_saved_is_in_the_gallery_and_announced_for_the_daemon(
    settings: Settings, source: Origin
) -> None:
    await errand.save(settings, ME, image(source.serve("/a", PNG)))
    gallery = Gallery.open(settings.paths.gallery_db, settings.paths.outputs)
    page = await gallery.read(items.page, ME.owner, items.Wanted())
    updates = await gallery.read(outbox.after, ME.owner, 0, 9)
    await gallery.close()
    assert [item.id for item in page.items] == ["j_0"]
    assert [update.payload["jobId"] for update in updates] == ["j"]


async def test_it_leaves_the_cursors_where_the_feed_left_them(
    settings: Settings, source: Origin
) -> None:
    prepare_directories(settings.paths)
    gallery = Gallery.open(settings.paths.gallery_db, settings.paths.outputs)
    before = await gallery.write(ledger.cursors, ME, first=0)
    await gallery.close()
    job = replace(image(source.serve("/a", PNG)), completed_at=10 * OVERLAP_MS)
    await errand.save(settings, ME, job)
    gallery = Gallery.open(settings.paths.gallery_db, settings.paths.outputs)
    after = await gallery.write(ledger.cursors, ME, first=1)
    await gallery.close()
    assert after == before


async def test_a_job_that_was_submitted_is_entered_once_and_under_the_lock(
    settings: Settings,
) -> None:
    prepare_directories(settings.paths)
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
        with InstanceLock(settings.paths.lock):
            entering = tasks.create_task(errand.expect(settings, ME, "j"))
            done, _ = await asyncio.wait([entering], timeout=3 * errand._LOCK_STEP)
            assert done == set()
    await errand.expect(settings, ME, "j")
    gallery = Gallery.open(settings.paths.gallery_db, settings.paths.outputs)
    entered = await gallery.read(ledger.open_jobs, ME)
    await gallery.close()
    assert entered == ["j"]


async def test_a_second_errand_for_the_same_job_downloads_nothing(
    settings: Settings, source: Origin
) -> None:
    job = image(source.serve("/a", PNG))
    first = await errand.save(settings, ME, job)
    assert await errand.save(settings, ME, job) == first
    assert len(source.requests) == 1


async def test_two_errands_at_once_make_one_download(
    settings: Settings, source: Origin
) -> None:
    job = image(source.serve("/a", PNG))
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
        one = tasks.create_task(errand.save(settings, ME, job))
        two = tasks.create_task(errand.save(settings, ME, job))
    assert one.result() == two.result()
    assert one.result().state == "done"
    assert len(source.requests) == 1


async def test_a_failed_job_is_recorded_and_left_for_the_daemon_to_tell(
    settings: Settings,
) -> None:
    job = Job("j", "failed", "icon", error=JobError("No."), completed_at=5)
    record = await errand.save(settings, ME, job)
    assert (record.state, record.error, record.told) == ("failed", "No.", "due")
    assert record.files == ()


async def test_an_output_that_is_refused_is_final_and_says_why(
    tmp_path: Path, source: Origin
) -> None:
    settings = configured(tmp_path, "a.test")
    record = await errand.save(settings, ME, image(source.serve("/a", PNG)))
    assert record.state == "failed"
    assert "not on the public internet" in (record.error or "")
    assert source.requests == []


async def test_a_busy_source_is_left_for_another_attempt(
    settings: Settings, source: Origin
) -> None:
    good, busy = source.serve("/a", PNG), source.raw("/b", "503 Busy")
    async with asyncio.timeout(SOON):
        record = await errand.save(settings, ME, image(good, busy))
    assert (record.state, record.attempts) == ("pending", 1)
    assert record.error
    assert record.next_attempt_at is not None
    assert files(settings) == ["j_0.png"]


async def test_a_disk_that_cannot_take_it_is_told(
    tmp_path: Path, source: Origin
) -> None:
    settings = configured(tmp_path, "127.0.0.1", "900000GiB")
    with pytest.raises(DiskTrouble, match="min_free_space"):
        await errand.save(settings, ME, image(source.serve("/a", PNG)))
    with InstanceLock(settings.paths.lock):
        assert source.requests == []


async def test_a_lock_that_another_process_keeps_is_told_with_its_pid(
    settings: Settings, source: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errand, "_LOCK_WAIT", 0.1)
    prepare_directories(settings.paths)
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(settings.paths.lock)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert await asyncio.wait_for(holder.stdout.readline(), SOON) == b"held\n"
        with pytest.raises(AlreadyRunning) as refused:
            await errand.save(settings, ME, image(source.serve("/a", PNG)))
    finally:
        holder.kill()
        await holder.communicate()
    assert refused.value.pid == holder.pid != os.getpid()
    assert source.requests == []


async def test_a_lock_that_is_given_back_in_time_is_waited_for(
    settings: Settings, source: Origin
) -> None:
    prepare_directories(settings.paths)
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
        with InstanceLock(settings.paths.lock):
            job = image(source.serve("/a", PNG))
            saving = tasks.create_task(errand.save(settings, ME, job))
            done, _ = await asyncio.wait([saving], timeout=3 * errand._LOCK_STEP)
            assert done == set()
    assert saving.result().state == "done"


async def test_a_daemon_that_holds_the_lock_and_serves_is_not_waited_for(
    settings: Settings, source: Origin
) -> None:
    paths = settings.paths
    prepare_directories(paths)
    with InstanceLock(paths.lock):
        publish(paths.state, Endpoint("a.sock", os.getpid(), "1", 5))
        async with asyncio.timeout(SOON):
            with pytest.raises(AlreadyRunning):
                await errand.save(settings, ME, image(source.serve("/a", PNG)))
        publish(paths.state, Endpoint("a.sock", os.getpid() + 1, "1", 5))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3 * errand._LOCK_STEP):
                await errand.save(settings, ME, image(source.serve("/a", PNG)))
    assert source.requests == []


@pytest.mark.parametrize("delete_file", [True, False])
async def test_an_item_is_removed_without_a_daemon(
    settings: Settings, source: Origin, *, delete_file: bool
) -> None:
    job = image(source.serve("/a", PNG))
    await errand.save(settings, ME, job)
    assert not await errand.remove(settings, "j_1", delete_file=delete_file)
    assert await errand.remove(settings, "j_0", delete_file=delete_file)
    assert not await errand.remove(settings, "j_0", delete_file=delete_file)
    assert files(settings) == ([] if delete_file else ["j_0.png"])
    record = await errand.save(settings, ME, job)
    assert record.items == ()
    assert await errand.rebuild(settings) == Rebuilt(0, ())


async def test_where_nobody_ever_signed_in_there_is_nothing_to_remove(
    settings: Settings,
) -> None:
    assert not await errand.remove(settings, "j_0", delete_file=True)


async def test_the_gallery_is_rebuilt_without_a_daemon(
    settings: Settings, source: Origin
) -> None:
    await errand.save(settings, ME, image(source.serve("/a", PNG)))
    for path in settings.paths.gallery_db.parent.glob("gallery.db*"):
        path.unlink()
    (settings.paths.outputs / "j_0.png").write_bytes(picture("PNG"))
    assert await errand.rebuild(settings) == Rebuilt(1, ())
    assert await errand.remove(settings, "j_0", delete_file=False)


@pytest.mark.parametrize(
    "run",
    [partial(errand.remove, item_id="j_0", delete_file=False), errand.rebuild],
    ids=["remove", "rebuild"],
)
async def test_nobody_else_writes_to_the_gallery_meanwhile(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Settings], Awaitable[object]],
) -> None:
    monkeypatch.setattr(errand, "_LOCK_WAIT", 0)
    prepare_directories(settings.paths)
    with InstanceLock(settings.paths.lock), pytest.raises(AlreadyRunning):
        await run(settings)


async def test_who_saves_a_job_tells_of_its_failure_and_the_next_daemon_is_quiet(
    settings: Settings,
) -> None:
    error = JobError("Out of film.")
    lost = Job("lost", "failed", "text_to_video", error=error, completed_at=5)
    record = await errand.save(settings, ME, lost)
    assert (record.state, record.error) == ("failed", "Out of film.")
    paths = settings.paths
    gallery = Gallery.open(paths.gallery_db, paths.outputs)
    assert await gallery.read(items.to_tell, ME.owner) == []
    await gallery.close()
