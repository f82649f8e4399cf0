from __future__ import annotations

import json
from typing import Any

import pytest

from materializer.devserver.asked import read
from materializer.devserver.catalog import CAPABILITIES
from materializer.devserver.mapping import mapped
from vectors import VECTORS

PNG = "data:image/png;base64,aGk="


def fields(capability: str, profile: str = "", **body: Any) -> dict[str, Any]:
    entry = CAPABILITIES[capability]
    chosen = entry.profile(profile)
    assert chosen
    asked = read(json.dumps({"capability": capability} | body).encode())
    return mapped(entry, chosen, asked)


@pytest.mark.parametrize(
    "vector",
    VECTORS["convenience_input"],
    ids=lambda one: f"{one['capability']} {one['profile'] or ''} {[*one['args']]}",
)
def test_convenience_fields_are_mapped_as_the_hosted_gateway_does(
    vector: dict[str, Any],
) -> None:
    got = fields(vector["capability"], vector["profile"] or "", **vector["args"])
    assert got == vector["out"]


def test_what_input_says_is_never_overridden() -> None:
    said = {"prompt": "b", "image_url": "https://e/1", "aspect_ratio": "1:1"}
    got = fields(
        "image_to_video",
        prompt="a",
        sourceUrl="https://e/2",
        aspectRatio="4:3",
        sources={"image": "https://e/3"},
        input=said,
    )
    assert got == said


def test_an_icon_has_its_size_whatever_is_asked() -> None:
    got = fields("icon", prompt="p", aspectRatio="16:9", input={"image_size": "auto"})
    assert got == {"prompt": "p", "image_size": {"width": 512, "height": 512}}


@pytest.mark.parametrize(
    ("ratio", "width", "height"),
    [
        ("1:1", 1024, 1024),
        ("4:3", 1024, 768),
        ("3:4", 768, 1024),
        ("3:2", 1152, 768),
        ("2:3", 768, 1152),
        ("16:9", 1280, 720),
        ("9:16", 720, 1280),
        ("21:9", 1344, 576),
    ],
)
def test_an_aspect_ratio_becomes_a_size(ratio: str, width: int, height: int) -> None:
    got = fields("image_edit", prompt="p", source=PNG, aspectRatio=ratio)
    assert got["image_size"] == {"width": width, "height": height}
    assert "aspect_ratio" not in got


def test_an_unknown_aspect_ratio_leaves_the_size_to_the_model() -> None:
    assert (
        fields("text_to_image", prompt="p", aspectRatio="7:5")["image_size"] == "auto"
    )
    assert "image_size" not in fields("image_edit", prompt="p", aspectRatio="7:5")


def test_a_size_that_is_given_and_a_quality_that_is_given_are_kept() -> None:
    size = {"width": 1280, "height": 720}
    given = {"image_size": size, "quality": "medium"}
    got = fields("text_to_image", prompt="p", aspectRatio="1:1", input=given)
    assert got == given | {"prompt": "p"}


def test_each_source_goes_into_its_slot() -> None:
    names = "image", "reference_image", "reference_video", "mask_image", "end_frame"
    got = fields("text_to_3d", prompt="p", sources=dict.fromkeys(names, PNG))
    assert got == {"prompt": "p"} | dict.fromkeys(
        (
            "image_url",
            "reference_image_url",
            "reference_video_url",
            "mask_image_url",
            "end_frame",
        ),
        PNG,
    )


@pytest.mark.parametrize("profile", ["fast", "reference", "edit"])
def test_a_model_that_takes_references_gets_lists_of_them(profile: str) -> None:
    got = fields(
        "video_to_video",
        profile,
        prompt="p",
        sources={
            "video": "https://e/v",
            "image": "https://e/i",
            "audio": "https://e/a",
        },
    )
    assert got == {
        "prompt": "p",
        "video_urls": ["https://e/v"],
        "image_urls": ["https://e/i"],
        "audio_urls": ["https://e/a"],
    }
