from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from materializer.errors import GalleryUnusable
from materializer.gallery import Gallery, items, ledger, outbox, repair
from materializer.gallery.items import Wanted
from materializer.model import Account, Job, Placed, Settlement
from materializer.plan import OVERLAP_MS, Work, payloads

ME = Account("https://happy.example", "iss|me")
DATA = Path(__file__).parents[1] / "data"
JOBS = 300
PAGE = 4096
SOON = 10


def enter(db: sqlite3.Connection, number: int) -> None:
    name = f"j{number:03}"
    job = Job(name, "succeeded", "icon", prompt=f"<{name}>", completed_at=number)
    placed = Placed(0, "image", f"/o/{name}_0.png", 10, "ab", "image/png")
    ledger.remember(db, ME, [Work(job, "register")])
    told = tuple(payloads(job, [placed]))
    ledger.settle(db, ME, Settlement(job, "done", (placed,), told), 1, {})


def enter_all(db: sqlite3.Connection) -> None:
    ledger.signed_in(db, ME.owner)
    ledger.cursors(db, ME, first=7)
    for number in range(JOBS):
        enter(db, number)
    outbox.acknowledge(db, "app", ME.owner, 5)
    db.execute("UPDATE items SET removed_at = 1 WHERE job_id = 'j007'")


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A gallery with items, one of which the person removed."""
    path = tmp_path / "gallery.db"
    gallery = Gallery.open(path, tmp_path)
    await gallery.write(enter_all)
    await gallery.close()
    return path


def spoil(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(b"\xa5" * PAGE)


def root(db: sqlite3.Connection, name: str) -> int:
    found = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,))
    return int(found.fetchone()[0])


def spoil_root(path: Path, name: str) -> None:
    """Damage the first page of a table or an index."""
    with closing(sqlite3.connect(path)) as db:
        page = root(db, name)
    spoil(path, page)


def spoil_row(path: Path, text: bytes) -> None:
    """Damage every page that has a text."""
    content = path.read_bytes()
    at = content.find(text)
    assert at > 0
    while at > 0:
        spoil(path, at // PAGE + 1)
        at = content.find(text, at + 1)


def damaged(path: Path) -> list[Path]:
    found = sorted(path.parent.glob("gallery.db.damaged-*"))
    return [file for file in found if not file.name.endswith("-wal")]


async def listed(gallery: Gallery) -> list[str]:
    page = await gallery.read(items.page, ME.owner, Wanted(limit=500))
    assert page.total == len(page.items)
    return [item.job_id for item in page.items]


def sound(gallery: Gallery) -> None:
    assert gallery._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


async def test_what_nothing_is_lost_of_is_all_there_again(path: Path) -> None:
    before = path.read_bytes()
    spoil_root(path, "sqlite_autoindex_jobs_1")
    spoiled = path.read_bytes()
    gallery = Gallery.open(path, path.parent, mend=True)
    await gallery.check()
    names = await listed(gallery)
    assert len(names) == JOBS - 1
    assert "j007" not in names, "what was removed stays removed"
    page = await gallery.read(items.page, ME.owner, Wanted(search="j123"))
    assert [item.prompt for item in page.items] == ["<j123>"]
    assert await gallery.read(outbox.acknowledged, "app", ME.owner) == 5
    assert await gallery.read(ledger.last_owner) == ME.owner
    sound(gallery)
    await gallery.close()
    [aside] = damaged(path)
    assert aside.read_bytes() == spoiled != before
    for file in (aside, path):
        assert file.stat().st_mode & 0o777 == 0o600


async def test_of_a_table_with_a_hole_both_sides_are_kept(path: Path) -> None:
    spoil_row(path, b'"prompt": "<j150>"')
    gallery = Gallery.open(path, path.parent, mend=True)
    await gallery.check()
    updates = await gallery.read(outbox.after, ME.owner, 0, 999)
    told = [update.payload["jobId"] for update in updates]
    assert told == sorted(told)
    assert {"j000", "j299"} <= {*told}
    assert "j150" not in told
    assert JOBS - 40 < len(told) < JOBS
    assert len(await listed(gallery)) == JOBS - 1
    await gallery.close()


async def test_items_whose_job_is_lost_wait_for_their_files_to_be_entered(
    path: Path,
) -> None:
    spoil_row(path, b"icon<j150>")
    gallery = Gallery.open(path, path.parent, mend=True)
    await gallery.check()
    names = await listed(gallery)
    assert "j150" not in names
    assert JOBS - 60 < len(names) < JOBS - 1
    assert await gallery.read(repair.must_fill)
    await gallery.write(repair.filled)
    assert not await gallery.read(repair.must_fill)
    await gallery.close()


@pytest.mark.parametrize("rubbish", [b"no database at all" * 999, b"\0" * PAGE])
async def test_what_cannot_be_read_at_all_is_set_aside_for_an_empty_one(
    tmp_path: Path, rubbish: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gallery.db"
    path.write_bytes(rubbish)
    gallery = Gallery.open(path, tmp_path, mend=True)
    assert await listed(gallery) == []
    [aside] = damaged(path)
    assert aside.read_bytes() == rubbish
    assert await gallery.read(repair.note) == aside.name
    [record] = [one for one in caplog.records if one.levelname == "ERROR"]
    assert aside.name in record.getMessage()
    await gallery.write(repair.noted)
    assert await gallery.read(repair.note) is None
    await gallery.close()
    await Gallery.open(path, tmp_path, mend=True).close()
    assert damaged(path) == [aside]


@pytest.fixture
async def cut_off(path: Path, tmp_path: Path) -> Path:
    """What a power cut has left: of one job, only the log knows."""
    gallery = Gallery.open(path, tmp_path)
    await gallery.write(enter, 998)
    copy = tmp_path / "cut off" / "gallery.db"
    copy.parent.mkdir()
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", f"{copy}{ending}")
    spoil(copy, await gallery.read(root, "consumers"))
    await gallery.close()
    return copy


async def test_what_was_only_in_the_log_is_kept(cut_off: Path) -> None:
    gallery = Gallery.open(cut_off, cut_off.parent, mend=True)
    await gallery.check()
    assert await gallery.read(repair.note) is not None
    assert "j998" in await listed(gallery)
    assert await gallery.read(outbox.acknowledged, "app", ME.owner) is None
    await gallery.close()


async def test_the_log_of_what_is_no_database_any_more_is_set_aside_with_it(
    cut_off: Path,
) -> None:
    log = Path(f"{cut_off}-wal").read_bytes()
    spoil(cut_off, 1)
    repair.mend(cut_off)
    assert cut_off.stat().st_mode & 0o777 == 0o600
    [aside] = damaged(cut_off)
    assert Path(f"{aside}-wal").read_bytes() == log != b""
    gallery = Gallery.open(cut_off, cut_off.parent, mend=True)
    assert await listed(gallery) == []
    await gallery.close()
    assert damaged(cut_off) == [aside]


async def test_a_gallery_of_the_first_version_is_mended_and_then_brought_here(
    tmp_path: Path,
) -> None:
    path = tmp_path / "gallery.db"
    shutil.copy(DATA / "gallery-1.db", path)
    spoil_root(path, "items_newest")
    gallery = Gallery.open(path, tmp_path, mend=True)
    page = await gallery.read(
        items.page, "https://happy.example|me", Wanted(search="fox")
    )
    assert [item.id for item in page.items] == ["fox_0", "fox_1"]
    await gallery.close()


async def test_a_number_that_was_given_out_never_comes_again(path: Path) -> None:
    before = time.time_ns() // 1_000_000
    spoil_root(path, "outbox")
    gallery = Gallery.open(path, path.parent, mend=True)
    await gallery.check()
    update = await gallery.write(outbox.append, ME.owner, "open", {})
    assert before < update.seq < 2**53
    assert (await gallery.write(outbox.append, ME.owner, "open", {})).seq > update.seq
    await gallery.close()


async def test_a_lost_cursor_goes_back_to_the_last_word_once(path: Path) -> None:
    spoil_root(path, "cursors")
    last_word = int(time.time()) * 1000 - 86_400_000
    os.utime(path, (last_word / 1000, last_word / 1000))
    gallery = Gallery.open(path, path.parent, mend=True)
    await gallery.check()
    now = time.time_ns() // 1_000_000
    cursors = await gallery.write(ledger.cursors, ME, first=now)
    assert cursors["succeeded"] == last_word - OVERLAP_MS
    other = Account(ME.deployment, "iss|new")
    assert (await gallery.write(ledger.cursors, other, first=now))["failed"] == now
    await gallery.close()


async def test_a_reader_that_meets_the_damage_reads_the_mended_one(path: Path) -> None:
    gallery = Gallery.open(path, path.parent, mend=True)
    mended = threading.Event()
    gallery.on_mended = mended.set
    spoil_root(path, "outbox")
    assert await gallery.read(outbox.after, ME.owner, 0, 9) == []
    assert mended.is_set()
    assert len(await listed(gallery)) == JOBS - 1
    await gallery.close()


async def test_writes_that_meet_the_damage_are_made_again(
    path: Path,
) -> None:
    gallery = Gallery.open(path, path.parent, mend=True)

    def fact(db: sqlite3.Connection, name: str) -> str:
        db.execute("INSERT INTO facts VALUES (?, '')", (name,))
        return name

    def announce(db: sqlite3.Connection) -> int:
        return outbox.append(db, ME.owner, "open", {}).seq

    spoil_root(path, "outbox")
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(gallery.write(fact, "first"))
        harmed = tasks.create_task(gallery.write(announce))
        last = tasks.create_task(gallery.write(fact, "last"))
    assert (first.result(), last.result()) == ("first", "last")
    assert harmed.result() > 0
    facts = await gallery.read(
        lambda db: {row["name"] for row in db.execute("SELECT name FROM facts")}
    )
    assert {"first", "last"} <= facts
    sound(gallery)
    await gallery.close()


async def test_who_may_not_mend_is_told_and_changes_nothing(path: Path) -> None:
    gallery = Gallery.open(path, path.parent)
    spoil_root(path, "outbox")
    for ask in (
        gallery.read(outbox.after, ME.owner, 0, 9),
        gallery.write(outbox.append, ME.owner, "open", {}),
        gallery.check(),
    ):
        with pytest.raises(OSError, match=r"damaged|malformed") as refused:
            await ask
        assert refused.value.errno == errno.EIO
    assert damaged(path) == []
    await gallery.close()
    path.write_bytes(b"rubbish" * 999)
    with pytest.raises(GalleryUnusable, match="run repairs it"):
        Gallery.open(path, path.parent)


async def test_what_cannot_be_mended_yet_is_mended_when_it_can(path: Path) -> None:
    gallery = Gallery.open(path, path.parent, mend=True)
    spoil_root(path, "outbox")
    hindrance = path.with_name("gallery.db.mending")
    hindrance.mkdir()
    with pytest.raises(OSError, match=r"mending|directory"):
        await gallery.read(outbox.after, ME.owner, 0, 9)
    with pytest.raises(OSError, match=r"mending|directory"):
        await gallery.write(outbox.append, ME.owner, "open", {})
    assert damaged(path) == []
    hindrance.rmdir()
    assert (await gallery.write(outbox.append, ME.owner, "open", {})).seq > 0
    assert len(damaged(path)) == 1
    await gallery.close()


async def test_a_look_at_a_sound_gallery_changes_nothing(path: Path) -> None:
    gallery = Gallery.open(path, path.parent, mend=True)
    await gallery.check()
    assert damaged(path) == []
    assert await gallery.read(repair.note) is None
    await gallery.close()


async def test_a_look_that_is_given_up_ends_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.open(path, path.parent, mend=True)
    begun, ended = threading.Event(), threading.Event()

    def look(db: sqlite3.Connection) -> bool:
        db.create_function("begin", 0, begun.set)
        try:
            with pytest.raises(sqlite3.OperationalError, match="interrupted"):
                db.execute(
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT begin() FROM n)"
                    " SELECT count(*) FROM n"
                ).fetchone()
        finally:
            ended.set()
        return True

    monkeypatch.setattr(repair, "is_sound", look)
    async with asyncio.TaskGroup() as tasks:
        checking = tasks.create_task(gallery.check())
        assert await asyncio.to_thread(begun.wait, SOON)
        checking.cancel()
    assert await asyncio.to_thread(ended.wait, SOON)
    await gallery.close()


async def test_two_repairs_in_one_second_keep_both_files(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    for content in (b"one" * 2000, b"two" * 2000):
        path.write_bytes(content)
        repair.mend(path)
    assert {file.read_bytes()[:3] for file in damaged(path)} == {b"one", b"two"}


async def test_a_row_that_holds_what_nobody_wrote_is_not_kept(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.create_function("spaced", 1, lambda text: text)
        db.execute("DROP TRIGGER items_altered")
        db.execute("UPDATE items SET bytes = 'rubbish' WHERE job_id = 'j010'")
        db.commit()
    repair.mend(path)
    gallery = Gallery.open(path, path.parent)
    assert {"j009", "j011"} <= (names := {*await listed(gallery)})
    assert "j010" not in names
    await gallery.close()


async def test_words_about_the_damage_that_are_no_text_are_damage(path: Path) -> None:
    sql, garbled = (
        b"CREATE INDEX jobs_to_tell",
        b"CREATE \xd7\xd7\xd7\xd7\xd7 jobs_to_tell",
    )
    path.write_bytes(path.read_bytes().replace(sql, garbled))
    with pytest.raises(GalleryUnusable, match="is damaged"):
        Gallery.open(path, path.parent)
    gallery = Gallery.open(path, path.parent, mend=True)
    await gallery.close()
    assert damaged(path)


@pytest.mark.parametrize("number", [99, 3, 1, 0, -1])
async def test_a_wrong_number_on_tables_of_ours_is_damage_and_no_newer_version(
    path: Path, number: int
) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {number}")
    with pytest.raises(GalleryUnusable, match="is damaged"):
        Gallery.open(path, path.parent)
    gallery = Gallery.open(path, path.parent, mend=True)
    names = await listed(gallery)
    assert len(names) == JOBS - 1
    assert "j007" not in names, "what was removed stays removed"
    assert len(damaged(path)) == 1
    await gallery.check()
    await gallery.close()
    await Gallery.open(path, path.parent).close()
    assert len(damaged(path)) == 1


async def test_a_number_of_a_file_that_is_damaged_besides_is_not_believed(
    path: Path,
) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = -1")
    spoil_row(path, b'"prompt": "<j150>"')
    repair.mend(path)
    gallery = Gallery.open(path, path.parent)
    assert len(await listed(gallery)) == JOBS - 1
    await gallery.close()


async def test_of_texts_that_are_none_any_more_only_their_rows_are_lost(
    path: Path,
) -> None:
    content = path.read_bytes()
    for name in ("j020", "j200"):
        text = f"<{name}>".encode()
        content = content.replace(text, b"\xff" * len(text))
    path.write_bytes(content)
    gallery = Gallery.open(path, path.parent, mend=True)
    assert len(await listed(gallery)) == JOBS - 3
    assert await gallery.read(repair.must_fill)
    updates = await gallery.read(outbox.after, ME.owner, 0, 999)
    assert len(updates) == JOBS - 2
    assert len(damaged(path)) == 1
    await gallery.check()
    assert len(damaged(path)) == 1
    await gallery.close()


@pytest.mark.parametrize(
    ("words", "garbled"),
    [
        (b"  sha256 TEXT NOT NULL", b"  sha257 TEXT NOT NULL"),
        (b"new.removed_at IS NULL BEGIN", b"new.remofed_at IS NULL BEGIN"),
        (b"shelf, prompt, capability", b"shelf, prompt, capabylity"),
    ],
    ids=["a table", "a trigger", "the index of words"],
)
async def test_a_name_that_is_another_by_now_is_damage_that_sqlite_does_not_see(
    path: Path, words: bytes, garbled: bytes
) -> None:
    content = path.read_bytes()
    assert words in content
    path.write_bytes(content.replace(words, garbled))
    gallery = Gallery.open(path, path.parent, mend=True)
    await gallery.check()
    assert len(damaged(path)) == 1
    await gallery.write(enter, 999)
    page = await gallery.read(items.page, ME.owner, Wanted(search="j999"))
    assert [item.id for item in page.items] == ["j999_0"]
    await gallery.close()


@pytest.mark.parametrize("at", [18, 47], ids=["only to be read", "unsupported"])
async def test_a_number_of_sqlite_s_own_that_is_wrong_is_damage(
    path: Path, at: int
) -> None:
    content = bytearray(path.read_bytes())
    content[at] = 99
    path.write_bytes(content)
    gallery = Gallery.open(path, path.parent, mend=True)
    assert len(damaged(path)) == 1
    await gallery.write(enter, 999)
    await gallery.close()
