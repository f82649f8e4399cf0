from __future__ import annotations

import io
import struct
import wave

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import encoded
from encoded import HEIGHT, MADE, RATE, SECONDS, WIDTH
from materializer.measure import Measures, measure
from materializer.sniff import HEAD

PICTURES = {"png", "jpg", "gif", "webp", "avif", "heic", "bmp", "tiff"}


@pytest.mark.parametrize(
    "name", [name for name, (extension, _) in MADE.items() if extension in PICTURES]
)
def test_a_picture_tells_its_size(name: str) -> None:
    extension, make = MADE[name]
    assert measure(extension, make()[:HEAD]) == Measures(WIDTH, HEIGHT)


def test_an_icon_tells_the_size_of_its_largest_picture() -> None:
    icon = encoded.picture("ICO", sizes=((16, 10), (48, 30), (32, 20)))
    with Image.open(io.BytesIO(icon)) as image:
        assert measure("ico", icon) == Measures(*image.size)


def test_an_icon_of_256_pixels_writes_that_as_nothing() -> None:
    assert measure("ico", b"\0\0\1\0\1\0" + bytes(16)) == Measures(256, 256)


def test_a_bitmap_from_the_top_down_has_a_height_too() -> None:
    bitmap = bytearray(encoded.picture("BMP"))
    bitmap[22:26] = struct.pack("<i", -HEIGHT)
    assert measure("bmp", bytes(bitmap)) == Measures(WIDTH, HEIGHT)


def test_an_old_bitmap_has_short_sides() -> None:
    old = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 40, 50, 1, 24)
    assert measure("bmp", old) == Measures(40, 50)


def test_a_tiff_of_the_other_byte_order_is_read() -> None:
    entries = struct.pack(">HHIHHHHII", 256, 3, 1, 40, 0, 257, 4, 1, 50)
    tiff = b"MM\0*" + struct.pack(">IH", 8, 2) + entries
    assert measure("tiff", tiff) == Measures(40, 50)


def test_of_the_extents_in_a_heif_file_the_largest_counts() -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    extents = b"".join(
        box(b"ispe", struct.pack(">III", 0, *size))
        for size in ((512, 512), (400, 1000), (160, 120))
    )
    meta = box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", extents)))
    assert measure("heic", box(b"ftyp", b"heic") + meta) == Measures(400, 1000)


def test_the_preview_in_a_photo_does_not_tell_its_size() -> None:
    preview = encoded.picture("JPEG", "L")
    marker = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    photo = encoded.picture("JPEG", quality=90)
    photo = b"\xff\xd8\xff" + marker + photo[2:]
    assert measure("jpg", photo) == Measures(WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("root", "size"),
    [
        ('<svg width="40" height="50">', (40, 50)),
        ("<svg height='50px' width='40.4px' viewBox='0 0 1 1'>", (40, 50)),
        ('<svg viewBox="0 0 40 50">', (40, 50)),
        ('<svg:svg viewBox=" 0,0, 40.0,\n50 "/>', (40, 50)),
        ('<svg width="100%" height="100%" viewBox="0 0 40 50">', (40, 50)),
        ('<svg width="10cm" height="5cm">', (None, None)),
        ('<svg width="40">', (None, None)),
        ('<svg data-width="40" stroke-width="1" height="50">', (None, None)),
        ('<svg viewBox="0 0 40">', (None, None)),
        ('<svg viewBox="0 0 a b">', (None, None)),
        ('<svg width="0" height="0">', (None, None)),
        ("<svg", (None, None)),
    ],
)
def test_a_drawing_tells_its_size_where_it_is_in_plain_numbers(
    root: str, size: tuple[int | None, int | None]
) -> None:
    assert measure("svg", root.encode()) == Measures(*size)


@pytest.mark.parametrize(
    "name",
    [
        "WAV 16 bit",
        "WAV 24 bit",
        "WAV float",
        "AIFF",
        "FLAC",
        "MP3",
        "M4A",
        "MP4 index in front",
        "WebM VP8",
        "WebM sound",
        "MKV",
    ],
)
def test_a_sound_or_a_film_tells_its_duration(name: str) -> None:
    extension, make = MADE[name]
    found = measure(extension, make()[:HEAD]).duration_ms
    assert found is not None
    # FFmpeg itself, which looks at all of it, agrees; encoders add a frame or two.
    with av.open(io.BytesIO(make()), "r") as file:
        assert file.duration is not None
        assert found == pytest.approx(file.duration / 1000, abs=50)
    assert found == pytest.approx(1000 * SECONDS, abs=50)


@pytest.mark.parametrize(
    "name",
    [
        "MP4",  # its index is behind the first bytes
        "MP4 fragmented",
        "MP4 with an index of fragments",
        "WebM on a pipe",
        "WAV on a pipe",
        "AIFF on a pipe",
        "FLAC on a pipe",
        "AAC",
    ],
)
def test_a_duration_that_is_not_in_the_header_is_not_guessed(name: str) -> None:
    extension, make = MADE[name]
    assert measure(extension, make()[:HEAD]) == Measures()


def test_a_film_whose_header_covers_one_fragment_is_not_measured_by_it() -> None:
    data = encoded.film("mp4", "libx264", movflags="isml+frag_keyframe")
    assert measure("mp4", data[:HEAD]) == Measures()


def test_a_film_of_the_64_bit_form_is_measured() -> None:
    header = struct.pack(">B3xQQIQ", 1, 0, 0, 1000, 5500)
    moov = struct.pack(">I4sI4s", 16 + len(header), b"moov", 8 + len(header), b"mvhd")
    assert measure("mp4", moov + header) == Measures(duration_ms=5500)


def test_an_mp3_of_another_encoder_is_measured_by_its_own_table() -> None:
    frame = b"\xff\xfb\x90\x64" + bytes(32)
    table = b"VBRI" + bytes(10) + struct.pack(">I", 1000)
    assert measure("mp3", frame + table) == Measures(
        duration_ms=round(1000 * 1000 * 1152 / 44100)
    )


@pytest.mark.parametrize(
    ("extension", "data"),
    [
        ("png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\0\0"),
        ("wav", b"RIFF....WAVEfmt \x10\0\0\0" + bytes(16) + b"data\1\0\0\0"),
        ("mp4", struct.pack(">I4sI4sB3xIIII", 36, b"moov", 28, b"mvhd", 0, 0, 0, 0, 9)),
        (
            "mp4",
            struct.pack(">I4sI4sB3xQQIQ", 48, b"moov", 40, b"mvhd", 1, 0, 0, 1, 2**63),
        ),
        ("aiff", b"FORM....AIFFCOMM\0\0\0\x12\0\1\0\0\1\0\0\x10\x7f\xff" + b"\xff" * 8),
        ("txt", b"hello"),
    ],
)
def test_what_makes_no_sense_is_left_unsaid(extension: str, data: bytes) -> None:
    assert measure(extension, data) == Measures()


def test_a_rate_of_its_own_is_taken_into_account() -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(bytes(4 * RATE * 3))
    assert measure("wav", buffer.getvalue()[:HEAD]) == Measures(duration_ms=3000)


EXTENSIONS = sorted({extension for extension, _ in MADE.values()} | {"svg"})


@given(
    st.sampled_from(EXTENSIONS),
    st.sampled_from([make()[:600] for _, make in MADE.values()]),
    st.integers(0, 600),
    st.binary(max_size=20),
)
def test_no_bytes_make_it_fail(
    extension: str, data: bytes, at: int, damage: bytes
) -> None:
    found = measure(extension, data[:at] + damage + data[at + len(damage) :])
    assert found.width is None or 0 < found.width < 2**32
    assert found.duration_ms is None or 0 <= found.duration_ms <= 10**11
