from __future__ import annotations

import json
from typing import Any

import pytest

from materializer.devserver.asked import read
from materializer.devserver.redaction import redacted, summary

PNG = "data:image/png;base64,aGk="


def nested(levels: int) -> Any:
    return {"in": nested(levels - 1)} if levels else {}


def test_bytes_are_left_out_wherever_they_are() -> None:
    given = {
        "a": f" {PNG} ",
        "b": "QUJD" * 513,
        "c": "QUJD" * 512,
        "d": " x ",
        "list": [[PNG], {"of": "https://e/x", "is": PNG}],
        "duration": 5,
        "loop": True,
        "none": None,
    }
    assert redacted(given) == {
        "a": "[data-uri omitted]",
        "b": "[base64 omitted]",
        "c": "QUJD" * 512,
        "d": "x",
        "list": [
            ["[data-uri omitted]"],
            {"of": "https://e/x", "is": "[data-uri omitted]"},
        ],
        "duration": 5,
        "loop": True,
        "none": None,
    }


def test_a_long_text_is_no_base64() -> None:
    text = "a sentence, not bytes. " * 100
    assert redacted(text) == text.strip()


def test_nothing_is_kept_six_levels_down() -> None:
    deep = {"1": {"2": {"3": {"4": {"5": {"6": 1}}}}}}
    kept = redacted({"deep": deep, "list": [[[[[[[1]]]]]]]})
    assert kept == {
        "deep": {"1": {"2": {"3": {"4": {"5": {}}}}}},
        "list": [[[[[[]]]]]],
    }
    assert redacted(nested(500)) == nested(6)


def test_a_summary_tells_what_kind_of_sources_there_were() -> None:
    body = {
        "capability": "image_to_video",
        "prompt": "push in",
        "aspectRatio": "16:9",
        "source": PNG,
        "sources": {
            "audio": {"mimeType": "audio/wav", "base64": "aGk="},
            "video": "https://e/v",
        },
    }
    assert summary(read(json.dumps(body).encode()), {"image_url": PNG}) == {
        "prompt": "push in",
        "aspectRatio": "16:9",
        "source": {"kind": "data_uri", "mimeType": "image/png"},
        "sources": {
            "audio": {"kind": "base64_object", "mimeType": "audio/wav"},
            "video": {"kind": "url", "url": "https://e/v"},
        },
        "input": {"image_url": "[data-uri omitted]"},
    }


@pytest.mark.parametrize(
    "body", [{"sourceUrl": "https://e/x"}, {"source": "https://e/x"}]
)
def test_a_source_by_its_address_is_kept_as_that(body: dict[str, str]) -> None:
    asked = read(json.dumps({"capability": "image_edit"} | body).encode())
    assert summary(asked, {}) == {"source": {"kind": "url", "url": "https://e/x"}}
