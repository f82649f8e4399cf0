from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import encoded
from materializer.containers import Ended, TooManySteps, within
from materializer.flac import _coded_number, follow


def sound(
    rate: int = 48000, layout: str = "mono", form: str = "s16", seconds: int = 0
) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as out:
        stream: Any = out.add_stream("flac", rate=rate, layout=layout, format=form)
        count = 2 if layout == "stereo" else 1
        wave = encoded.samples()[:, :30_001].repeat(count, axis=1)
        if seconds:
            wave = np.tile(encoded.samples(), seconds // encoded.SECONDS)
        if form == "s32":
            wave = wave.astype(np.int32) << 16
        frame = av.AudioFrame.from_ndarray(wave, format=form, layout=layout)
        frame.rate = rate
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return buffer.getvalue()


FORMS = [
    (48000, "mono", "s16"),
    (44100, "stereo", "s16"),
    (96000, "mono", "s32"),
    (12345, "stereo", "s16"),
    (655_350, "mono", "s16"),
]


@pytest.mark.parametrize(("rate", "layout", "form"), FORMS)
def test_the_last_frame_of_a_whole_sound_is_found(
    rate: int, layout: str, form: str
) -> None:
    follow(within(sound(rate, layout, form)))


@pytest.mark.parametrize(("rate", "layout", "form"), FORMS)
def test_a_sound_that_is_cut_ends_before_it(rate: int, layout: str, form: str) -> None:
    data = sound(rate, layout, form)
    for part in range(1, 64):
        with pytest.raises(Ended):
            follow(within(data[: len(data) * part // 64]))


def test_a_sound_that_is_cut_behind_any_of_its_frames_ends_before_it() -> None:
    data = sound()
    ends = [at for at in range(100, len(data)) if data[at : at + 2] == b"\xff\xf8"]
    assert len(ends) >= 7
    for end in ends:
        with pytest.raises(Ended):
            follow(within(data[:end]))


def test_the_frames_of_a_long_sound_are_counted_in_more_than_a_byte() -> None:
    data = sound(seconds=20)
    follow(within(data))
    for part in (1, 20, 40, 60, 63):
        with pytest.raises(Ended):
            follow(within(data[: len(data) * part // 64]))


@given(st.characters(exclude_categories=["Cs"]))
def test_numbers_are_written_like_characters(character: str) -> None:
    data = character.encode()
    assert _coded_number(data + b"\0") == (ord(character), len(data))


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b"\xfe" + b"\xbf" * 6, (2**36 - 1, 7)),
        (b"\xff" + b"\xbf" * 7, None),
        (b"\x80\x80", None),
        (b"\xc2\x00", None),
    ],
)
def test_but_may_be_longer(data: bytes, number: tuple[int, int] | None) -> None:
    assert _coded_number(data) == number


def test_a_damaged_last_frame_is_seen() -> None:
    data = bytearray(sound())
    data[-500] ^= 1
    with pytest.raises(Ended):
        follow(within(bytes(data)))


def test_a_sound_whose_encoder_did_not_count_is_left_alone() -> None:
    data = bytearray(sound())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    for end in (len(data), len(data) // 2, data.index(b"\xff\xf8")):
        follow(within(bytes(data[:end])))


def test_a_sound_with_more_samples_than_announced_is_left_alone() -> None:
    data = bytearray(sound())
    data[25] -= 1
    follow(within(bytes(data)))
    follow(within(bytes(data[:-100])))


@pytest.mark.parametrize("tag", [b"TAG", b"APETAGEX", b"ID3\4", b"LYRICSBEGIN", b"\0"])
def test_tags_may_follow_a_sound(tag: bytes) -> None:
    data = sound()
    follow(within(data + tag.ljust(128, b"x")))
    with pytest.raises(Ended):
        follow(within(data[:-100] + tag.ljust(128, b"x")))


def test_what_has_not_the_checksum_of_a_header_is_none() -> None:
    data = sound()
    false = data[data.index(b"\xff\xf8") :][:4] + b"\x7f\0"
    with pytest.raises(Ended):
        follow(within(data[: len(data) // 2] + false + bytes(100)))


def test_a_sound_behind_a_tag_is_followed_too() -> None:
    data = b"ID3\4\0\0\0\0\0\5hello" + sound()
    follow(within(data))
    with pytest.raises(Ended):
        follow(within(data[:-1000]))


def test_metadata_that_is_cut_has_ended() -> None:
    with pytest.raises(Ended):
        follow(within(sound()[:80]))


def test_nobody_tries_a_million_headers() -> None:
    data = sound()[:8192] + b"\xff\xf8" * 100_000
    data = data[:10] + b"\xff\xff" + data[12:]
    with pytest.raises(TooManySteps):
        follow(within(data))


@given(st.binary(max_size=500), st.integers(0, 120))
def test_no_bytes_make_it_fail_otherwise(noise: bytes, at: int) -> None:
    try:
        follow(within(sound_once()[:at] + noise))
    except (Ended, TooManySteps):
        return


def sound_once() -> bytes:
    return encoded.sound("flac", "flac")[:200]
