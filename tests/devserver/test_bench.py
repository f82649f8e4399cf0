from __future__ import annotations

from typing import Any

import pytest

from materializer.devserver.bench import Bench
from materializer.devserver.sources import SourceUnusable
from senses import ordered

BENCH = Bench({"one": b"1", "two": b"2", "three": b"3"}, {})


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("image_url", "picture"),
        ("image_urls", "picture"),
        ("mask_url", "mask"),
        ("mask_image_url", "mask"),
        ("reference_image_url", "reference"),
        ("image_url", "reference"),
        ("video_url", "film"),
        ("video_urls", "film"),
        ("audio_url", "sound"),
    ],
)
def test_a_source_is_found_by_its_field(field: str, what: str) -> None:
    several = field.endswith("s")
    fields: dict[str, Any] = {field: ["one", "two"] if several else "one"}
    order = ordered("image_edit", **fields)
    assert BENCH.given(order, what) == ([b"1", b"2"] if several else [b"1"])
    assert BENCH.needed(order, what) == b"1"


def test_the_first_field_that_names_any_counts() -> None:
    order = ordered("image_edit", image_urls=[], image_url="two")
    assert BENCH.given(order, "picture") == [b"2"]


def test_what_was_not_given_is_told() -> None:
    with pytest.raises(SourceUnusable, match="no film was given"):
        BENCH.needed(ordered("video_extend", image_url="one"), "film")


def test_sources_are_not_printed() -> None:
    assert "b'1'" not in repr(BENCH)
