import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from materializer.errors import PeerMisspoke
from materializer.ipc import jsonlines
from materializer.ipc.jsonlines import (
    INVALID_REQUEST,
    MAX_REQUEST_LINE,
    PARSE_ERROR,
    Decoder,
    Lines,
    Request,
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
finite = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
request_lines = st.builds(
    lambda method, params: jsonlines.call(1, method, params).rstrip(), st.text(), finite
)
any_line = request_lines | anything.map(lambda v: json.dumps(v).encode()) | st.binary()


def decode(*pieces: bytes) -> list[Any]:
    decoder = Decoder()
    return [comparable(found) for piece in pieces for found in decoder.feed(piece)]


def comparable(found: Request | PeerMisspoke) -> Any:
    if isinstance(found, Request):
        return found
    return str(found), found.rpc_code, found.fatal


def only(line: bytes) -> Any:
    [found] = Decoder().feed(line + b"\n")
    return found


def refused(line: bytes) -> tuple[int, bool]:
    found = only(line)
    assert isinstance(found, PeerMisspoke)
    return found.rpc_code, found.fatal


@given(st.lists(any_line, max_size=5), st.lists(st.integers(min_value=0), max_size=20))
def test_any_split_of_the_bytes_gives_the_same_requests(
    lines: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    assert decode(*pieces) == decode(stream)


@given(st.text(), finite, st.integers() | st.text() | st.none())
def test_what_is_encoded_is_one_line_and_comes_back_as_it_was(
    method: str, params: Any, request_id: str | int | None
) -> None:
    for line in (
        jsonlines.notification(method, params),
        jsonlines.answer(request_id, params),
        jsonlines.refusal(request_id, -32000, method),
    ):
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")
        assert json.loads(line)["jsonrpc"] == "2.0"
    assert only(jsonlines.call(7, method, params)[:-1]) == Request(
        method, params, 7, wants_answer=True
    )
    assert json.loads(jsonlines.answer(request_id, params)) == {
        "jsonrpc": "2.0",
        "id": request_id,
        "result": params,
    }


def test_a_request_needs_no_jsonrpc_member() -> None:
    expected = Request("hello", {"a": 1}, "x", wants_answer=True)
    assert only(b'{"id":"x","method":"hello","params":{"a":1}}') == expected
    assert (
        only(b'{"jsonrpc":"2.0","id":"x","method":"hello","params":{"a":1}}')
        == expected
    )
    assert refused(b'{"jsonrpc":"1.0","id":1,"method":"hello"}') == (
        INVALID_REQUEST,
        False,
    )


def test_a_request_without_an_id_wants_no_answer_and_one_with_null_does() -> None:
    assert only(b'{"method":"hello"}') == Request("hello")
    assert only(b'{"method":"hello","id":null}') == Request("hello", wants_answer=True)


@pytest.mark.parametrize(
    "line",
    [b"{", b"nothing", b"\xff\xfe{\x00}\x00", b'{"id":NaN,"method":"x"}', b"1" * 5000],
)
def test_what_is_no_json_is_a_parse_error(line: bytes) -> None:
    assert refused(line) == (PARSE_ERROR, False)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_depth_bomb_is_a_parse_error(opening: bytes) -> None:
    assert refused(opening * 150_000) == (PARSE_ERROR, False)


@pytest.mark.parametrize(
    "line",
    [
        b"5",
        b'"hello"',
        b"null",
        b"[]",
        b'[{"id":1,"method":"hello"}]',
        b"{}",
        b'{"id":1,"method":5}',
        b'{"id":1,"result":{}}',
        b'{"id":{},"method":"x"}',
        b'{"id":true,"method":"x"}',
        b'{"id":1e999,"method":"x"}',
    ],
)
def test_what_is_no_request_is_an_invalid_request(line: bytes) -> None:
    assert refused(line) == (INVALID_REQUEST, False)


def test_decoding_goes_on_after_a_line_that_is_no_request() -> None:
    found = Decoder().feed(b'nonsense\n\r\n  \n{"method":"a"}\r\n')
    assert [type(one) for one in found] == [PeerMisspoke, Request]


def test_a_line_of_the_longest_length_is_taken() -> None:
    line = b'{"method":"a","params":"%s"}'
    line = line % (b"x" * (MAX_REQUEST_LINE - len(line) + 2))
    assert len(line) == MAX_REQUEST_LINE
    assert isinstance(only(line), Request)


@pytest.mark.parametrize("piece", [1 << 16, MAX_REQUEST_LINE + 1, 2 * MAX_REQUEST_LINE])
def test_a_longer_line_is_fatal_and_nothing_after_it_is_taken(piece: int) -> None:
    stream = b'{"method":"before"}\n' + b"x" * (MAX_REQUEST_LINE + 1)
    stream += b'\n{"method":"after"}\n'
    pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
    before, *fatal = decode(*pieces, b'{"method":"later"}\n')
    assert before == Request("before")
    assert [(code, final) for _, code, final in fatal] == [(INVALID_REQUEST, True)]


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    decoder = Decoder()
    assert decoder.feed(b"x" * MAX_REQUEST_LINE) == []
    [fault] = decoder.feed(b"x")
    assert isinstance(fault, PeerMisspoke)
    assert fault.fatal


def test_a_result_that_is_no_json_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        jsonlines.answer(1, float("nan"))
    with pytest.raises(TypeError):
        jsonlines.answer(1, object())


def test_lines_are_given_out_once_each() -> None:
    lines = Lines()
    assert lines.feed(b"a\nb") == [b"a"]
    assert lines.unfinished == 1
    assert lines.feed(b"c\n\n") == [b"bc", b""]
    assert lines.unfinished == 0
