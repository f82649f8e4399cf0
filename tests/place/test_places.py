from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from materializer.errors import DiskTrouble, OutputDamaged, OutputHeld
from materializer.place import Places, Stamp

ENDINGS = ("png", "mp4")


def part_of(places: Places, stem: str, data: bytes = b"whole") -> Path:
    part = places.part(stem, 0)
    part.write_bytes(data)
    return part


def write(places: Places, path: Path, data: bytes) -> None:
    with open(path, "wb", opener=places.opener) as file:
        file.write(data)


def left(places: Places) -> list[str]:
    return sorted(path.name for path in places.partial.iterdir())


class Calls:
    """Notes which file or directory each system call is about, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.threads: set[int] = set()
        self._names: dict[int, str] = {}
        self._patch = monkeypatch
        fsync, replace, unlink = os.fsync, os.replace, os.unlink

        def note_sync(file: int) -> None:
            self._note(self._names[os.fstat(file).st_ino])
            fsync(file)

        def note_replace(old: str, new: str, **at: int) -> None:
            self._note(f"{old} -> {new}")
            replace(old, new, **at)

        def note_unlink(name: str, **at: int) -> None:
            self.threads.add(threading.get_ident())
            unlink(name, **at)

        monkeypatch.setattr("os.fsync", note_sync)
        monkeypatch.setattr("os.replace", note_replace)
        monkeypatch.setattr("os.unlink", note_unlink)

    def know(self, *paths: Path) -> None:
        for path in paths:
            self._names[path.stat().st_ino] = path.name

    def _note(self, call: str) -> None:
        self.made.append(call)
        self.threads.add(threading.get_ident())


@pytest.fixture
def calls(places: Places, monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls(monkeypatch)
    calls.know(places.outputs)
    return calls


async def test_a_part_becomes_visible_under_its_final_name(places: Places) -> None:
    part = part_of(places, "job")
    final = await places.commit(part, "job_0.png")
    assert final == places.outputs / "job_0.png"
    assert final.read_bytes() == b"whole"
    assert left(places) == []


async def test_file_and_directory_are_synced_around_the_rename(
    places: Places, calls: Calls
) -> None:
    calls.know(part_of(places, "job"))
    await places.commit(places.part("job", 0), "job_0.png")
    assert calls.made == ["job_0.part", "job_0.part -> job_0.png", "outputs"]
    assert threading.get_ident() not in calls.threads


async def test_what_is_synced_already_is_not_synced_again(
    places: Places, calls: Calls
) -> None:
    calls.know(part_of(places, "job"))
    await places.commit(places.part("job", 0), "job_0.png", synced=True)
    assert calls.made == ["job_0.part -> job_0.png", "outputs"]


async def test_a_burst_shares_the_syncs_of_the_directory(
    places: Places, calls: Calls
) -> None:
    async with asyncio.TaskGroup() as tasks:
        for n in range(100):
            part = part_of(places, f"j{n}")
            calls.know(part)
            tasks.create_task(places.commit(part, f"j{n}_0.png"))
    assert len([*places.outputs.glob("*.png")]) == 100
    assert sorted(call for call in calls.made if call.endswith(".part")) == sorted(
        f"j{n}_0.part" for n in range(100)
    )
    assert calls.made.count("outputs") < 50
    assert calls.made[-1] == "outputs"


async def test_what_has_the_name_but_is_not_ours_gives_way(places: Places) -> None:
    (places.outputs / "job_0.png").write_bytes(b"cut off")
    await places.commit(part_of(places, "job"), "job_0.png")
    assert (places.outputs / "job_0.png").read_bytes() == b"whole"


@pytest.mark.parametrize("name", ["../job_0.png", "/job_0.png", ".job", "a\\b.png"])
async def test_a_name_that_leads_elsewhere_is_a_slip(places: Places, name: str) -> None:
    part = part_of(places, "job")
    with pytest.raises(ValueError, match="is no name of a file"):
        await places.commit(part, name)
    with pytest.raises(ValueError, match="is no stem"):
        places.part(name.removesuffix(".png"), 0)
    assert part.exists()


async def test_a_part_that_was_removed_is_to_be_fetched_again(places: Places) -> None:
    for synced in (True, False):
        with pytest.raises(OutputDamaged, match="was removed"):
            await places.commit(places.part("job", 0), "job_0.png", synced=synced)


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_quota"),
        (errno.EROFS, "disk_read_only"),
        (errno.EIO, "disk_failing"),
        (errno.EACCES, "disk_denied"),
        (errno.EMFILE, "disk_busy"),
    ],
)
async def test_a_disk_that_fails_is_trouble_and_ends_by_itself(
    places: Places, monkeypatch: pytest.MonkeyPatch, call: str, number: int, code: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    part = part_of(places, "job")
    with monkeypatch.context() as patch:
        patch.setattr(call, fail)
        with pytest.raises(DiskTrouble, match="goes on by itself") as raised:
            await places.commit(part, "job_0.png")
    assert raised.value.code == code
    assert not (places.outputs / "job_0.png").exists()
    await places.commit(part, "job_0.png")
    assert (places.outputs / "job_0.png").exists()


NOBODY = 65534


@pytest.mark.skipif("sys.platform == 'win32'", reason="Windows has other permissions")
async def test_a_directory_that_may_not_be_written_to_is_trouble(
    places: Places,
) -> None:
    part = part_of(places, "job")
    places.outputs.chmod(0o500)
    root = os.geteuid() == 0
    if root:  # who may write anywhere
        os.seteuid(NOBODY)
    try:
        with pytest.raises(DiskTrouble, match="see who owns it"):
            await places.commit(part, "job_0.png")
    finally:
        if root:
            os.seteuid(0)
    places.outputs.chmod(0o700)
    await places.commit(part, "job_0.png")


async def test_an_outputs_directory_that_is_gone_is_a_state_in_words(
    places: Places, state: Path
) -> None:
    part = part_of(places, "job")
    (state / "media").rename(state / "away")
    with pytest.raises(DiskTrouble, match="attach its disk"):
        places.present("job", 0, ENDINGS)
    for trial in (
        places.commit(part, "job_0.png"),
        places.require_free(0),
        places.sweep("job"),
    ):
        with pytest.raises(DiskTrouble, match="attach its disk") as raised:
            await trial
        assert raised.value.code == "disk_missing"
    (state / "away").rename(state / "media")
    await places.commit(part, "job_0.png")


async def test_outputs_that_are_linked_out_of_the_state_are_refused_in_words(
    places: Places, elsewhere: Path
) -> None:
    shutil.rmtree(places.outputs)
    places.outputs.symlink_to(elsewhere)
    (elsewhere / ".partial" / "job_0.part").touch()
    with pytest.raises(DiskTrouble, match="--state-dir") as raised:
        await places.commit(places.part("job", 0), "job_0.png")
    assert raised.value.code == "disk_outside"
    assert [path.name for path in elsewhere.iterdir()] == [".partial"]


async def test_parts_are_opened_through_the_directory_that_is_held(
    places: Places, elsewhere: Path
) -> None:
    part = places.part("job", 0)
    write(places, part, b"whole")
    assert part.stat().st_mode & 0o777 == 0o600
    (elsewhere / "secret").write_bytes(b"keep")
    places.part("bad", 0).symlink_to(elsewhere / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        write(places, places.part("bad", 0), b"x")
    assert (elsewhere / "secret").read_bytes() == b"keep"


def test_what_stands_under_the_name_already_is_found(places: Places) -> None:
    assert places.present("job", 1, ENDINGS) is None
    for name in ("job_10.png", "job_1.exe"):
        (places.outputs / name).touch()
    assert places.present("job", 1, ENDINGS) is None
    (places.outputs / "job_1.png").touch()
    assert places.present("job", 1, ENDINGS) == places.outputs / "job_1.png"


def test_what_is_looked_for_is_not_looked_for_among_all_the_others(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    (places.outputs / "job_0.png").touch()
    assert places.free()  # opens the directories, which reads `.partial` once
    monkeypatch.setattr("os.listdir", lambda _: pytest.fail("all of it was read"))
    assert places.present("job", 0, ENDINGS) == places.outputs / "job_0.png"


@pytest.mark.parametrize(
    ("files", "index", "found"),
    [
        (["job.mp4"], 0, "job.mp4"),
        (["job.mp4", "job_0.mp4"], 0, "job_0.mp4"),
        (["job.mp4"], 1, None),
        (["JOB.mp4", "job.x.mp4", "job"], 0, None),
    ],
)
def test_the_reference_apps_name_counts_for_the_first_output(
    places: Places, files: list[str], index: int, found: str | None
) -> None:
    for name in files:
        (places.outputs / name).touch()
    present = places.present("job", index, ENDINGS, job_id="job")
    assert (present and present.name) == found


@pytest.mark.parametrize("job_id", ["", ".partial", "../job", "a/b", "."])
def test_a_job_id_that_is_no_name_finds_nothing(places: Places, job_id: str) -> None:
    assert places.present("job=1", 0, ENDINGS, job_id=job_id) is None


def test_a_link_is_not_taken_for_an_output(places: Places, elsewhere: Path) -> None:
    (elsewhere / "file").touch()
    (places.outputs / "job_0.png").symlink_to(elsewhere / "file")
    assert places.present("job", 0, ENDINGS) is None


@pytest.mark.parametrize("lock", ["job_0.png.lock", "job.mp4.lock"])
def test_a_file_that_another_program_is_writing_is_held(
    places: Places, lock: str
) -> None:
    (places.outputs / "job_0.png").touch()
    (places.outputs / lock).touch()
    with pytest.raises(OutputHeld):
        places.present("job", 0, ENDINGS, job_id="job")
    (places.outputs / lock).unlink()
    found = places.present("job", 0, ENDINGS, job_id="job")
    assert found == places.outputs / "job_0.png"


@pytest.mark.parametrize("written", [1, 2**33])  # long ago, or by a clock far ahead
@pytest.mark.parametrize("lock", ["job_0.png.lock", "job.mp4.lock"])
def test_a_lock_that_was_left_behind_is_ignored(
    places: Places, lock: str, written: int
) -> None:
    (places.outputs / lock).touch()
    os.utime(places.outputs / lock, (written, written))
    assert places.present("job", 0, ENDINGS, job_id="job") is None


def test_the_locks_of_other_files_hold_nobody_up(places: Places) -> None:
    for name in ("job_1.png.lock", "job_00.png.lock", "jobs.mp4.lock"):
        (places.outputs / name).touch()
    assert places.present("job", 0, ENDINGS, job_id="job") is None


async def test_a_file_that_is_adopted_is_made_durable_where_it_is(
    places: Places, calls: Calls
) -> None:
    found = places.outputs / "job_0.png"
    found.write_bytes(b"whole")
    calls.know(found)
    assert await places.adopt(found, "job_0.png") == found
    assert calls.made == ["job_0.png", "outputs"]


async def test_a_file_of_the_reference_app_gets_our_name_and_keeps_its_own(
    places: Places, calls: Calls
) -> None:
    found = places.outputs / "job.mp4"
    found.write_bytes(b"film")
    calls.know(found)
    final = await places.adopt(found, "job_0.mp4")
    assert final == places.outputs / "job_0.mp4"
    assert final.samefile(found)
    assert calls.made == ["job.mp4", "job_0.mp4.link -> job_0.mp4", "outputs"]
    assert left(places) == []
    assert places.present("job", 0, ENDINGS) == final


async def test_a_second_name_never_stands_where_parts_are_written(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that goes on after a crash must not write into the first name."""

    def crash(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "crash")

    found = places.outputs / "job.mp4"
    found.write_bytes(b"film")
    monkeypatch.setattr("os.replace", crash)
    with pytest.raises(DiskTrouble):
        await places.adopt(found, "job_0.mp4")
    write(places, places.part("job", 0), b"x")
    assert found.read_bytes() == b"film"


async def test_sweeping_removes_the_parts_of_that_job_only(places: Places) -> None:
    for name in ("job_0.part", "job_1.part", "job_1.part.json", "job2_0.part"):
        (places.partial / name).touch()
    await places.sweep("job")
    assert left(places) == ["job2_0.part"]


async def test_what_was_begun_since_the_start_is_swept_too(places: Places) -> None:
    await places.commit(part_of(places, "other"), "other_0.png")
    part_of(places, "job")
    places.partial.joinpath("job_0.part.json").touch()
    await places.sweep("job")
    assert left(places) == []


async def test_a_job_that_has_left_nothing_costs_no_look(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    await places.require_free(0)
    await places.commit(part_of(places, "job"), "job_0.png")
    monkeypatch.setattr(places._files, "sweep", lambda _: pytest.fail("it looked"))
    await places.sweep("job")


async def test_at_the_start_only_the_parts_of_open_jobs_stay(places: Places) -> None:
    for name in ("a_0.part", "a_1.part.json", "a_1_0.part", "b_0.part", "c_0.png.link"):
        (places.partial / name).touch()
    await places.sweep_all_but({"a", "b"})
    assert left(places) == ["a_0.part", "a_1.part.json", "b_0.part"]


async def test_too_little_room_is_trouble_that_says_what_to_do(places: Places) -> None:
    await places.require_free(0)
    with pytest.raises(DiskTrouble, match="free some space"):
        await places.require_free(2**60)


async def test_a_download_is_given_its_room_before_a_byte(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    mib = 2**20
    usage = shutil.disk_usage(places.outputs)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000 * mib))
    one, other = places.part("a", 0), places.part("b", 0)
    keep = 100 * mib
    with places.room(one, keep=keep) as reserve, places.room(other, keep=keep) as also:
        await asyncio.to_thread(reserve, 600 * mib)
        with pytest.raises(DiskTrouble, match="does not fit"):
            also(301 * mib)
        one.touch()
        os.truncate(one, 600 * mib)
        also(900 * mib)
    await places.require_free(999 * mib)


def test_free_space_is_that_of_the_disk(places: Places) -> None:
    assert 0 < places.free() <= shutil.disk_usage(places.outputs).total


async def test_a_caller_that_goes_leaves_the_others_their_files(places: Places) -> None:
    async with asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(places.commit(part_of(places, "a"), "a_0.png"))
        stays = tasks.create_task(places.commit(part_of(places, "b"), "b_0.png"))
        await asyncio.sleep(0)
        gone.cancel()
    assert stays.result().exists()


async def test_the_files_are_named_and_their_stamps_told(places: Places) -> None:
    file = places.outputs / "a_0.png"
    file.write_bytes(b"abc")
    os.utime(file, ns=(0, 1_234_567_890))
    (places.outputs / "b_0.png").symlink_to(file)
    (places.outputs / "dir").mkdir()
    (places.outputs / ".hidden").touch()
    assert sorted(await places.names()) == ["a_0.png", "b_0.png", "dir"]
    stamps = await places.stamps(["a_0.png", "b_0.png", "dir", "c_0.png"])
    assert stamps == {"a_0.png": Stamp(3, 1_234)}


async def test_an_output_is_removed_so_that_it_stays_removed(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = places.outputs / "a_0.png"
    file.touch()
    synced: list[bool] = []
    monkeypatch.setattr("os.fsync", lambda _: synced.append(file.exists()))
    await places.remove("a_0.png")
    assert synced == [False]
    await places.remove("a_0.png")
    for name in ("../a_0.png", ".partial", "/etc/passwd", ""):
        with pytest.raises(ValueError, match="is no name"):
            await places.remove(name)


@pytest.mark.parametrize("method", ["names", "stamps", "remove"])
async def test_without_the_directory_there_is_no_word_on_files(
    places: Places, method: str
) -> None:
    places.partial.rmdir()
    arguments: dict[str, list[Any]] = {"stamps": [["a"]], "remove": ["a"]}
    with pytest.raises(DiskTrouble) as missing:
        await getattr(places, method)(*arguments.get(method, []))
    assert missing.value.code == "disk_missing"
