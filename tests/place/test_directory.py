from __future__ import annotations

import errno
import gc
import os
from pathlib import Path

import pytest

from materializer.errors import DiskTrouble
from materializer.place import directory
from materializer.place.directory import Directory, is_name

posix = pytest.mark.skipif(os.name == "nt", reason="has no descriptors of directories")


@pytest.fixture(params=["held", pytest.param("by path", marks=posix)])
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a test with descriptors and, as on Windows, without."""
    held = request.param == "held" and os.name != "nt"
    monkeypatch.setattr(directory, "HOLDS", held)
    return held


@pytest.fixture
def there(outputs: Path, state: Path, held: bool) -> Directory:
    opened = Directory.open(outputs, within=state)
    assert isinstance(opened.handle, int) == held
    return opened


def write(place: Directory, name: str, data: bytes) -> None:
    file = place.open_file(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(file, data)
    os.close(file)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".partial", "a/b", "/a", "..\\a", "a\\b", "a\0"]
)
def test_what_is_no_single_visible_name_is_a_slip(there: Directory, name: str) -> None:
    assert not is_name(name)
    with pytest.raises(ValueError, match="is no name of a file"):
        there.open_file(name, os.O_RDONLY)
    with pytest.raises(ValueError, match="is no name of a file"):
        there.move("a", there, name)
    with pytest.raises(ValueError, match="is no name of a file"):
        there.unlink(name)


def test_files_are_made_renamed_linked_and_removed_by_name(
    there: Directory, outputs: Path
) -> None:
    parts = there.child(".partial")
    write(parts, "a.part", b"whole")
    assert (outputs / ".partial" / "a.part").stat().st_mode & 0o777 == 0o600
    parts.sync_file("a.part")
    parts.move("a.part", there, "a.png")
    there.sync()
    there.link("a.png", parts, "b.link")
    assert there.stat("a.png").st_ino == parts.stat("b.link").st_ino
    assert parts.names() == ["b.link"]
    parts.unlink("b.link")
    parts.unlink("b.link")
    assert parts.names() == []
    assert sorted(there.names()) == [".partial", "a.png"]
    assert (outputs / "a.png").read_bytes() == b"whole"


def test_no_link_is_taken_for_a_file(there: Directory, outputs: Path) -> None:
    (outputs / "secret").write_bytes(b"keep")
    (outputs / "a.png").symlink_to("secret")
    for flags in (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
        with pytest.raises(OSError, match="symbolic links") as raised:
            there.open_file("a.png", flags)
        assert raised.value.errno == errno.ELOOP
    with pytest.raises(OSError, match="is a link"):
        there.require_file("a.png")
    assert (outputs / "secret").read_bytes() == b"keep"


@posix
def test_a_pipe_in_the_place_of_a_file_is_refused_and_halts_nobody(
    there: Directory, outputs: Path
) -> None:
    os.mkfifo(outputs / "a.png")
    with pytest.raises(OSError, match="no file at all"):
        there.open_file("a.png", os.O_RDONLY)


def test_a_link_that_stays_within_is_followed(state: Path, held: bool) -> None:
    (state / "big" / ".partial").mkdir(parents=True)
    (state / "media").symlink_to("big")
    opened = Directory.open(state / "media", within=state)
    write(opened.child(".partial"), "a", b"x")
    assert (state / "big" / ".partial" / "a").exists()


def test_the_state_directory_itself_may_be_a_link(
    tmp_path: Path, outputs: Path, state: Path, held: bool
) -> None:
    link = tmp_path / "link"
    link.symlink_to(state)
    write(Directory.open(link / "media" / "outputs", within=link), "a", b"x")
    assert (outputs / "a").exists()


@pytest.mark.parametrize("at", ["media", "media/outputs"])
def test_a_link_that_leads_out_is_refused_in_words(
    state: Path, elsewhere: Path, at: str, held: bool
) -> None:
    (elsewhere / "outputs").mkdir()
    (state / at).parent.mkdir(parents=True)
    (state / at).symlink_to(elsewhere)
    with pytest.raises(DiskTrouble, match="--state-dir") as raised:
        Directory.open(state / "media" / "outputs", within=state)
    assert raised.value.code == "disk_outside"


def test_a_child_that_is_a_link_is_refused(
    there: Directory, outputs: Path, elsewhere: Path
) -> None:
    (outputs / ".partial").rmdir()
    (outputs / ".partial").symlink_to(elsewhere)
    with pytest.raises(OSError, match="is a link") as raised:
        there.child(".partial")
    assert raised.value.errno == errno.ELOOP


def test_what_is_missing_is_missing(state: Path, outputs: Path, held: bool) -> None:
    with pytest.raises(FileNotFoundError):
        Directory.open(outputs / "none", within=state)
    with pytest.raises(FileNotFoundError):
        Directory.open(outputs, within=state).child("none")


@posix
def test_a_step_that_is_swapped_for_a_link_meanwhile_is_not_taken(
    state: Path, outputs: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "outputs").mkdir()
    realpath = os.path.realpath

    def swap_after(path: Path, *, strict: bool) -> str:
        found = realpath(path, strict=strict)
        if path == outputs:
            (state / "media").rename(state / "was")
            (state / "media").symlink_to(elsewhere)
        return found

    monkeypatch.setattr("os.path.realpath", swap_after)
    with pytest.raises(OSError, match="is a link"):
        Directory.open(outputs, within=state)


@posix
def test_a_held_directory_stays_the_one_it_was(
    state: Path, outputs: Path, elsewhere: Path
) -> None:
    held = Directory.open(outputs, within=state)
    assert held.is_at(outputs)
    outputs.rename(state / "was")
    assert not held.is_at(outputs)
    outputs.symlink_to(elsewhere)
    assert not held.is_at(outputs)
    write(held, "a.png", b"x")
    assert (state / "was" / "a.png").exists()
    assert [path.name for path in elsewhere.iterdir()] == [".partial"]


@posix
def test_descriptors_are_closed_with_what_holds_them(
    state: Path, outputs: Path
) -> None:
    held = Directory.open(outputs, within=state)
    descriptor = held.handle
    assert isinstance(descriptor, int)
    os.fstat(descriptor)
    del held
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_syncs_no_directories_is_forgiven(
    state: Path, outputs: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, "no such thing")

    monkeypatch.setattr("os.fsync", refuse)
    Directory.open(outputs, within=state).sync()


@posix
def test_a_directory_that_cannot_be_synced_is_an_error(
    state: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="Input/output"):
        Directory.open(outputs, within=state).sync()
