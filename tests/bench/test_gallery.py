"""The gallery benchmark's short form: it runs, and all galleries hold the same."""

from __future__ import annotations

from typing import Any

import pytest

from benched import bench

GALLERIES = ("ours", "JSON file", "JSON file, 300 newest")
SIZES = (400, 800)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """What one short run printed and wrote."""
    return bench("gallery", tmp_path_factory.mktemp("bench"))


def test_each_gallery_keeps_what_it_should_and_finds_it(run: tuple[str, Any]) -> None:
    _, data = run
    samples = {(s["gallery"], s["items"]): s for s in data["samples"]}

    assert {*samples} == {(name, size) for name in GALLERIES for size in SIZES}
    for (name, size), sample in samples.items():
        assert sample["kept"] == (300 if name == GALLERIES[2] else size)
        if name != GALLERIES[2]:
            assert sample["found"] == samples["ours", size]["found"] > 0
        assert min(sample["insert"], sample["start"], sample["first"]) > 0
        assert sample["size"] > 100


def test_the_tables_show_each_gallery_at_each_size_and_what_growing_costs(
    run: tuple[str, Any],
) -> None:
    text, data = run
    lines = text.splitlines()

    assert data["machine"]["python"] in lines[0]
    for name in GALLERIES:
        assert any(line.startswith(f"| {name} | ") for line in lines)
        for size in SIZES:
            assert any(line.startswith(f"| {size} | {name} | ") for line in lines)
