"""What a file is, from its first bytes.

Hand-written because no kept library knows the kinds that this product makes: of the
usual ones, none knows GLB, one calls AVIF a video and M4A nothing, and one takes an
HTML error page for no file at all. `file(1)` is the oracle in the tests.

Give at least `HEAD` bytes where the file has as many.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace

from materializer.model import Kind

HEAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Media:
    """A recognised type: MIME type, extension without dot, kind, size in pixels."""

    mime_type: str
    extension: str
    kind: Kind
    width: int | None = None
    height: int | None = None


PAGE = Media("text/html", "html", "download")

_PNG = Media("image/png", "png", "image")
_JPEG = Media("image/jpeg", "jpg", "image")
_GIF = Media("image/gif", "gif", "image")
_WEBP = Media("image/webp", "webp", "image")
_SVG = Media("image/svg+xml", "svg", "image")
_MP4 = Media("video/mp4", "mp4", "video")
_MP3 = Media("audio/mpeg", "mp3", "audio")
_AAC = Media("audio/aac", "aac", "audio")
_GLTF = Media("model/gltf+json", "gltf", "model3d")
_JSON = Media("application/json", "json", "download")
_TEXT = Media("text/plain", "txt", "text")

_MAGIC: tuple[tuple[bytes, Media], ...] = (
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"\xff\xd8\xff", _JPEG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"glTF", Media("model/gltf-binary", "glb", "model3d")),
    (b"fLaC", Media("audio/flac", "flac", "audio")),
    (b"ID3", _MP3),
    (b"\x1aE\xdf\xa3", Media("video/webm", "webm", "video")),
    (b"II*\0", Media("image/tiff", "tiff", "image")),
    (b"MM\0*", Media("image/tiff", "tiff", "image")),
    (b"\0\0\1\0", Media("image/x-icon", "ico", "image")),
    (b"BM", Media("image/bmp", "bmp", "image")),
    (b"Kaydara FBX Binary  ", Media("application/octet-stream", "fbx", "model3d")),
    (b"ply\n", Media("application/octet-stream", "ply", "model3d")),
    (b"solid ", Media("model/stl", "stl", "model3d")),
    (b"%PDF-", Media("application/pdf", "pdf", "download")),
    (b"PK\3\4", Media("application/zip", "zip", "download")),
)

# ISO base media brands, by their first letters.
_BRANDS: tuple[tuple[bytes, Media], ...] = (
    (b"avif", Media("image/avif", "avif", "image")),
    (b"avis", Media("image/avif", "avif", "image")),
    (b"hei", Media("image/heic", "heic", "image")),
    (b"mif1", Media("image/heic", "heic", "image")),
    (b"M4A", Media("audio/mp4", "m4a", "audio")),
    (b"qt", Media("video/quicktime", "mov", "video")),
)

_OGG_CODECS: tuple[tuple[bytes, Media], ...] = (
    (b"OpusHead", Media("audio/opus", "opus", "audio")),
    (b"\x80theora", Media("video/ogg", "ogv", "video")),
    (b"", Media("audio/ogg", "ogg", "audio")),
)

_RIFF: dict[bytes, Media] = {
    b"WEBP": _WEBP,
    b"WAVE": Media("audio/wav", "wav", "audio"),
    b"AVI ": Media("video/x-msvideo", "avi", "video"),
}

_PAGE_START = re.compile(
    rb"<(?:!doctype html|html|head|body|title)[\s>]", re.IGNORECASE
)
_ERROR_START = re.compile(rb"<(?:Error|error|ListBucketResult)[\s>]")
_PROLOGUE = re.compile(rb"(?:\s|<\?xml.*?\?>|<!--.*?-->|<!DOCTYPE svg.*?>)*", re.DOTALL)
_WAVEFRONT = re.compile(rb"(?:#.*\n|\s)*(?:mtllib|o|g|v)\s", re.ASCII)


def sniff(head: bytes) -> Media | None:
    """Return what the bytes are, or None when they could be anything."""
    for magic, media in _MAGIC:
        if head.startswith(magic):
            return _measured(_narrowed(media, head), head)
    if head[4:8] == b"ftyp":
        return _branded(head[8:12])
    if head[:4] == b"RIFF" and (media_ := _RIFF.get(head[8:12])):
        return _measured(media_, head)
    if head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"}:
        return Media("audio/aiff", "aiff", "audio")
    if head[:4] == b"OggS":
        return next(media for codec, media in _OGG_CODECS if codec in head[:128])
    return _mpeg_audio(head) or _binary_stl(head) or _textual(head)


def is_page(media: Media | None) -> bool:
    """Whether this is a web page or an XML error: never media, whatever it claims."""
    return media is PAGE


def _branded(brand: bytes) -> Media:
    return next((media for start, media in _BRANDS if brand.startswith(start)), _MP4)


def _narrowed(media: Media, head: bytes) -> Media:
    if media.extension == "webm" and b"matroska" in head[:64]:
        return Media("video/x-matroska", "mkv", "video")
    if media.extension == "zip" and b".usd" in head[:256]:
        return Media("model/vnd.usdz+zip", "usdz", "model3d")
    return media


def _mpeg_audio(head: bytes) -> Media | None:
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return _AAC
    layer, bitrate = head[1] & 0x06, head[2] >> 4
    sync = head[1] & 0xE0 == 0xE0
    return _MP3 if sync and layer and bitrate not in {0, 15} else None


def _binary_stl(head: bytes) -> Media | None:
    # 80 bytes of anything and a count of 50-byte triangles: only the attribute word
    # of the first ones, which every writer leaves zero, tells it from noise.
    if len(head) < 184:
        return None
    (count,) = struct.unpack_from("<I", head, 80)
    zero = head[132:134] == b"\0\0" and head[182:184] == b"\0\0"
    return Media("model/stl", "stl", "model3d") if 2 <= count < 10**8 and zero else None


def _textual(head: bytes) -> Media | None:
    if b"\0" in head or not head.strip():
        return None
    text = head.removeprefix(b"\xef\xbb\xbf")
    body = text[_prologue_end(text) :]
    if _PAGE_START.match(body) or _ERROR_START.match(body):
        return PAGE
    if body.startswith(b"<svg"):
        return _SVG
    if body[:1] in {b"{", b"["}:
        return _GLTF if b'"asset"' in head and b'"version"' in head else _JSON
    if _WAVEFRONT.match(text) and b"\nv " in b"\n" + text:
        return Media("model/obj", "obj", "model3d")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        # The head may end inside a character.
        if error.reason != "unexpected end of data":
            return None
    return _TEXT


def _prologue_end(text: bytes) -> int:
    match = _PROLOGUE.match(text)
    return match.end() if match else 0


def _measured(media: Media, head: bytes) -> Media:
    size = None
    if media is _PNG and head[12:16] == b"IHDR" and len(head) >= 24:
        size = struct.unpack_from(">II", head, 16)
    elif media is _GIF and len(head) >= 10:
        size = struct.unpack_from("<HH", head, 6)
    elif media is _JPEG:
        size = _jpeg_size(head)
    elif media is _WEBP:
        size = _webp_size(head)
    return replace(media, width=size[0], height=size[1]) if size else media


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker in range(0xC0, 0xD0) and marker not in {0xC4, 0xC8, 0xCC}:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        (length,) = struct.unpack_from(">H", head, at + 2)
        at += 2 + length
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    if len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        return (
            int.from_bytes(head[24:27], "little") + 1,
            int.from_bytes(head[27:30], "little") + 1,
        )
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF
