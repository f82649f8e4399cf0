from __future__ import annotations

import pytest

from materializer.place.listing import Listing


class Folder:
    """A directory that counts how often it is read."""

    def __init__(self, *names: str) -> None:
        self.entries = [*names]
        self.read = 0

    def __call__(self) -> list[str]:
        self.read += 1
        return [*self.entries]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files are many, and what was read stays fresh."""
    monkeypatch.setattr("materializer.place.listing._SMALL", 1)
    monkeypatch.setattr("materializer.place.listing._FRESH", 1e9)


@pytest.mark.parametrize(
    ("beginning", "found"),
    [
        ("job_0", "job_0.png"),
        ("job_1", None),
        ("job", "job.mp4"),
        ("JOB_0", None),
        ("job_0.png", None),
        ("", None),
        (".hidden", None),
        ("up\\down", None),
    ],
)
def test_a_file_is_found_by_what_stands_before_its_extension(
    beginning: str, found: str | None
) -> None:
    folder = Folder(
        "job_0.png",
        "job.mp4",
        "job_10.png",
        "job_0.png.lock",
        "job_1.png.lock",
        "plain",
        ".partial",
        ".hidden.png",
        "up\\down.mp4",
    )
    assert Listing(folder).find(beginning)[0] == found


def test_locks_are_found_with_the_file_they_are_of() -> None:
    folder = Folder("job_0.png.lock", "job_0.jpg.lock", "job_00.png.lock")
    locks = ["job_0.png.lock", "job_0.jpg.lock"]
    assert Listing(folder).find("job_0") == (None, locks)


def test_a_small_directory_is_read_for_each_question() -> None:
    folder = Folder("a_0.png")
    listing = Listing(folder)
    assert listing.find("b_0") == (None, [])
    assert not listing.lacks("b_0")
    folder.entries.append("b_0.png")
    assert listing.find("b_0") == ("b_0.png", [])
    assert folder.read == 2


@pytest.mark.usefixtures("large")
def test_a_large_directory_is_not_read_again_while_it_is_fresh() -> None:
    folder = Folder("a_0.png", "b_0.png", "c_0.png.lock")
    listing = Listing(folder)
    assert not listing.lacks("d_0")
    listing.find("a_0")
    assert listing.lacks("d_0")
    assert not listing.lacks("b_0")
    assert not listing.lacks("c_0")
    folder.entries.append("d_0.png")
    assert listing.find("d_0") == (None, [])
    assert folder.read == 1
    listing.forget()
    assert not listing.lacks("d_0")
    assert listing.find("d_0") == ("d_0.png", [])
    assert folder.read == 2


@pytest.mark.usefixtures("large")
def test_what_was_added_is_found_at_once() -> None:
    listing = Listing(Folder("a_0.png", "b_0.png"))
    listing.find("a_0")
    listing.add("d_0.mp4")
    assert not listing.lacks("d_0")
    assert listing.find("d_0") == ("d_0.mp4", [])


def test_what_was_read_is_fresh_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("materializer.place.listing._SMALL", 0)
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    folder = Folder("a_0.png")
    listing = Listing(folder)
    listing.find("a_0")
    now += 0.9
    listing.find("a_0")
    assert folder.read == 1
    now += 0.2
    assert not listing.lacks("b_0")
    listing.find("a_0")
    assert folder.read == 2
