from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from materializer.convex.values import Int64, canonical, decode, encode, same

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


def alike(left: Any, right: Any) -> bool:
    """Whether two values are equal, NaN and the sign of zero counted in."""
    if isinstance(left, float) and isinstance(right, float):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) and math.isnan(right)
        return struct.pack("<d", left) == struct.pack("<d", right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(alike, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            alike(left[key], right[key]) for key in left
        )
    return type(left) is type(right) and bool(left == right)


@given(values)
def test_a_value_survives_the_wire(value: Any) -> None:
    assert alike(decode(json.loads(json.dumps(encode(value)))), value)


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


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ((1, [2]), [1.0, [2.0]]),
        (range(2), [0.0, 1.0]),
        (MappingProxyType({"a": None}), {"a": None}),
        (bytearray(b"\x00\xff"), {"$bytes": "AP8="}),
        (memoryview(b"\x00\xff"), {"$bytes": "AP8="}),
        (type("Text", (str,), {})("x"), "x"),
        (type("Number", (int,), {})(2), 2.0),
        (type("Fields", (dict,), {})(a=1), {"a": 1.0}),
        ({}, {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_as_good_as_a_value_becomes_one(value: object, data: object) -> None:
    """An absent field is a key left out; None is sent as null."""
    assert same(encode(value), data)


def test_keys_are_sorted_and_numbers_keep_their_bits() -> None:
    value = {"z": Int64(-(2**63)), "a": {"d": -math.inf, "c": Int64(2**63 - 1)}}
    assert canonical(value) == (
        '{"a":{"c":{"$integer":"/////////38="},"d":{"$float":"AAAAAAAA8P8="}},'
        '"z":{"$integer":"AAAAAAAAAIA="}}'
    )


def test_plain_integers_are_floats_on_the_way_in_too() -> None:
    assert alike(decode({"n": 3}), {"n": 3.0})


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [0, {"b": object()}]}, r"\$\.a\[1\]\.b"),
        ({"a": {1, 2}}, r"\$\.a: set"),
        ([0, float], r"\$\[1\]: type"),
        ({"a": -(2**53) - 1}, r"\$\.a: an integer"),
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


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"a": [0, {"b": {"$integer": "AAAA"}}]}, r"\$\.a\[1\]\.b: 3 bytes"),
        ([{"x": 1, "$a": 2}], r"\$\[0\]: a key that starts"),
        ({"a": {"b\n": 1}}, r"\$\.a: a key with"),
        ({"k" * 1025: 1}, r"\$: a key longer"),
        ([1, 10**400], r"\$\[1\]: the number"),
        ({"a": ["é\ud800"]}, r"\$\.a\[0\]: text"),
    ],
)
def test_json_that_is_no_value_is_refused_with_its_place(
    data: object, place: str
) -> None:
    with pytest.raises(ValueError, match=f"^{place}"):
        decode(data)


def test_keys_are_judged_one_by_one_where_they_look_strange_together() -> None:
    data = {"a$b": 1.0, "c" * 1024: 2.0, "d" * 1024: 3.0}
    assert decode({"x": data, "": True}) == {"x": data, "": True}


@pytest.mark.parametrize("read", [encode, decode])
def test_64_values_fit_into_each_other_and_no_more(
    read: Callable[[object], object],
) -> None:
    deep: Any = []
    for _ in range(63):
        deep = [deep] if read is encode else {"a": deep}
    assert read(deep) == deep
    with pytest.raises(ValueError, match="deeper"):
        read([deep])


@pytest.mark.parametrize(
    ("one", "other"),
    [(True, 1.0), (0.0, -0.0), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ([0.0], [False])],
)
def test_some_values_are_not_the_same_though_python_says_so(
    one: object, other: object
) -> None:
    assert one == other
    assert not same(one, other)
    assert same(one, one)


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
