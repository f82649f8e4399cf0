from __future__ import annotations

from typing import Any

import pytest

from materializer.devserver import lyria
from vectors import VECTORS

CONFIG = {"bpm": 85, "density": 0.5, "brightness": 0.4, "guidance": 4, "temperature": 1}
PROMPTS = [{"text": " keys ", "weight": 1}]


def piece(prompts: Any = PROMPTS, **config: Any) -> dict[str, Any] | None:
    fields = {"weightedPrompts": prompts, "musicGenerationConfig": CONFIG | config}
    return lyria.piece(fields)


@pytest.mark.parametrize("vector", VECTORS["lyria_parse"], ids=str)
def test_music_is_read_as_the_hosted_gateway_reads_it(vector: dict[str, Any]) -> None:
    assert lyria.piece(vector["in"]) == vector["out"]


def test_what_is_in_range_stays_as_it_is() -> None:
    assert piece() == {
        "weightedPrompts": [{"text": "keys", "weight": 1}],
        "musicGenerationConfig": CONFIG,
        "promptLabel": None,
    }


def test_prompts_that_say_nothing_are_left_out() -> None:
    said = [*PROMPTS, {"text": " ", "weight": 1}, {"text": "a", "weight": 0}, 5, {}]
    got = piece([*said, {"text": "drums", "weight": -500}])
    assert got
    assert got["weightedPrompts"] == [
        {"text": "keys", "weight": 1},
        {"text": "drums", "weight": -100},
    ]


@pytest.mark.parametrize("missing", CONFIG)
def test_a_configuration_needs_all_its_numbers(missing: str) -> None:
    assert piece(**{missing: None}) is None
    assert piece(**{missing: True}) is None
    assert piece(**{missing: float("nan")}) is None


@pytest.mark.parametrize("key", ["musicGenerationMode", "music_generation_mode"])
def test_singing_is_the_one_mode_that_is_kept(key: str) -> None:
    sung, other = piece(**{key: "VOCALIZATION"}), piece(**{key: "QUALITY"})
    assert sung
    assert sung["musicGenerationConfig"]["musicGenerationMode"] == "VOCALIZATION"
    assert other
    assert "musicGenerationMode" not in other["musicGenerationConfig"]


@pytest.mark.parametrize(
    ("label", "kept"), [(" Rain ", "Rain"), (" ", None), (5, None)]
)
def test_a_label_is_text(label: object, kept: str | None) -> None:
    got = lyria.piece(
        {
            "weightedPrompts": PROMPTS,
            "musicGenerationConfig": CONFIG,
            "promptLabel": label,
        }
    )
    assert got
    assert got["promptLabel"] == kept
