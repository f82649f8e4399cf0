from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import encoded
from encoded import ENDED, MADE
from materializer.sniff import Media, sniff
from materializer.structure import flaw


def media(extension: str) -> Media:
    return Media("a/b", extension, "download")


def verdict(extension: str, data: bytes) -> str | None:
    return flaw(media(extension), len(data), reader(data))


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, count: data[offset : offset + count]


@pytest.mark.parametrize("name", MADE)
def test_what_a_real_encoder_made_is_whole(name: str) -> None:
    extension, make = MADE[name]
    assert verdict(extension, make()) is None


@pytest.mark.parametrize("name", ENDED)
def test_the_same_file_cut_anywhere_is_not(name: str) -> None:
    extension, make = ENDED[name]
    data = make()
    ends = [len(data) * part // 64 for part in range(1, 64)] + [len(data) - 1]
    missed = [end for end in ends if verdict(extension, data[:end]) is None]
    assert missed == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("PNG RGB", "the PNG ends before its IEND chunk"),
        ("JPEG RGB", "the JPG ends before its end-of-image mark"),
        ("GIF P", "the GIF ends before its trailer"),
        ("MP4 index in front", "the MP4 ends before its mdat box does"),
        ("WAV 16 bit", "the WAV ends before its data chunk does"),
        ("ZIP", "the ZIP ends before its directory of members"),
    ],
)
def test_a_flaw_is_told_in_words_for_a_person(name: str, words: str) -> None:
    extension, make = ENDED[name]
    data = make()
    assert verdict(extension, data[: len(data) // 2]) == words


@pytest.mark.parametrize("name", [*ENDED, "motion photo", "two pictures in one"])
@pytest.mark.parametrize("rest", [b"\0", b"\0" * 700], ids=["byte", "block"])
def test_padding_behind_the_end_is_no_flaw(name: str, rest: bytes) -> None:
    extension, make = MADE[name]
    assert verdict(extension, make() + rest) is None


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("PNG RGB", b"<metadata/>" * 20),
        ("JPEG RGB", b"<metadata/>" * 9000),
        ("GIF animated", b"<metadata/>" * 20),
        ("MP4", b"<metadata/>" * 20),
        ("MP4 fragmented", b"<metadata/>" * 20),
        ("WebM VP8", b"<metadata/>" * 20),
        ("WAV 16 bit", b"<metadata/>" * 20),
        ("FLAC", b"TAG" + b"a title".ljust(125, b"\0")),
        ("FLAC", b"APETAGEX" + b"a picture" * 30_000),
        ("ZIP", b"<metadata/>" * 20),
    ],
)
def test_nor_is_what_some_program_put_behind_it(name: str, rest: bytes) -> None:
    extension, make = ENDED[name]
    assert verdict(extension, make() + rest) is None


def test_the_end_mark_of_a_preview_is_not_that_of_the_photo() -> None:
    preview = encoded.picture("JPEG", "L")
    marker = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    photo = b"\xff\xd8" + marker + encoded.picture("JPEG")[2:]
    assert verdict("jpg", photo) is None
    assert verdict("jpg", photo[: 4 + len(marker)]) is not None
    assert verdict("jpg", photo[: len(marker) + 2]) is not None


def test_a_wav_without_the_last_padding_is_whole() -> None:
    data = encoded.wav(1)[:-1]
    odd = data[:40] + struct.pack("<I", len(data) - 44) + data[44:]
    assert len(odd) % 2
    assert verdict("wav", odd) is None


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_a_wav_that_was_streamed_says_no_length(length: int) -> None:
    data = encoded.wav()
    streamed = struct.pack("<4sI", b"RIFF", length) + data[8:40]
    assert verdict("wav", streamed + struct.pack("<I", length) + data[44:]) is None


def test_nor_does_an_avi_that_was_streamed() -> None:
    data = encoded.film("avi", "mpeg4", pipe=True)
    assert verdict("avi", data.replace(b"\xff" * 4, bytes(4))) is None


def test_an_mp4_whose_samples_last_to_the_end_is_whole() -> None:
    data = encoded.film("mp4", "libx264", movflags="faststart")
    at = data.index(b"mdat") - 4
    assert verdict("mp4", data[:at] + b"\0\0\0\0" + data[at + 4 :]) is None


def test_an_mp4_with_long_lengths_is_followed() -> None:
    data = encoded.film("mp4", "libx264", movflags="faststart")
    at = data.index(b"mdat") - 4
    (size,) = struct.unpack_from(">I", data, at)
    long = struct.pack(">I4sQ", 1, b"mdat", size + 8)
    data = data[:at] + long + data[at + 8 :]
    assert verdict("mp4", data) is None
    assert verdict("mp4", data[:-1]) is not None


def test_an_mp4_that_ends_before_its_index_is_not_whole() -> None:
    data = encoded.film("mp4", "libx264")
    assert verdict("mp4", data[: data.rindex(b"moov") - 4]) == (
        "the MP4 ends before its moov box"
    )


def test_a_fragment_without_its_samples_is_not_whole() -> None:
    data = encoded.film("mp4", "libx264", movflags="frag_keyframe+empty_moov")
    assert verdict("mp4", data[: data.rindex(b"mdat") - 4]) is not None


def test_clusters_of_unknown_length_are_followed_by_their_elements() -> None:
    # As browsers record: neither the segment nor its clusters say where they end.
    data = encoded.film("webm", "libvpx", pipe=True)
    at = data.index(b"\x1f\x43\xb6\x75") + 4
    length = 8 - data[at].bit_length() + 1
    unknown = ((1 << 7 * length) - 1 | 1 << 7 * length).to_bytes(length, "big")
    recorded = data[:at] + unknown + data[at + length :]
    assert recorded != data
    assert verdict("webm", recorded) is None
    ends = [len(recorded) * part // 64 for part in range(64)]
    assert [end for end in ends if verdict("webm", recorded[:end]) is None] == []


def test_the_directory_of_an_archive_within_is_not_that_of_the_zip() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.writestr("inner.zip", encoded.archive())
        out.writestr("more", b"more" * 1000)
    data = buffer.getvalue()
    assert verdict("zip", data) is None
    assert verdict("zip", data[: data.index(b"more")]) is not None


def test_a_sound_that_ends_between_its_chunks_is_not_whole() -> None:
    for extension, chunk in (("wav", b"data"), ("aiff", b"SSND"), ("avi", b"idx1")):
        data = next(make() for known, make in ENDED.values() if known == extension)
        assert verdict(extension, data[: data.index(chunk)]) is not None


def test_a_page_of_which_only_the_mark_came_is_missing() -> None:
    data = encoded.sound("ogg", "libopus")
    start = data.rindex(b"OggS")
    assert verdict("opus", data[: start + 2]) is not None
    assert verdict("opus", data[:start] + b"TAG") is None


def test_an_empty_zip_is_whole() -> None:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    assert verdict("zip", buffer.getvalue()) is None


def test_a_kind_without_an_end_is_never_called_cut() -> None:
    for extension in ("mp3", "aac", "svg", "txt", "obj", "bin"):
        assert verdict(extension, b"") is None


@pytest.mark.parametrize("extension", ["png", "gif", "mp4", "wav", "avi", "webm"])
def test_a_file_of_endless_parts_costs_no_more_than_is_allowed(extension: str) -> None:
    parts = {
        "png": b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0abcd____" * 400_000,
        "gif": b"GIF89a" + b"\0" * 7 + b"!\xff" + b"\1x" * 2_000_000,
        "mp4": b"\0\0\0\x08free" * 600_000,
        "wav": b"RIFF\xff\xff\xff\xffWAVE" + b"junk\0\0\0\0" * 600_000,
        "avi": b"RIFF\xff\xff\xff\xffAVI " + b"junk\0\0\0\0" * 600_000,
        "webm": b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff" + b"\xec\x80" * 2_000_000,
    }
    data = parts[extension]
    read = 0

    def count(offset: int, length: int) -> bytes:
        nonlocal read
        read += length
        return data[offset : offset + length]

    assert flaw(media(extension), len(data), count) is None
    assert read < len(data)


@pytest.mark.parametrize("name", ["MP4", "WebM VP8", "WAV 16 bit", "GLB", "JPEG RGB"])
def test_of_a_large_file_little_is_read(name: str) -> None:
    extension, make = ENDED[name]
    data = make()
    reads = []

    def read(offset: int, count: int) -> bytes:
        reads.append(count)
        return data[offset : offset + count]

    assert flaw(media(extension), len(data), read) is None
    assert len(reads) <= 8
    assert max(reads) <= 4096


EXTENSIONS = sorted({extension for extension, _ in ENDED.values()})


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(EXTENSIONS), st.binary(max_size=300), st.integers(0, 400))
@example("webm", b"\x1a\x45\xdf\xa3\x80", 400)
def test_no_bytes_make_it_fail(extension: str, data: bytes, size: int) -> None:
    said = flaw(media(extension), size, reader(data))
    assert said is None or said.isprintable()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(ENDED)),
    st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4))),
)
def test_nor_does_a_damaged_file(name: str, damage: list[tuple[int, bytes]]) -> None:
    extension, make = ENDED[name]
    data = bytearray(make()[:3000])
    for at, piece in damage:
        data[at : at + len(piece)] = piece
    said = verdict(extension, bytes(data))
    assert said is None or said.isprintable()
    sniff(bytes(data))
