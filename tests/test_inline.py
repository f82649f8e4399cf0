from __future__ import annotations

import base64
import tracemalloc
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from materializer.inline import from_base64, from_data_url, media_type

PNG = b"\x89PNG\r\n\x1a\n"
PIECE = 64 * 1024


@pytest.mark.parametrize(
    ("url", "data", "named"),
    [
        ("data:image/png;base64,iVBORw0KGgo=", PNG, "image/png"),
        ("DATA:Image/PNG;BASE64,iVBORw0KGgo=", PNG, "image/png"),
        ("data:image/png;name=a.png; base64,iVBORw0KGgo=", PNG, "image/png"),
        ("data:image/png;base64;charset=utf-8,iVBORw0KGgo=", PNG, "image/png"),
        ("data:;base64,iVBORw0KGgo=", PNG, None),
        ("data:nonsense;base64,iVBORw0KGgo=", PNG, None),
        ("data:image/png;base64,iVBORw0KGgo%3D", PNG, "image/png"),
        ("data:image/png;base64,iVBORw0KGgo", PNG, "image/png"),
        ("data:image/png;base64, iVBO\r\nRw0K%0AGgo= ", PNG, "image/png"),
        ("data:text/plain;base64,-_-_", b"\xfb\xff\xbf", "text/plain"),
        ("data:text/plain;base64,+/%2B/", b"\xfb\xff\xbf", "text/plain"),
        ("data:text/plain;charset=utf-8,a%20b%2Cc,d+e", b"a b,c,d+e", "text/plain"),
        ("data:image/svg+xml,<svg/>%3C!--ä--%3E", "<svg/><!--ä-->".encode(), None),
        ("data:,50%", b"50%", None),
    ],
)
def test_a_data_url_is_read_however_it_is_written(
    url: str, data: bytes, named: str | None
) -> None:
    wanted = named or ("image/svg+xml" if "svg" in url else None)
    assert from_data_url(url) == (data, wanted)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("data:", "no data"),
        ("data:image/png;base64", "no data"),
        (f"data:{'x' * 2000},y", "no data"),
        ("data:image/png,", "empty"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png;base64,%%%", "no base64"),
        ("data:image/png;base64,iVBORw0KGgo=iVBO", "no base64"),
        ("data:image/png;base64,iVBOR", "no base64"),
        ("data:image/png;base64,iVBÖ", "no base64"),
        ("data:image/png;base64,\ud800AAA", "no base64"),
    ],
)
def test_a_data_url_that_holds_nothing_says_why(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_data_url(url)


@pytest.mark.parametrize("text", ["", "   ", "====", "[base64 omitted]", "iVBOR", "ä"])
def test_what_is_no_base64_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="its inline data is "):
        from_base64(text)


def test_nothing_follows_the_padding_in_a_later_piece_either() -> None:
    with pytest.raises(ValueError, match="no base64"):
        from_base64("A" * (PIECE - 2) + "==AAAA")
    assert from_base64("A" * (PIECE - 2) + "==\n==") == b"\0" * (PIECE // 4 * 3 - 2)


@given(
    st.binary(min_size=1, max_size=300),
    st.sampled_from([base64.standard_b64encode, base64.urlsafe_b64encode]),
    st.integers(0, 4),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from(" \t\r\n\f"))),
)
def test_every_dialect_of_base64_gives_the_bytes_back(
    data: bytes,
    encode: Callable[[bytes], bytes],
    padding: int,
    spaces: list[tuple[int, str]],
) -> None:
    text = encode(data).decode().rstrip("=") + "=" * padding
    for place, space in spaces:
        text = text[:place] + space + text[place:]
    assert from_base64(text) == data
    assert from_data_url(f"data:;base64,{text}")[0] == data
    assert from_data_url(f"data:;base64,{quote(text)}")[0] == data


@pytest.mark.parametrize("before", range(PIECE - 4, PIECE + 5))
def test_nothing_is_lost_where_two_pieces_meet(before: int) -> None:
    data = b"x" * before + b"\xff\x00" + b"y" * PIECE
    assert from_data_url(f"data:,,{quote(data)}")[0] == b"," + data
    text = base64.b64encode(data).decode()
    assert from_base64(text) == data
    assert from_data_url(f"data:;base64,{text[:before]}%0A{text[before:]}")[0] == data


@given(st.text())
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    for read in (from_base64, lambda t: from_data_url(f"data:{t}")):
        try:
            read(text)
        except ValueError as error:
            assert str(error).startswith("its ")  # noqa: PT017 -- or nothing is raised


@pytest.mark.parametrize(
    "encode",
    [
        lambda data: base64.b64encode(data).decode(),
        lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="),
        lambda data: base64.encodebytes(data).decode(),
    ],
    ids=["standard", "urlsafe", "in lines"],
)
def test_a_large_text_costs_little_more_memory_than_its_bytes(
    encode: Callable[[bytes], str],
) -> None:
    data = bytes(range(256)) * (64 * 1024)
    url = f"data:video/mp4;base64,{encode(data)}"
    tracemalloc.start()
    try:
        got, _ = from_data_url(url)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert got == data
    assert peak < 1.25 * len(data)


def test_many_escapes_are_not_all_held_at_once() -> None:
    url = "data:," + "%41" * (1024 * 1024)
    tracemalloc.start()
    try:
        data, _ = from_data_url(url)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert data == b"A" * (1024 * 1024)
    assert peak < 4 * len(url)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("image/webp; charset=binary", "image/webp"),
        (" Model/GLTF-Binary ", "model/gltf-binary"),
        ("", None),
        ("png", None),
        ("image/png\nX: y", None),
        (f"image/{'x' * 200}", None),
    ],
)
def test_a_media_type_is_read_without_its_parameters(
    text: str, named: str | None
) -> None:
    assert media_type(text) == named
