from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from materializer.errors import DiskTrouble, OutputDamaged
from materializer.place import directory
from materializer.place.files import LOCK_STALE, Files


@pytest.fixture(params=["held", "by path"])
def files(
    request: pytest.FixtureRequest, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> Files:
    """Run a test with descriptors and, as on Windows, without."""
    held = request.param == "held" and os.name != "nt"
    monkeypatch.setattr(directory, "HOLDS", held)
    return Files(outputs, outputs / ".partial")


def names(path: Path) -> list[str]:
    return sorted(found.name for found in path.iterdir() if found.is_file())


def test_a_part_becomes_an_output_and_what_was_noted_of_it_goes(
    files: Files, outputs: Path
) -> None:
    (outputs / ".partial" / "a_0.part").write_bytes(b"whole")
    (outputs / ".partial" / "a_0.part.json").touch()
    (outputs / ".partial" / "a_1.part.json").touch()
    assert files.written("a_0.part") == 5
    files.sync_part("a_0.part")
    files.rename("a_0.part", "a_0.png")
    files.sync()
    assert sorted(files.names()) == [".partial", "a_0.png"]
    assert (outputs / "a_0.png").read_bytes() == b"whole"
    assert names(outputs / ".partial") == ["a_1.part.json"]
    assert files.written("a_0.part") == 0


def test_files_of_both_directories_are_opened_and_of_no_other(
    files: Files, outputs: Path, elsewhere: Path
) -> None:
    for path in (outputs / "a", outputs / ".partial" / "b"):
        with open(path, "xb", opener=lambda p, flags: files.open(Path(p), flags)) as f:
            f.write(b"x")
        assert path.stat().st_mode & 0o777 == 0o600
    for path in (elsewhere / "a", outputs / "sub" / "a", outputs / ".." / "a"):
        with pytest.raises(ValueError, match="is not in the outputs"):
            files.open(path, os.O_RDONLY)


def test_a_part_that_is_gone_is_no_trouble_with_the_disk(files: Files) -> None:
    with pytest.raises(OutputDamaged, match="was removed"):
        files.sync_part("a_0.part")
    with pytest.raises(OutputDamaged, match="was removed"):
        files.rename("a_0.part", "a_0.png")
    with pytest.raises(OutputDamaged, match="was removed"):
        files.sync_output("a_0.png")
    with pytest.raises(OutputDamaged, match="was removed"):
        files.link("a.mp4", "a_0.mp4.link")


@pytest.mark.parametrize("gone", ["media/outputs", "media/outputs/.partial"])
def test_a_directory_that_is_gone_is_missing_and_is_never_made(
    files: Files, state: Path, outputs: Path, gone: str
) -> None:
    (outputs / ".partial" / "a_0.part").write_bytes(b"whole")
    files.sync_part("a_0.part")
    (state / gone).rename(state / "away")
    with pytest.raises(FileNotFoundError):
        files.sync_part("a_0.part")
    with pytest.raises(FileNotFoundError):
        files.rename("a_0.part", "a_0.png")
    assert not (state / gone).exists()
    (state / "away").rename(state / gone)
    files.rename("a_0.part", "a_0.png")
    assert names(outputs) == ["a_0.png"]


def test_an_empty_directory_in_the_place_of_the_disk_gets_nothing(
    files: Files, state: Path, outputs: Path
) -> None:
    files.names()
    outputs.rename(state / "detached")
    outputs.mkdir()
    (state / "detached" / ".partial" / "a_0.part").touch()
    with pytest.raises(FileNotFoundError):
        files.rename("a_0.part", "a_0.png")
    assert list(outputs.iterdir()) == []


@pytest.mark.parametrize("name", ["media/outputs", "media/outputs/.partial"])
def test_a_directory_that_is_swapped_for_a_link_is_not_written_to(
    files: Files, state: Path, elsewhere: Path, name: str
) -> None:
    (state / name / "a_0.part").touch()
    (elsewhere / "a_0.part").touch()
    files.names()
    (state / name).rename(state / "was")
    (state / name).symlink_to(elsewhere)
    with pytest.raises((DiskTrouble, OSError), match="link"):
        files.open(state / name / "new", os.O_WRONLY | os.O_CREAT)
    with pytest.raises((DiskTrouble, OSError), match="link"):
        files.rename("a_0.part", "a_0.png")
    assert names(elsewhere) == ["a_0.part"]
    assert names(elsewhere / ".partial") == []


@pytest.mark.skipif(os.name == "nt", reason="has no descriptors of directories")
def test_a_link_that_comes_between_look_and_rename_leads_nowhere(
    state: Path, outputs: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(outputs, outputs / ".partial")
    (outputs / ".partial" / "a_0.part").write_bytes(b"x")
    replace = os.replace

    def swap_first(old: str, new: str, **at: int) -> None:
        outputs.rename(state / "was")
        outputs.symlink_to(elsewhere)
        replace(old, new, **at)

    monkeypatch.setattr("os.replace", swap_first)
    files.rename("a_0.part", "a_0.png")
    assert names(elsewhere) == []
    assert names(state / "was") == ["a_0.png"]


def test_a_link_in_the_place_of_a_part_does_not_become_an_output(
    files: Files, outputs: Path, elsewhere: Path
) -> None:
    (elsewhere / "secret").write_bytes(b"keep")
    (outputs / ".partial" / "a_0.part").symlink_to(elsewhere / "secret")
    with pytest.raises(OSError, match="link"):
        files.sync_part("a_0.part")
    with pytest.raises(OSError, match="link"):
        files.rename("a_0.part", "a_0.png")
    assert names(outputs) == []


def test_a_link_under_the_final_name_gives_way_and_what_it_led_to_stays(
    files: Files, outputs: Path, elsewhere: Path
) -> None:
    (elsewhere / "secret").write_bytes(b"keep")
    (outputs / "a_0.png").symlink_to(elsewhere / "secret")
    assert files.first(["a_0.png"]) is None
    (outputs / ".partial" / "a_0.part").write_bytes(b"new")
    files.rename("a_0.part", "a_0.png")
    assert not (outputs / "a_0.png").is_symlink()
    assert (outputs / "a_0.png").read_bytes() == b"new"
    assert (elsewhere / "secret").read_bytes() == b"keep"
    assert files.first(["a_0.gif", "a_0.png"]) == "a_0.png"


def test_a_second_name_is_the_same_file(files: Files, outputs: Path) -> None:
    (outputs / "a.mp4").write_bytes(b"film")
    files.link("a.mp4", "a_0.mp4.link")
    files.rename("a_0.mp4.link", "a_0.mp4")
    assert (outputs / "a_0.mp4").samefile(outputs / "a.mp4")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_where_no_link_can_be_made_it_is_a_durable_copy(
    files: Files, outputs: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    synced: list[int] = []
    fsync = os.fsync

    def note(file: int) -> None:
        synced.append(os.fstat(file).st_ino)
        fsync(file)

    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("os.fsync", note)
    (outputs / "a.mp4").write_bytes(b"film" * 2**19)
    files.link("a.mp4", "a_0.mp4.link")
    files.rename("a_0.mp4.link", "a_0.mp4")
    copy = outputs / "a_0.mp4"
    assert not copy.samefile(outputs / "a.mp4")
    assert copy.read_bytes() == b"film" * 2**19
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.stat().st_ino in synced


def test_a_disk_that_fails_is_not_mistaken_for_one_without_links(
    files: Files, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("os.link", refuse)
    (outputs / "a.mp4").write_bytes(b"film")
    with pytest.raises(OSError, match="Input/output"):
        files.link("a.mp4", "a_0.mp4.link")
    assert names(outputs / ".partial") == []


def test_a_link_that_a_crash_left_is_made_anew(files: Files, outputs: Path) -> None:
    (outputs / ".partial" / "a_0.mp4.link").write_bytes(b"old")
    (outputs / "a.mp4").write_bytes(b"film")
    files.link("a.mp4", "a_0.mp4.link")
    files.rename("a_0.mp4.link", "a_0.mp4")
    assert (outputs / "a_0.mp4").read_bytes() == b"film"


def test_the_second_name_of_a_file_that_has_it_already_leaves_nothing_over(
    files: Files, outputs: Path
) -> None:
    (outputs / "a.mp4").write_bytes(b"film")
    (outputs / "a_0.mp4").hardlink_to(outputs / "a.mp4")
    files.link("a.mp4", "a_0.mp4.link")
    files.rename_link("a_0.mp4.link", "a_0.mp4")
    assert names(outputs) == ["a.mp4", "a_0.mp4"]
    assert names(outputs / ".partial") == []


@pytest.mark.parametrize(
    ("age", "held"),
    [
        (0, True),
        (-60, True),
        (-1e9, False),
        (LOCK_STALE - 5, True),
        (LOCK_STALE + 5, False),
    ],
)
def test_a_lock_holds_a_file_until_it_is_old(
    files: Files, outputs: Path, age: float, held: bool
) -> None:
    assert not files.are_held(["a_0.png"])
    (outputs / "a_0.png.lock").touch()
    made = time.time() - age
    os.utime(outputs / "a_0.png.lock", (made, made))
    assert files.are_held(["a_0.png"]) == held


def test_sweeping_takes_the_parts_of_a_stem_and_leaves_what_is_of_another(
    files: Files, outputs: Path
) -> None:
    swept = ("a_0.part", "a_0.part.json", "a_12.part", "a_0.png.link", "a_0.part.new")
    kept = (
        "a_1_0.part",
        "a_1_0.part.json",
        "b_0.part",
        "ab_0.part",
        "A_0.part",
        "tmpx",
    )
    for name in (*swept, *kept):
        (outputs / ".partial" / name).touch()
    files.sweep(lambda stem: stem == "a")
    assert names(outputs / ".partial") == sorted(kept)
    assert files.left == {"a", "a_1", "b", "ab", "A"}
