from __future__ import annotations

import json
from typing import Any

import pytest

from materializer.devserver.asked import Asked, Inline, as_url, data_uri, read
from materializer.errors import GatewayError

PNG = "data:image/png;base64,aGk="


def asked(**body: Any) -> Asked:
    return read(json.dumps({"capability": "icon"} | body).encode())


@pytest.mark.parametrize(
    "body",
    [b"{bad", b"", b"[]", b"null", b"{}", b'{"capability": " "}', b'{"prompt": "x"}'],
)
def test_a_body_that_names_no_capability_is_refused(body: bytes) -> None:
    with pytest.raises(GatewayError, match="Invalid media generation JSON body") as no:
        read(body)
    assert no.value.status == 400


def test_every_text_is_trimmed() -> None:
    got = asked(
        capability=" text_to_image ",
        profile=" BEST ",
        prompt="  neon city  ",
        aspectRatio=" 16:9 ",
        sourceUrl=" https://example.com/source.png ",
        source=f" {PNG} ",
        sources={
            " video ": " https://example.com/v.mp4 ",
            "audio": {"mimeType": " audio/wav ", "base64": " YXVkaW8= "},
        },
        input={"image_size": "portrait_16_9"},
    )
    assert got.model_dump() == {
        "capability": "text_to_image",
        "profile": "best",
        "prompt": "neon city",
        "aspect_ratio": "16:9",
        "source_url": "https://example.com/source.png",
        "source": PNG,
        "sources": {
            "video": "https://example.com/v.mp4",
            "audio": {"base64": "YXVkaW8=", "mime_type": "audio/wav"},
        },
        "input": {"image_size": "portrait_16_9"},
    }


def test_a_member_of_the_wrong_type_counts_as_left_out() -> None:
    got = asked(
        profile=1,
        prompt=["x"],
        aspectRatio={},
        sourceUrl=5,
        source=[],
        sources={"a": 5, "b": {}, "c": {"size": 1}, " ": PNG},
        input=[],
    )
    assert got == asked()


def test_half_of_an_inline_source_is_a_source_to_complain_about() -> None:
    assert asked(source={"base64": "aGVsbG8="}).source == Inline(base64="aGVsbG8=")
    assert asked(source={"fileName": "a.png"}).source == Inline()
    assert asked(source={"bytes": 1}).source is None


def test_an_inline_source_becomes_a_data_uri() -> None:
    wrapped = Inline(mimeType="image/png", base64=f"{PNG[:-4]}aG\nk=")
    assert wrapped.payload == "aGk="
    assert as_url(wrapped) == PNG
    assert as_url("https://e/x") == "https://e/x"


@pytest.mark.parametrize(
    ("body", "url"),
    [
        ({"sourceUrl": "https://e/x", "source": PNG}, "https://e/x"),
        ({"source": {"mimeType": "image/png", "base64": "aGk="}}, PNG),
        ({}, ""),
    ],
)
def test_the_address_goes_before_the_source(body: dict[str, Any], url: str) -> None:
    assert asked(**body).main_source == url


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (PNG, True),
        ("DATA:a/b;BASE64,", True),
        ("data:text/plain,hi", False),
        ("", False),
    ],
)
def test_only_base64_makes_a_data_uri_here(text: str, is_one: bool) -> None:
    assert data_uri(text) is is_one
