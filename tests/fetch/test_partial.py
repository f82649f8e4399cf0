from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from pathlib import Path

import pytest

from materializer.fetch import partial
from materializer.fetch.headers import Body
from materializer.fetch.partial import Partial, private, source_of

URL = "https://files.test/a.mp4?signature=secret"
BODY = Body(100, "ab" * 32)


def begun(path: Path, count: int, body: Body = BODY, url: str = URL) -> None:
    """Leave a part as a crash does."""
    with Partial(path, url, private) as part:
        part.begin(body)
        part.note()
        part.write(memoryview(bytes(range(count))))


def wait_until_noted(path: Path, synced: int) -> None:
    note, due = path.with_name(f"{path.name}.json"), time.monotonic() + 5
    while json.loads(note.read_bytes())["synced"] != synced:
        assert time.monotonic() < due
        threading.Event().wait(0.001)


def kept(path: Path, url: str = URL) -> int:
    with Partial(path, url, private) as part:
        return part.size


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job_0.part"


def test_what_was_written_is_there_after_a_crash_of_the_program(path: Path) -> None:
    begun(path, 40)
    with Partial(path, URL, private) as part:
        assert (part.size, part.body) == (40, BODY)
        assert part.hash().digest() == hashlib.sha256(bytes(range(40))).digest()
        part.begin(BODY)
        part.write(memoryview(b"more"))
        assert part.read(0, 99) == bytes(range(40)) + b"more"
        assert part.size == 44


@pytest.mark.parametrize("ending", ["", ".json.new"])
def test_a_file_of_which_it_is_a_second_name_stays_as_it_is(
    path: Path, ending: str
) -> None:
    """A crash amid an adoption leaves such a part, and others can lay one there."""
    other = path.with_name("other.mp4")
    other.write_bytes(b"a whole film")
    path.with_name(path.name + ending).hardlink_to(other)
    begun(path, 40)
    assert other.read_bytes() == b"a whole film"
    assert path.read_bytes() == bytes(range(40))


def test_files_are_private_and_hold_no_link(path: Path) -> None:
    begun(path, 40)
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o777 in {0o600, 0o644}
        assert b"secret" not in file.read_bytes()
        assert b"files.test" not in file.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_crash_of_the_computer_leaves_what_was_synced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial, "_SYNC_EVERY", 30)
    synced: list[int] = []
    real = os.fsync

    def fsync(file: int) -> None:
        synced.append(os.fstat(file).st_size)
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with Partial(path, URL, private) as part:
        part.begin(BODY)
        part.note()
        for size in (16, 32, 48, 64):
            part.write(memoryview(b"x" * 16))
            if size == 32:
                wait_until_noted(path, 32)
    assert synced == [32, 64]
    assert kept(path) == 64
    begun(path.with_name("other.part"), 20)
    monkeypatch.setattr(partial, "_boot", lambda: "another start")
    assert kept(path) == 64
    assert kept(path.with_name("other.part")) == 0


def go_on(part: Partial, end: str) -> None:
    """Do one thing, or write until the sync that is under way has ended."""
    for _ in range(1000 if end == "write" else 1):
        part.write(memoryview(b"")) if end == "write" else getattr(part, end)()
        threading.Event().wait(0.001)


@pytest.mark.parametrize("end", ["write", "finish", "restart"])
def test_a_sync_that_fails_beside_the_copying_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(partial, "_SYNC_EVERY", 30)
    failed = threading.Event()

    def fsync(_: int) -> None:
        failed.set()
        raise OSError(errno.EIO, "the disk fails")

    with Partial(path, URL, private) as part:
        part.begin(BODY)
        part.note()
        with monkeypatch.context() as disk:
            disk.setattr(os, "fsync", fsync)
            part.write(memoryview(b"x" * 32))
            assert failed.wait(5)
        with pytest.raises(OSError, match="the disk fails"):
            go_on(part, end)


def test_of_a_whole_body_the_last_byte_is_asked_for_again(path: Path) -> None:
    begun(path, 100)
    assert kept(path) == 99


@pytest.mark.parametrize("body", [Body(), Body(100), Body(None, "ab" * 32)])
def test_what_cannot_be_told_apart_is_not_kept(path: Path, body: Body) -> None:
    begun(path, 40, body)
    assert kept(path) == 0
    assert list(path.parent.iterdir()) == [path]


def test_a_part_of_another_source_is_not_kept(path: Path) -> None:
    begun(path, 40)
    assert kept(path, "https://files.test/b.mp4") == 0
    assert kept(path, "https://files.test/a.mp4?signature=renewed") == 40


NOTE = {
    "body": {"total": 100, "sha256": "ab" * 32, "etag": None, "modified": None},
    "source": source_of(URL),
    "boot": "",
    "synced": 0,
}


@pytest.mark.parametrize(
    "note",
    [
        "",
        "[]",
        "null",
        json.dumps(NOTE | {"synced": -1}),
        json.dumps(NOTE | {"body": {"total": "100", "sha256": "ab" * 32}}),
        json.dumps(NOTE | {"body": {"what": 1}}),
        json.dumps(NOTE | {"more": 1}),
    ],
)
def test_a_note_that_cannot_be_read_says_nothing(path: Path, note: str) -> None:
    begun(path, 40)
    path.with_name("job_0.part.json").write_text(note)
    assert kept(path) == 0


def test_a_fresh_start_forgets_everything(path: Path) -> None:
    begun(path, 40)
    with Partial(path, URL, private) as part:
        part.restart()
        assert (part.size, part.body) == (0, Body())
    assert kept(path) == 0
    assert path.stat().st_size == 0


def test_bytes_beyond_what_counts_are_cut_off(path: Path) -> None:
    path.write_bytes(b"something that no note speaks of")
    with Partial(path, URL, private) as part:
        part.begin(Body(3))
        part.write(memoryview(b"new"))
    assert path.read_bytes() == b"new"


def test_every_file_is_opened_by_the_opener(path: Path) -> None:
    opened: list[str] = []

    def opener(name: str, flags: int) -> int:
        opened.append(Path(name).name)
        return private(name, flags)

    for _ in range(2):
        with Partial(path, URL, opener) as part:
            part.begin(BODY)
            part.note()
            part.write(memoryview(b"x"))
    assert set(opened) == {path.name, f"{path.name}.json", "job_0.part.new"}


def test_a_source_is_known_without_its_signature() -> None:
    assert source_of(URL) == source_of("https://files.test/a.mp4")
    assert source_of(URL) != source_of("http://files.test/a.mp4")
    assert "files" not in source_of(URL)


def test_a_disk_that_takes_less_than_it_is_given_leaves_no_gap(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = os.urandom(10_000)
    sizes: list[int] = []
    write = os.write

    def some(file: int, data: memoryview) -> int:
        sizes.append(len(data))
        return write(file, data[: 1 + len(data) // 3])

    monkeypatch.setattr(os, "write", some)
    with Partial(path, URL, private) as part:
        part.begin(Body(len(body)))
        part.write(memoryview(body))
        assert part.size == len(body)
        assert part.hash().digest() == hashlib.sha256(body).digest()
    assert path.read_bytes() == body
    assert len(sizes) > 10
