from __future__ import annotations

import json
from typing import Any

import pytest

from materializer.devserver.orders import read_order
from materializer.errors import GatewayError
from vectors import VECTORS

PNG = "data:image/png;base64,aGk="
NO_SOURCE = (
    "A valid http(s) sourceUrl or source.base64 input is required for this capability"
)
NO_MUSIC = "weightedPrompts and musicGenerationConfig are required for this capability"


def body_of(**asked: Any) -> bytes:
    return json.dumps(asked).encode()


def refusal(**asked: Any) -> str:
    with pytest.raises(GatewayError) as caught:
        read_order(body_of(**asked))
    assert caught.value.status == 400
    return str(caught.value)


@pytest.mark.parametrize(
    "vector",
    VECTORS["validate_request"],
    ids=lambda one: f"{one['in']['capabilityId']} {one['out'] or 'is taken'}",
)
def test_an_order_is_judged_as_the_hosted_gateway_judges_it(
    vector: dict[str, Any],
) -> None:
    asked = dict(vector["in"])
    asked["capability"] = asked.pop("capabilityId")
    if vector["out"] is None:
        assert read_order(body_of(**asked)).capability.id == asked["capability"]
    else:
        assert refusal(**asked) == vector["out"]


def test_a_body_that_is_no_request_is_refused() -> None:
    assert refusal(prompt="x") == "Invalid media generation JSON body"


def test_an_input_that_no_query_could_return_is_refused() -> None:
    asked = {"capability": "text_to_3d", "prompt": "p", "input": {"$x": 1}}
    assert refusal(**asked) == "Invalid media generation JSON body"


def test_an_unknown_profile_is_refused_as_an_unknown_capability_is() -> None:
    says = "Unknown capability or profile. See https://stella.sh/docs/media."
    assert refusal(capability="text_to_3d", profile="best", prompt="p") == says


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, NO_SOURCE),
        ({"sourceUrl": "not-a-url"}, NO_SOURCE),
        ({"input": {"image_url": ["file:///x"]}}, NO_SOURCE),
        ({"input": {"image_url": []}}, NO_SOURCE),
        ({"source": "http://["}, "source must be a valid http(s) URL or data URI"),
        ({"source": "data:,hi"}, "source must be a valid http(s) URL or data URI"),
        ({"source": {"base64": "aGk="}}, "source.mimeType must be a valid MIME type"),
        (
            {"source": {"base64": "%%%bad%%%", "mimeType": ""}},
            "source.mimeType must be a valid MIME type",
        ),
        (
            {"source": {"mimeType": "image/png"}},
            "source.base64 must be valid base64",
        ),
        (
            {"source": PNG, "sources": {"video": "bad-source"}},
            "sources.video must be a valid http(s) URL or data URI",
        ),
        (
            {"source": PNG, "sources": {"audio": {"base64": "a", "mimeType": "a/b"}}},
            "sources.audio.base64 must be valid base64",
        ),
    ],
)
def test_every_source_must_be_usable(asked: dict[str, Any], says: str) -> None:
    assert refusal(capability="image_to_video", prompt="p", **asked) == says


@pytest.mark.parametrize(
    "source",
    [
        "https://e/x",
        PNG,
        {"base64": "aGk", "mimeType": "image/png"},
        {"base64": PNG, "mimeType": "image/svg+xml"},
    ],
)
def test_a_source_may_be_an_address_or_bytes(source: object) -> None:
    asked = body_of(capability="image_to_video", prompt="p", source=source)
    assert read_order(asked).fields["image_url"]


@pytest.mark.parametrize("duration", [None, 0, -1, True, "4"])
def test_a_sound_effect_needs_its_length(duration: object) -> None:
    asked = {"capability": "sound_effects", "prompt": "p"}
    says = "duration_seconds is required for this capability"
    assert refusal(**asked, input={"duration_seconds": duration}) == says


def test_music_may_be_asked_for_by_weighted_prompts_alone() -> None:
    prompts = [{"text": "keys", "weight": 500}, {"text": "guitars", "weight": -1}]
    order = read_order(
        body_of(capability="text_to_music", input={"weightedPrompts": prompts})
    )
    assert order.prompt == "keys guitars"
    assert order.fields["weightedPrompts"][0] == {"text": "keys", "weight": 100}
    assert order.fields["musicGenerationConfig"]["bpm"] == 95
    assert order.summary["input"]["weightedPrompts"] == prompts


@pytest.mark.parametrize(
    "asked",
    [
        {"weightedPrompts": [{"text": "a", "weight": 0}]},
        {"weightedPrompts": [{}]},
        {"prompt": "p", "musicGenerationConfig": {"bpm": 90}},
    ],
)
def test_music_that_is_half_described_is_refused(asked: dict[str, Any]) -> None:
    assert refusal(capability="text_to_music", input=asked) == NO_MUSIC


@pytest.mark.parametrize("count", [0, 5, 1.5, 2.0, "2", True])
def test_a_job_makes_one_to_four_images(count: object) -> None:
    asked = {"capability": "text_to_image", "prompt": "p"}
    says = "num_images must be a whole number from 1 to 4"
    assert refusal(**asked, input={"num_images": count}) == says


def test_an_unknown_image_format_is_refused() -> None:
    asked = {"capability": "icon", "prompt": "p"}
    says = "output_format must be one of png, jpeg, webp"
    assert refusal(**asked, input={"output_format": "bmp"}) == says


def test_everything_is_trimmed_and_the_default_profile_comes_first() -> None:
    asked = {
        "capability": " text_to_image ",
        "prompt": " neon ",
        "aspectRatio": " 1:1 ",
    }
    order = read_order(body_of(**asked))
    assert (order.capability.id, order.profile) == ("text_to_image", "best")
    assert (order.prompt, order.aspect_ratio) == ("neon", "1:1")
    assert read_order(body_of(**asked, profile=" FAST ")).profile == "fast"


def test_the_prompt_may_be_the_providers_own_field() -> None:
    asked = {"capability": "text_to_dialogue", "input": {"text": "hi"}}
    assert read_order(body_of(**asked)).prompt == "hi"


def test_the_row_keeps_the_fields_of_the_provider_without_their_bytes() -> None:
    asked = {
        "capability": "image_to_video",
        "prompt": "push in",
        "source": PNG,
        "input": {"duration": 5},
    }
    order = read_order(body_of(**asked))
    assert order.fields == {"prompt": "push in", "image_url": PNG, "duration": 5}
    assert order.summary == {
        "prompt": "push in",
        "source": {"kind": "data_uri", "mimeType": "image/png"},
        "input": {
            "prompt": "push in",
            "image_url": "[data-uri omitted]",
            "duration": 5,
        },
    }


@pytest.mark.parametrize(
    ("capability", "prompt", "at_once"),
    [
        ("text_to_music", "lofi", True),
        ("text_to_3d", "a mug", False),
        ("text_to_3d", "[refuse: Out of order]", True),
    ],
)
def test_some_orders_are_answered_when_their_job_has_ended(
    capability: str, prompt: str, at_once: bool
) -> None:
    assert read_order(body_of(capability=capability, prompt=prompt)).at_once is at_once
