from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from materializer.devserver.catalog import CAPABILITIES, Order
from materializer.devserver.media import Made

SHAPES = {
    "text_to_image": ("images", 0),
    "image_to_video": ("video",),
    "text_to_dialogue": ("audio",),
    "text_to_music": ("audio",),
    "text_to_3d": ("model_mesh",),
}


def make(capability: str, aspect_ratio: str = "", **fields: Any) -> dict[str, Any]:
    entry = CAPABILITIES[capability]
    prompt = str(fields.get(entry.prompt_key or "", "a fox"))
    order = Order(entry, entry.profiles[0], prompt, aspect_ratio, fields, {})
    return entry.make(order)


def sizes(output: dict[str, Any]) -> list[tuple[int, int]]:
    found = []
    for entry in output["images"]:
        with Image.open(io.BytesIO(entry["url"].data)) as image:
            assert image.size == (entry["width"], entry["height"])
            found.append(image.size)
    return found


@pytest.mark.parametrize("capability", SHAPES)
def test_each_capability_puts_its_file_where_the_hosted_one_does(
    capability: str,
) -> None:
    file: Any = make(capability, text="hello there", prompt="a fox")
    for step in SHAPES[capability]:
        file = file[step]
    assert isinstance(file["url"], Made)
    assert file["url"].mime_type in (file.get("content_type"), file.get("mimeType"))


def test_music_has_a_label_and_a_link_without_extension() -> None:
    output = make("text_to_music", prompt="lofi", promptLabel="Rainy tape")
    assert output["promptLabel"] == "Rainy tape"
    assert output["textParts"] == []
    assert output["audio"]["url"].extension == ""


def test_a_transcript_needs_no_file() -> None:
    output = make("speech_to_text")
    assert output["text"] == "a fox"
    assert [word["text"] for word in output["words"]] == ["a", "fox"]


def test_images_come_in_the_number_format_and_size_asked_for() -> None:
    output = make(
        "text_to_image",
        num_images=3,
        output_format="webp",
        image_size={"width": 320, "height": 200},
    )
    assert sizes(output) == [(320, 200)] * 3
    assert len({image["url"].data for image in output["images"]}) == 3
    assert output["images"][0]["content_type"] == "image/webp"


@pytest.mark.parametrize(
    ("aspect_ratio", "size"), [("16:9", (1280, 720)), ("9:16", (720, 1280)), ("", None)]
)
def test_the_aspect_ratio_decides_the_size(
    aspect_ratio: str, size: tuple[int, int] | None
) -> None:
    assert sizes(make("text_to_image", aspect_ratio)) == [size or (1024, 1024)]


@pytest.mark.parametrize(
    "wild", ["auto", {"width": 9, "height": 99999}, {"width": "1", "height": 2}, None]
)
def test_a_size_that_cannot_be_drawn_is_not_drawn(wild: object) -> None:
    assert sizes(make("text_to_image", image_size=wild)) == [(1024, 1024)]


def test_an_entry_lists_what_a_caller_must_know() -> None:
    assert CAPABILITIES["image_to_video"].wire() == {
        "id": "image_to_video",
        "category": "video",
        "promptKey": "prompt",
        "sourceUrlKey": "image_url",
        "requiresSourceUrl": True,
        "supportsAspectRatio": True,
        "outputHints": ("video URL",),
        "profiles": [
            {"id": "fast", "isDefault": True},
            {"id": "motion", "isDefault": False},
        ],
    }
