"""The files that are fetched: of the exact size, and what they say they are."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from PIL import Image

from scripts.benchmarks import bodies


@pytest.mark.parametrize("size", [4096, 65536, 1_000_003])
def test_a_picture_has_its_size_and_can_be_seen(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.png"

    made = bodies.write_png(path, size, 1)

    assert (made.name, made.size, path.stat().st_size) == ("a.png", size, size)
    assert made.sha256 == bodies.sha256(path)
    with Image.open(path) as picture:
        picture.load()
        assert picture.size == (1, 1)


@pytest.mark.parametrize("size", [200, 3 * 2**20 + 1])
def test_a_film_has_its_size_and_can_be_opened(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.mp4"

    made = bodies.write_mp4(path, size, 1)

    assert (made.name, made.size, path.stat().st_size) == ("a.mp4", size, size)
    assert made.sha256 == bodies.sha256(path)
    with av.open(path) as film:
        assert "mp4" in film.format.name


def test_only_the_same_number_makes_the_same_file() -> None:
    assert bodies.png(4096, 1) == bodies.png(4096, 1) != bodies.png(4096, 2)


def test_what_does_not_fit_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too small"):
        bodies.png(20, 1)
    with pytest.raises(ValueError, match="too small"):
        bodies.write_mp4(tmp_path / "a.mp4", 20, 1)
