from __future__ import annotations

import codecs
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import encoded
from encoded import MADE
from materializer.sniff import HEAD, Media, is_page, sniff
from need import need

# What file(1) calls what it has a name for, and what it says of what it has none for.
ORACLE = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "heic": "image/heic",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
    "ico": "image/vnd.microsoft.icon",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "mkv": "video/x-matroska",
    "avi": "video/x-msvideo",
    "mp3": "audio/mpeg",
    "wav": "audio/x-wav",
    "aiff": "audio/x-aiff",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",  # the container alone
    "m4a": "audio/x-m4a",
    "aac": "audio/x-hx-aac-adts",
    "glb": "model/gltf-binary",
    "pdf": "application/pdf",
    "zip": "application/zip",
    "usdz": "application/zip",  # the container alone
    "stl": "application/octet-stream",  # begins with anything; in letters, text
    "ply": "application/octet-stream",  # has no entry in its tables; likewise
    "obj": "text/plain",  # has no entry in its tables
    "gltf": "application/json",
}


@pytest.mark.parametrize("name", MADE)
def test_what_real_encoders_make_is_recognised(name: str) -> None:
    extension, make = MADE[name]
    assert found(make()).extension == extension


@pytest.mark.parametrize("name", MADE)
def test_file_agrees(name: str, tmp_path: Path) -> None:
    need("file")
    extension, make = MADE[name]
    expected = "text/plain" if name.endswith("in letters") else ORACLE[extension]
    said = told_by_file(make(), tmp_path)
    # Which JSON it knows as such depends on its version.
    assert said == expected or (extension == "gltf" and said == "text/plain")


@pytest.mark.parametrize(
    ("data", "extension", "called"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "svg", "image/svg+xml"),
        (b"%PDF-1.7\n", "pdf", "application/pdf"),
        (b'{"a": [1, 2]}', "json", "application/json"),
        (b"Hello, world.\n", "txt", "text/plain"),
        ("Größe: 5 µm\n".encode(), "txt", "text/plain"),
        (codecs.BOM_UTF16_LE + "Hello\n".encode("utf-16-le"), "txt", "text/plain"),
        (b"PK\5\6" + bytes(18), "zip", "application/zip"),
        (b"<!DOCTYPE html><html><p>No</p></html>", "html", "text/html"),
        (b"\0\0\2\0moov\0\0\0\x6cmvhd" + bytes(300), "mov", "video/quicktime"),
    ],
)
def test_file_agrees_on_what_is_written_by_hand(
    data: bytes, extension: str, called: str, tmp_path: Path
) -> None:
    assert found(data).extension == extension
    need("file")
    assert told_by_file(data, tmp_path) == called


@pytest.mark.parametrize(
    ("data", "extension"),
    [
        # No encoder at hand writes these, and file(1) has no name for FBX.
        (b"\0\0\0\x08wide\0\0\1\0mdat" + bytes(300), "mov"),
        (b"Kaydara FBX Binary  \0\x1a\0\xe8\x1c\0\0" + bytes(100), "fbx"),
        (b"; FBX 7.4.0 project file\n; ----\nFBXHeaderExtension: {\n}\n", "fbx"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif" + bytes(20), "avif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(20), "heic"),
        (b"\0\0\0\x14ftyphevx\0\0\0\0hevx", "heic"),
        (b"\0\0\0\x14ftypM4B \0\0\0\0M4B ", "m4a"),
        (b"\0\0\0\x14ftypXYZW\0\0\0\0XYZW", "mp4"),
        (b"II+\0\x08\0\0\0", "tiff"),
        (b"GIF87a\1\0\1\0\0\0\0", "gif"),
        (b"FORM\0\0\0\0AIFC", "aiff"),
        (b"solid cube\nendsolid cube\n", "stl"),
        (b"# a mesh\n\nmtllib a.mtl\no a\nv 0 0 -1.5e-3\nf 1 1 1\n", "obj"),
        (b"OggS\0\2" + bytes(20) + b"\1\x2a\x80theora", "ogv"),
        (b'\n[1, {"a": null}]\n', "json"),
        (b'{"error": {"code": 404, "message": "<html>"}}', "json"),
        (b'{"detail": "not found"}', "json"),
    ],
)
def test_rarer_forms_are_recognised(data: bytes, extension: str) -> None:
    assert found(data).extension == extension


def test_a_tag_in_front_of_a_sound_says_nothing_of_its_kind() -> None:
    tag = b"ID3\4\0\0\0\0\1\0" + bytes(128)
    for name in ("FLAC", "AAC", "MP3"):
        extension, make = MADE[name]
        assert found(tag + make()[:HEAD]).extension == extension
    assert found(b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(HEAD)).extension == "mp3"


def test_a_coloured_mesh_is_recognised() -> None:
    ball = bytearray(encoded.mesh("stl"))
    for at in range(84 + 48, len(ball), 50):
        ball[at : at + 2] = b"\x1f\x80"
    assert found(bytes(ball)).extension == "stl"


def test_a_mesh_larger_than_the_head_is_recognised_by_its_facets() -> None:
    ball = encoded.mesh("stl")
    facets = ball[84:] * 6
    large = ball[:80] + struct.pack("<I", len(facets) // 50) + facets
    assert found(large).extension == "stl"
    noise = ball[:80] + struct.pack("<I", 10_000) + b"\x42" * 500_000
    assert sniff(noise[:HEAD]) is None or found(noise).extension == "txt"


def test_json_larger_than_the_head_is_recognised_by_its_beginning() -> None:
    rows = b"[" + b",".join(b'{"row": %d}' % n for n in range(10_000)) + b"]"
    assert found(rows).extension == "json"
    assert found(b"[" * HEAD).extension == "json"


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><html></html>",
        b"<!doctype HTML>\r\n<html>",
        b'<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html>',
        b"  \n<html lang=en>",
        b"\xef\xbb\xbf<!-- hi --><HTML>",
        b"\xef\xbb\xbf\n<!-- a --> <!-- b > -->\n<Head>",
        codecs.BOM_UTF16_LE + "<html><body>Nö".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "<!doctype html>".encode("utf-16-be"),
        "<html><title>Erreur : accès refusé".encode("latin-1"),
        b"<!-- a comment that does not end",
        b"<h1>502 Bad Gateway</h1>",
        b'<a href="https://h/">Moved</a>.',
        b"<script>location='/login'</script>",
        b"<center>nginx</center>",
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        b"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>NoSuchKey</Code>",
        b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><Error>\n',
        b'<Error xmlns="urn:x">',
        b'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">',
        b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3/">',
        b'<?xml version="1.0"?><soap:Envelope xmlns:soap="x"><soap:Body>',
        (
            b'<?xml version="1.0"?>\n'
            b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN">\n<html xmlns="http://www.w3.org/1999/xhtml">'
        ),
        b'<?xml version="1.0"?><?xml-stylesheet href="x"?><html xmlns="x"/>',
    ],
)
def test_an_error_page_is_known_for_what_it_is(page: bytes) -> None:
    assert is_page(sniff(page))


@pytest.mark.parametrize(
    "svg",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
        b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg>',
        b'\xef\xbb\xbf<?xml version="1.0"?><svg:svg xmlns:svg="x"/>',
        b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd">\n<svg\nid="a">',
        b'<!DOCTYPE svg [\n<!ENTITY ns "http://x/">\n]>\n<svg xmlns="&ns;">',
        codecs.BOM_UTF16_LE + "<svg >".encode("utf-16-le"),
    ],
)
def test_a_picture_in_markup_is_no_page(svg: bytes) -> None:
    assert not is_page(sniff(svg))
    assert found(svg).extension == "svg"


@pytest.mark.parametrize(
    "text",
    [
        b"BM is what the film was called, and nobody knew why at the time.",
        b"solid advice, and more of it\nthan anybody asked for",
        b"glTF is a format for scenes",
        b"ID3 tags are old",
        b"[Music] Hello and welcome",
        b"{laughs} no",
        b"[1] A footnote",
        b"1234mdat",
        b"RIFF is no word",
        b"ply",
        b"<3 this song",
        b"< html >",
        b"v 1 2 3 go",
        codecs.BOM_UTF16_LE + "Hi".encode("utf-16-le"),
    ],
)
def test_a_text_that_begins_like_something_else_is_a_text(text: bytes) -> None:
    assert found(text).extension == "txt"


def test_a_text_that_ends_within_a_character_is_a_text() -> None:
    assert found("café".encode()[:-1]).extension == "txt"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \n",
        b"\0" * 100,
        b"\0" * HEAD,
        b"\x80\x81",
        b"\xff\xfb\x90\x64" + b"\x07" * 4000,
        b"a \x07 bell",
        b"PK\3",
        struct.pack("<20I", *range(20)),
        bytes(range(256)) * 256,
    ],
)
def test_noise_is_nothing(data: bytes) -> None:
    assert sniff(data) is None


def test_a_picture_and_a_sound_come_with_their_measures() -> None:
    assert found(encoded.picture("PNG")) == Media(
        "image/png", "png", "image", width=encoded.WIDTH, height=encoded.HEIGHT
    )
    assert found(encoded.wav()) == Media(
        "audio/wav", "wav", "audio", duration_ms=1000 * encoded.SECONDS
    )


BEGINNINGS = [make()[:64] for _, make in MADE.values()] + [
    b"<svg", b"<!--", b"<?xml", b"{", b"[", b"ID3\4\0\0\0\0\0\5", b"\xff\xfe<\0",
    b"# \n" * 20, b"<!DOCTYPE svg [", b"v 1 1 1",
]  # fmt: skip


@given(st.sampled_from([b"", *BEGINNINGS]), st.binary(max_size=400))
def test_no_bytes_make_it_fail(beginning: bytes, rest: bytes) -> None:
    media = sniff(beginning + rest)
    assert media is None or media.extension.isalnum()


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "piece", [b" ", b"#\n", b"<svg ", b"<!--", b"<?", b'"asset":{', b"v 1", b"[", b"\n"]
)
@pytest.mark.parametrize(
    "start", [b"", b"<!DOCTYPE svg [", b"<svg ", b"{", b"solid", b"#\n"]
)
def test_no_repetition_makes_it_slow(start: bytes, piece: bytes) -> None:
    sniff((start + piece * HEAD)[:HEAD])
    sniff((start + piece * HEAD)[: HEAD - 1] + b"x")


def found(data: bytes) -> Media:
    media = sniff(data[:HEAD])
    assert media is not None
    return media


def told_by_file(data: bytes, directory: Path) -> str:
    path = directory / "sample"
    path.write_bytes(data)
    command = [str(shutil.which("file")), "--brief", "--mime-type", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return said.stdout.strip()
