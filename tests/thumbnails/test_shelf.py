from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from materializer.errors import DiskTrouble
from materializer.thumbnails.shelf import Shelf


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "media").mkdir()
    return tmp_path / "media" / "thumbnails"


@pytest.fixture
def shelf(place: Path) -> Shelf:
    return Shelf(place)


def test_a_preview_is_kept_under_its_picture_s_name_for_its_owner_alone(
    shelf: Shelf, place: Path
) -> None:
    assert shelf.put("j_0.png", b"old") == "j_0.webp"
    assert shelf.put("j_0.png", b"new") == "j_0.webp"
    [kept] = place.iterdir()
    assert kept.read_bytes() == b"new"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


def test_what_cannot_be_written_leaves_the_old_one(
    shelf: Shelf, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    shelf.put("j_0.png", b"old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="full"):
        shelf.put("j_0.png", b"new")
    assert (place / "j_0.webp").read_bytes() == b"old"
    assert shelf.names() == {"j_0.webp", "j_0.webp.part"}


def test_a_preview_is_removed_and_one_that_is_not_there_is_too(shelf: Shelf) -> None:
    shelf.remove("j_0.png")
    shelf.put("j_0.png", b"0")
    shelf.put("j_1.png", b"1")
    shelf.remove("j_0.png")
    shelf.remove("j_0.png")
    assert shelf.names() == {"j_1.webp"}


def test_what_somebody_else_has_put_there_is_none_of_its_names(
    shelf: Shelf, place: Path
) -> None:
    assert shelf.names() == set()
    shelf.put("j_0.png", b"0")
    for other in ("note.txt", ".hidden.webp"):
        (place / other).touch()
    assert shelf.names() == {"j_0.webp"}


def test_no_link_leads_it_out_of_the_state_directory(
    shelf: Shelf, place: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    place.symlink_to(elsewhere)
    with pytest.raises(DiskTrouble, match="leads out"):
        shelf.put("j_0.png", b"0")
    assert list(elsewhere.iterdir()) == []
