from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from encoded import picture
from materializer.inspection import inspect
from materializer.model import Kind
from materializer.place import Places

PNG = picture("PNG")
GLTF = b'{"asset": {"version": "2.0"}}'


@pytest.fixture
def places(tmp_path: Path) -> Places:
    outputs = tmp_path / "state" / "media" / "outputs"
    partial = outputs / ".partial"
    partial.mkdir(parents=True)
    return Places(outputs, partial)


def put(places: Places, name: str, data: bytes) -> None:
    (places.outputs / name).write_bytes(data)


def test_a_picture_is_told_as_it_is(places: Places) -> None:
    put(places, "j_3.png", PNG)
    os.utime(places.outputs / "j_3.png", ns=(0, 1_234_567_890))
    found = inspect(places, "j_3.png", 3)
    placed = found.placed
    assert (found.flaw, found.written_at) == (None, 1_234)
    assert (placed.index, placed.kind, placed.mime_type) == (3, "image", "image/png")
    assert placed.path == str(places.outputs / "j_3.png")
    assert placed.bytes == len(PNG)
    assert placed.sha256 == hashlib.sha256(PNG).hexdigest()
    assert placed.width
    assert placed.height


@pytest.mark.parametrize(
    ("name", "data", "kind", "mime_type"),
    [
        ("j_0.txt", b"words", "download", "text/plain"),
        ("j_0.srt", b"1\n00:00:01,000 --> 00:00:02,000\nHi", "download", None),
        ("j_0.json", b'{"a": 1}', "download", "application/json"),
        ("j_0.gltf", GLTF, "model3d", "model/gltf+json"),
        ("j_0.bin", b"words", "download", "text/plain"),
        ("j_0.bin", b"\x01\x02\x03", "download", "application/octet-stream"),
        ("j_0.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image", None),
    ],
)
def test_the_content_says_of_what_kind_it_is(
    places: Places, name: str, data: bytes, kind: Kind, mime_type: str | None
) -> None:
    put(places, name, data)
    found = inspect(places, name, 0)
    assert (found.flaw, found.placed.kind) == (None, kind)
    if mime_type:
        assert found.placed.mime_type == mime_type


def test_a_transcript_has_its_text_whatever_it_looks_like(places: Places) -> None:
    put(places, "j_0.txt", b'{"asset": 1}')
    put(places, "j_1.json", b'"spoken"')
    text = inspect(places, "j_0.txt", 0, "text")
    whole = inspect(places, "j_1.json", 1, "text", companion=True)
    assert (text.flaw, text.placed.text) == (None, '{"asset": 1}')
    assert (whole.flaw, whole.placed.text, whole.placed.companion) == (None, None, True)
    put(places, "j_0.txt", b"")
    assert inspect(places, "j_0.txt", 0, "text").flaw is None


@pytest.mark.parametrize(
    ("name", "data", "flaw"),
    [
        ("j_0.png", b"", "it is empty"),
        ("j_0.png", PNG[:-9], "the PNG ends before"),
        ("j_0.png", picture("JPEG"), "its content is not PNG"),
        ("j_0.bin", b"<!doctype html><html></html>", "it is a web page"),
        ("j_0.php", b"<?php ?>", "its content is not PHP"),
    ],
)
def test_what_is_not_what_it_is_called_has_a_flaw(
    places: Places, name: str, data: bytes, flaw: str
) -> None:
    put(places, name, data)
    found = inspect(places, name, 0)
    assert found.flaw is not None
    assert found.flaw.startswith(flaw)


def test_a_file_that_is_written_to_meanwhile_is_not_judged(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(places, "j_0.png", PNG)

    def digest(_: object) -> str:
        put(places, "j_0.png", PNG + PNG)
        return "of what is half the one and half the other"

    monkeypatch.setattr("materializer.inspection.digest", digest)
    with pytest.raises(OSError, match="written to"):
        inspect(places, "j_0.png", 0)


def test_no_link_is_followed(places: Places, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    (places.outputs / "j_0.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(OSError, match="j_0"):
        inspect(places, "j_0.png", 0)
