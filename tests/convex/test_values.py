from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from materializer.convex.values import Int64, canonical, decode, encode

keys = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12).filter(
    lambda key: not key.startswith("$")
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers(-(2**63), 2**63 - 1).map(Int64)
    | st.binary()
    | texts,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal, NaN and the sign of zero counted in."""
    if isinstance(left, float) and isinstance(right, float):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) and math.isnan(right)
        return struct.pack("<d", left) == struct.pack("<d", right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            same(left[key], right[key]) for key in left
        )
    return type(left) is type(right) and bool(left == right)


@given(values)
def test_a_value_survives_the_wire(value: Any) -> None:
    assert same(decode(json.loads(json.dumps(encode(value)))), value)


@given(values)
def test_equal_values_have_one_text(value: Any) -> None:
    again = decode(json.loads(canonical(value)))
    assert canonical(again) == canonical(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (50, "50.0"),
        (2**53, "9007199254740992.0"),
        (True, "true"),
        (None, "null"),
        (math.nan, '{"$float":"AAAAAAAA+H8="}'),
        (math.inf, '{"$float":"AAAAAAAA8H8="}'),
        (-0.0, '{"$float":"AAAAAAAAAIA="}'),
        (0.0, "0.0"),
        (Int64(5151996), '{"$integer":"/JxOAAAAAAA="}'),
        (b"\x00\xff", '{"$bytes":"AP8="}'),
        ((1, "é"), '[1.0,"é"]'),
        ({"b": 1.5, "a": []}, '{"a":[],"b":1.5}'),
    ],
)
def test_the_canonical_text_is_the_one_other_clients_write(
    value: object, text: str
) -> None:
    assert canonical(value) == text


def test_plain_integers_are_floats_on_the_way_in_too() -> None:
    assert same(decode({"n": 3}), {"n": 3.0})


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [0, {"b": object()}]}, r"\$\.a\[1\]\.b"),
        ({"a": {1, 2}}, r"\$\.a"),
        (2**53 + 1, r"\$: an integer"),
        ({"$a": 1}, r"\$: a key"),
        ({"a\n": 1}, r"\$: a key"),
        ({"ä": 1}, r"\$: a key"),
        ({3: 1}, r"\$: a key"),
        ({"k" * 1025: 1}, r"\$: a key"),
        (["\ud800"], r"\$\[0\]"),
    ],
)
def test_what_is_no_value_is_refused_with_its_place(value: object, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        encode(value)


@pytest.mark.parametrize(
    "data",
    [
        {"$integer": "AAAA"},
        {"$integer": 7},
        {"$float": "AAAAAAAA8D8="},  # 1.0, which has a plain form
        {"$float": "AAAAAAAAAAA="},  # 0.0, likewise
        {"$float": "AAAA"},
        {"$bytes": "A*=="},
        {"$set": []},
        {"$commitTs": None},
        {"$a": 1, "b": 2},
        ["\ud800"],
        10**400,
        math.nan,
    ],
)
def test_json_that_stands_for_no_value_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r"^\$"):
        decode({"x": data})


def test_an_int64_has_64_bits() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        Int64(2**63)


def test_nesting_has_an_end() -> None:
    deep: list[Any] = []
    for _ in range(70):
        deep = [deep]
    with pytest.raises(ValueError, match="deeper"):
        encode(deep)
    with pytest.raises(ValueError, match="deeper"):
        decode(deep)
