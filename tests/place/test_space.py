from __future__ import annotations

import pytest

from materializer.errors import DiskTrouble
from materializer.place import space as room
from materializer.place.space import Space

MIB = 2**20


class Disk:
    """A disk and the files on it, in bytes."""

    def __init__(self, free: int) -> None:
        self.size = free
        self.files: dict[str, int] = {}

    def free(self) -> int:
        return self.size - sum(self.files.values())

    def written(self, name: str) -> int:
        return self.files.get(name, 0)


@pytest.fixture(autouse=True)
def always_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every look at the disk be a fresh one."""
    monkeypatch.setattr(room, "_FRESH", 0.0)


@pytest.fixture
def disk() -> Disk:
    return Disk(1000 * MIB)


@pytest.fixture
def space(disk: Disk) -> Space:
    return Space(disk.free)


def test_what_must_stay_free_stays_free(space: Space, disk: Disk) -> None:
    space.require(999 * MIB)
    disk.files["a"] = MIB
    with pytest.raises(DiskTrouble, match="only 999 MiB are free") as raised:
        space.require(999 * MIB)
    assert raised.value.code == "disk_full"


def test_a_file_that_does_not_fit_is_refused_before_a_byte(space: Space) -> None:
    with space.room(lambda: 0, keep=500 * MIB) as reserve:
        reserve(500 * MIB)
        with pytest.raises(DiskTrouble, match="a file of 501 MiB does not fit"):
            reserve(501 * MIB)


def test_downloads_under_way_do_not_get_the_same_room(space: Space) -> None:
    with space.room(lambda: 0, keep=0) as one, space.room(lambda: 0, keep=0) as other:
        one(600 * MIB)
        with pytest.raises(DiskTrouble, match="400 MiB are free"):
            other(401 * MIB)
        other(399 * MIB)
        with pytest.raises(DiskTrouble, match="only 1 MiB are free"):
            space.require(MIB)


def test_what_has_come_already_is_not_counted_twice(space: Space, disk: Disk) -> None:
    disk.files["a"] = 100 * MIB  # of an earlier attempt
    with space.room(lambda: disk.written("a"), keep=0) as reserve:
        reserve(600 * MIB)
        disk.files["a"] += 500 * MIB
        space.require(299 * MIB)
        with pytest.raises(DiskTrouble):
            space.require(300 * MIB)
        disk.files["a"] += 200 * MIB  # more than was announced
        space.require(199 * MIB)


def test_a_part_that_begins_anew_needs_its_room_again(space: Space, disk: Disk) -> None:
    disk.files["a"] = 100 * MIB
    with space.room(lambda: disk.written("a"), keep=0) as reserve:
        reserve(600 * MIB)
        disk.files["a"] = 0
        with pytest.raises(DiskTrouble):
            space.require(400 * MIB)


def test_room_is_given_back_at_the_end_however_that_comes(space: Space) -> None:
    def fail() -> None:
        with space.room(lambda: 0, keep=0) as reserve:
            reserve(600 * MIB)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with space.room(lambda: 0, keep=0) as reserve:
        reserve(1000 * MIB)
    space.require(999 * MIB)


def test_a_second_reservation_replaces_the_first(space: Space) -> None:
    with space.room(lambda: 0, keep=0) as reserve:
        reserve(600 * MIB)
        reserve(700 * MIB)
        space.require(299 * MIB)


def test_what_is_small_and_soon_costs_no_look(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_FRESH", 60.0)
    looks: list[None] = []

    def free() -> int:
        looks.append(None)
        return disk.free()

    space = Space(free)
    with space.room(lambda: pytest.fail("it looked"), keep=0) as reserve:
        reserve(MIB - 1)
        space.require(999 * MIB)
        with pytest.raises(DiskTrouble):
            space.require(999 * MIB + 1)
    assert len(looks) == 1


def test_a_disk_that_cannot_be_asked_is_trouble() -> None:
    def fail() -> int:
        raise OSError(5, "Input/output error")

    with pytest.raises(DiskTrouble, match="Input/output error"):
        Space(fail).require(0)
