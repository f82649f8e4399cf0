from __future__ import annotations

import json
from typing import Any

import pytest

from materializer.devserver.orders import read_order
from materializer.errors import GatewayError

PNG = "data:image/png;base64,aGk="


def refusal(body: dict[str, Any] | bytes) -> str:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(GatewayError) as caught:
        read_order(raw)
    assert caught.value.status == 400
    return str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"{bad",
        b"[]",
        b"{}",
        {"prompt": "no capability"},
        {"capability": "text_to_image", "input": {"$x": 1, "y": 2}},
    ],
)
def test_a_body_that_is_no_request_is_refused(body: dict[str, Any] | bytes) -> None:
    assert refusal(body) == "Invalid media generation JSON body"


def test_an_input_too_deep_for_a_query_is_refused() -> None:
    nested: Any = 1
    for _ in range(62):
        nested = [nested]
    body = {"capability": "text_to_3d", "prompt": "p", "input": {"deep": nested}}
    assert refusal(body) == "Invalid media generation JSON body"


@pytest.mark.parametrize(
    "asked", [{"capability": "nope"}, {"capability": "text_to_3d", "profile": "best"}]
)
def test_an_unknown_capability_or_profile_is_refused(asked: dict[str, str]) -> None:
    says = "Unknown capability or profile. See https://stella.sh/docs/media."
    assert refusal(asked) == says


@pytest.mark.parametrize("capability", ["text_to_image", "text_to_3d", "text_to_music"])
def test_a_prompt_is_required_where_nothing_else_says_what_to_make(
    capability: str,
) -> None:
    for asked in ({}, {"prompt": "  "}, {"input": {"prompt": 5}}):
        body = {"capability": capability} | asked
        assert refusal(body) == "prompt is required for this capability"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            {},
            (
                "A valid http(s) sourceUrl or source.base64 input is required for "
                "this capability"
            ),
        ),
        ({"sourceUrl": "nope"}, "sourceUrl must be a valid http(s) URL or data URI"),
        ({"source": "file:///x"}, "source must be a valid http(s) URL or data URI"),
        ({"source": "http://["}, "source must be a valid http(s) URL or data URI"),
        ({"source": {"base64": "aGk="}}, "source.mimeType must be a valid MIME type"),
        (
            {"source": {"base64": "%%%", "mimeType": "image/png"}},
            "source.base64 must be valid base64",
        ),
    ],
)
def test_a_source_must_be_there_and_usable(asked: dict[str, Any], says: str) -> None:
    assert refusal({"capability": "image_to_video"} | asked) == says


@pytest.mark.parametrize("count", [0, 5, 1.5, 2.0, "2", True])
def test_a_job_makes_one_to_four_images(count: object) -> None:
    body = {"capability": "text_to_image", "prompt": "p"}
    says = "num_images must be a whole number from 1 to 4"
    assert refusal(body | {"input": {"num_images": count}}) == says


def test_an_unknown_image_format_is_refused() -> None:
    body = {"capability": "text_to_image", "prompt": "p"}
    says = "output_format must be one of png, jpeg, webp"
    assert refusal(body | {"input": {"output_format": "bmp"}}) == says


def test_everything_is_trimmed_and_the_default_profile_comes_first() -> None:
    body = {"capability": " text_to_image ", "prompt": " neon ", "aspectRatio": " 1:1 "}
    order = read_order(json.dumps(body).encode())
    assert (order.capability.id, order.profile) == ("text_to_image", "best")
    assert (order.prompt, order.aspect_ratio) == ("neon", "1:1")
    order = read_order(json.dumps(body | {"profile": " FAST "}).encode())
    assert order.profile == "fast"


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({"capability": "text_to_dialogue", "prompt": "hi"}, {"text": "hi"}),
        (
            {"capability": "text_to_3d", "prompt": "a", "input": {"prompt": "b"}},
            {"prompt": "b"},
        ),
        (
            {"capability": "image_to_video", "sourceUrl": "https://e/x", "source": PNG},
            {"image_url": "https://e/x"},
        ),
        (
            {
                "capability": "speech_to_text",
                "source": {"base64": "aGk=", "mimeType": "audio/wav"},
            },
            {"audio_url": "data:audio/wav;base64,aGk="},
        ),
        (
            {"capability": "text_to_music", "input": {"weightedPrompts": [{}]}},
            {"weightedPrompts": [{}]},
        ),
    ],
)
def test_convenience_fields_are_mapped_and_never_override_the_input(
    asked: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert read_order(json.dumps(asked).encode()).fields == fields


def test_the_row_keeps_the_request_without_its_bytes() -> None:
    body = {
        "capability": "image_to_video",
        "prompt": "push in",
        "source": PNG,
        "input": {"duration": 5, "masks": [{"url": PNG, "of": "https://e/x"}]},
    }
    assert read_order(json.dumps(body).encode()).summary == {
        "prompt": "push in",
        "source": {"kind": "data_uri", "mimeType": "image/png"},
        "input": {
            "duration": 5,
            "masks": [{"url": "[data-uri omitted]", "of": "https://e/x"}],
        },
    }


@pytest.mark.parametrize(
    ("source", "summary"),
    [
        ("https://e/x.png", {"kind": "url", "url": "https://e/x.png"}),
        (
            {"base64": "aGk=", "mimeType": "image/png"},
            {"kind": "base64_object", "mimeType": "image/png"},
        ),
    ],
)
def test_the_row_tells_what_kind_of_source_there_was(
    source: object, summary: dict[str, str]
) -> None:
    body = {"capability": "image_to_video", "source": source}
    assert read_order(json.dumps(body).encode()).summary == {"source": summary}
