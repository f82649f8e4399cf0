from __future__ import annotations

import io
import struct
from typing import Any

import av
import pytest

import encoded
from materializer.containers import (
    Ended,
    Source,
    TooManySteps,
    boxes,
    chunks,
    elements,
    id3_end,
    mpeg_frame,
    within,
)


def test_a_source_gives_exactly_what_is_asked_for() -> None:
    source = within(b"abcdef")
    assert source.take(2, 3) == b"cde"
    assert source.take(0, 1) == b"a"
    assert source.number(0, 2) == 0x6162
    assert source.number(0, 2, "little") == 0x6261
    with pytest.raises(Ended):
        source.take(4, 3)


def test_a_file_that_shrank_meanwhile_has_ended() -> None:
    with pytest.raises(Ended):
        Source(10, lambda at, count: b"abc"[at : at + count]).take(1, 5)


def test_neighbours_are_read_at_once() -> None:
    reads = []

    def read(at: int, count: int) -> bytes:
        reads.append((at, count))
        return bytes(count)

    source = Source(10_000, read)
    for at in range(0, 4000, 8):
        source.take(at, 8)
    assert len(reads) == 1
    source.take(9_990, 10)
    source.take(0, 1)
    assert len(reads) == 3


def test_nobody_walks_for_ever() -> None:
    source = within(b"\0\0\0\x08free" * 200_001)
    with pytest.raises(TooManySteps):
        list(boxes(source, 0, source.size))


def test_boxes_follow_each_other_whatever_form_their_length_has() -> None:
    data = (
        struct.pack(">I4s", 12, b"free") + b"four"
        + struct.pack(">I4sQ", 1, b"mdat", 20) + b"four"
        + struct.pack(">I4s", 0, b"moov") + b"rest"
    )  # fmt: skip
    assert list(boxes(within(data), 0, len(data))) == [
        (b"free", 8, 12),
        (b"mdat", 28, 32),
        (b"moov", 40, 44),
    ]


@pytest.mark.parametrize(
    "rest",
    [b"\0\0\0\x07free", b"\0\0\0\x08\0\0\0\0", b"\0\0\0\1free" + bytes(8), b"\0"],
)
def test_what_cannot_be_a_box_ends_them(rest: bytes) -> None:
    data = b"\0\0\0\x08free" + rest
    assert len(list(boxes(within(data), 0, len(data)))) == 1


def test_chunks_are_padded_to_even_lengths() -> None:
    data = b"abcd\1\0\0\0x\0efgh\2\0\0\0xy"
    assert list(chunks(within(data), 0, len(data))) == [
        (b"abcd", 8, 9),
        (b"efgh", 18, 20),
    ]
    assert list(chunks(within(b"abcd\0\0\0\2xy"), 0, 10, "big")) == [(b"abcd", 8, 10)]


def test_elements_of_unknown_length_are_followed_by_their_children() -> None:
    data = b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"\xec\x82ab" + b"\x42\x82\x40\x01c"
    assert [tuple(e) for e in elements(within(data), 0, len(data))] == [
        (b"\x18\x53\x80\x67", 12, None),
        (b"\xec", 14, 16),
        (b"\x42\x82", 20, 21),
    ]


@pytest.mark.parametrize("end", [1, 2, 4, 5, 8, 11])
def test_an_element_whose_header_is_cut_has_ended(end: int) -> None:
    data = b"\x18\x53\x80\x67\x01\0\0\0\0\0\0\1x"[:end]
    with pytest.raises(Ended):
        list(elements(within(data), 0, len(data)))


@pytest.mark.parametrize("rest", [b"\0\0\0", b"\x08\x00\x00", b"\xec\0\0"])
def test_what_cannot_be_an_element_ends_them(rest: bytes) -> None:
    data = b"\xec\x80" + rest
    assert len(list(elements(within(data), 0, len(data)))) == 1


@pytest.mark.parametrize(
    ("codec", "rate", "kbits"),
    [
        ("libmp3lame", 44100, 128),
        ("libmp3lame", 48000, 320),
        ("libmp3lame", 24000, 64),
        ("libmp3lame", 11025, 32),
        ("mp2", 48000, 192),
        ("mp2", 22050, 64),
    ],
)
def test_the_frames_of_real_encoders_follow_each_other(
    codec: str, rate: int, kbits: int
) -> None:
    buffer = io.BytesIO()
    options = {"write_xing": "0", "id3v2_version": "0"} if codec != "mp2" else {}
    form = "mp2" if codec == "mp2" else "mp3"
    with av.open(buffer, "w", format=form, options=options) as out:
        stream: Any = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = kbits * 1000
        frame = av.AudioFrame.from_ndarray(
            encoded.samples()[:, :rate], format="s16", layout="mono"
        )
        frame.rate = rate
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    data = buffer.getvalue()
    at = seconds = 0.0
    while at < len(data):
        frame_ = mpeg_frame(data[int(at) : int(at) + 4])
        assert frame_ is not None
        assert frame_.rate == rate
        seconds += frame_.samples / frame_.rate
        at += frame_.length
    assert at == len(data)
    assert seconds == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize(
    "header",
    [
        b"\xff\xfb\x90",
        b"\xff\x1b\x90\0",
        b"\xff\xeb\x90\0",
        b"\xff\xf9\x90\0",
        b"\xff\xfb\x00\0",
        b"\xff\xfb\xf0\0",
        b"\xff\xfb\x9c\0",
    ],
)
def test_what_breaks_a_rule_is_no_frame(header: bytes) -> None:
    assert mpeg_frame(header) is None


def test_a_frame_of_the_first_layer_is_counted_in_slots_of_four() -> None:
    frame = mpeg_frame(b"\xff\xff\x92\0")
    assert frame is not None
    assert (frame.length, frame.samples) == ((12 * 288_000 // 44100 + 1) * 4, 384)


@pytest.mark.parametrize(
    ("head", "end"),
    [
        (b"ID3\4\0\0\0\0\1\2", 10 + 128 + 2),
        (b"ID3\4\0\x10\0\0\0\0", 20),
        (b"ID3\3\0\0\0\0\0", 0),
        (b"ID3\3\0\0\x80\0\0\0", 0),
        (b"ID3 tags are old", 0),
        (b"fLaC" + bytes(10), 0),
    ],
)
def test_a_tag_tells_where_it_ends(head: bytes, end: int) -> None:
    assert id3_end(head) == end
