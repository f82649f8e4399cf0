from __future__ import annotations

import math
from typing import Any

import pytest

from materializer.convex.values import Int64, encode
from materializer.devserver.formats import text_of, written

EVERYTHING = {
    "i": Int64(-7),
    "b": b"\0\xff",
    "f": [1.0, -0.0, math.inf, -math.inf, math.nan],
    "t": ["x", None, True],
}


@pytest.mark.parametrize("name", ["convex_encoded_json", "convex_json"])
def test_the_exact_format_changes_nothing(name: str) -> None:
    assert written(encode(EVERYTHING), name) == encode(EVERYTHING)


@pytest.mark.parametrize("name", ["json", "convex_clean_json"])
def test_the_readable_format_is_plain_json(name: str) -> None:
    text = text_of(written(encode(EVERYTHING), name))
    assert text == (
        '{"b":"AP8=","f":[1.0,-0.0,"Infinity","-Infinity","NaN"],'
        '"i":"-7","t":["x",null,true]}'
    )


def test_the_text_of_a_message_is_one_whatever_its_order() -> None:
    message: dict[str, Any] = {"b": "ä", "a": {"d": 1.0, "c": 2}}
    assert text_of(message) == '{"a":{"c":2,"d":1.0},"b":"ä"}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        text_of({"a": math.nan})
