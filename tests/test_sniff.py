from __future__ import annotations

import io
import shutil
import struct
import subprocess
import wave
import zipfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import trimesh
from PIL import Image

from materializer.sniff import HEAD, is_page, sniff
from need import need


def picture(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (37, 23), "teal").save(buffer, form)
    return buffer.getvalue()


def sound(container: str, codec: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=48000)
        tone = np.zeros((1, 4800), np.int16)
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return buffer.getvalue()


def film(container: str, codec: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        image = np.zeros((48, 64, 3), np.uint8)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        out.mux(stream.encode())
    return buffer.getvalue()


def wav() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(b"\0\0" * 800)
    return buffer.getvalue()


def mesh(form: str) -> bytes:
    data = trimesh.creation.box().export(file_type=form)
    return data if isinstance(data, bytes) else str(data).encode()


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.writestr("a.txt", "a")
    return buffer.getvalue()


# extension -> bytes made by a real encoder, and what file(1) calls them
MADE = {
    "png": (picture("PNG"), "image/png"),
    "jpg": (picture("JPEG"), "image/jpeg"),
    "gif": (picture("GIF"), "image/gif"),
    "webp": (picture("WEBP"), "image/webp"),
    "bmp": (picture("BMP"), "image/bmp"),
    "tiff": (picture("TIFF"), "image/tiff"),
    "ico": (picture("ICO"), "image/vnd.microsoft.icon"),
    "avif": (picture("AVIF"), "image/avif"),
    "mp4": (film("mp4", "libx264"), "video/mp4"),
    "mov": (film("mov", "libx264"), "video/quicktime"),
    "webm": (film("webm", "libvpx"), "video/webm"),
    "mkv": (film("matroska", "libx264"), "video/x-matroska"),
    "avi": (film("avi", "mpeg4"), "video/x-msvideo"),
    "mp3": (sound("mp3", "libmp3lame"), "audio/mpeg"),
    "flac": (sound("flac", "flac"), "audio/flac"),
    "opus": (sound("ogg", "libopus"), "audio/ogg"),
    "aac": (sound("adts", "aac"), "audio/x-hx-aac-adts"),
    "m4a": (sound("ipod", "aac"), "audio/x-m4a"),
    "aiff": (sound("aiff", "pcm_s16be"), "audio/x-aiff"),
    "wav": (wav(), "audio/x-wav"),
    "glb": (mesh("glb"), "model/gltf-binary"),
    "zip": (archive(), "application/zip"),
}


@pytest.mark.parametrize("extension", MADE)
def test_what_real_encoders_make_is_recognised(extension: str) -> None:
    data, _ = MADE[extension]
    media = sniff(data[:HEAD])
    assert media is not None
    assert media.extension == extension


@pytest.mark.parametrize("extension", MADE)
def test_file_agrees(extension: str, tmp_path: Path) -> None:
    need("file")
    data, called = MADE[extension]
    path = tmp_path / "sample"
    path.write_bytes(data)
    command = [str(shutil.which("file")), "--brief", "--mime-type", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == called


@pytest.mark.parametrize("extension", ["stl", "obj", "ply", "gltf"])
def test_meshes_without_a_magic_number_are_recognised(extension: str) -> None:
    if extension == "gltf":
        data = b'{"asset": {"version": "2.0"}, "scenes": []}'
    else:
        data = mesh(extension)
    media = sniff(data[:HEAD])
    assert media is not None
    assert (media.extension, media.kind) == (extension, "model3d")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_picture_tells_its_size(form: str) -> None:
    media = sniff(picture(form))
    assert media is not None
    assert (media.width, media.height) == (37, 23)


@pytest.mark.parametrize("lossless", [True, False])
def test_every_form_of_webp_tells_its_size(lossless: bool) -> None:
    buffer = io.BytesIO()
    image = Image.new("RGBA", (40, 50), (1, 2, 3, 4))
    image.save(buffer, "WEBP", lossless=lossless)
    media = sniff(buffer.getvalue())
    assert media is not None
    assert (media.width, media.height) == (40, 50)


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><html></html>",
        b"  \n<html lang=en>",
        b"\xef\xbb\xbf<!-- hi --><HTML>",
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    ],
)
def test_an_error_page_is_known_for_what_it_is(page: bytes) -> None:
    assert is_page(sniff(page))


def test_a_picture_with_markup_in_it_is_no_page() -> None:
    svg = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>'
    media = sniff(svg)
    assert media is not None
    assert (media.extension, is_page(media)) == ("svg", False)


@pytest.mark.parametrize(
    ("data", "extension"),
    [(b"hello", "txt"), (b'{"a": 1}', "json"), (b"%PDF-1.7", "pdf")],
)
def test_documents_are_recognised(data: bytes, extension: str) -> None:
    media = sniff(data)
    assert media is not None
    assert media.extension == extension


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 100, b"\x80\x81", struct.pack("<20I", *range(20))]
)
def test_noise_is_nothing(data: bytes) -> None:
    assert sniff(data) is None
