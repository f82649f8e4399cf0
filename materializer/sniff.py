"""What a file is, from its first bytes.

Hand-written because no kept library knows the kinds that this product makes: of the
usual ones, none knows GLB, one calls AVIF a video and M4A nothing, and one takes an
HTML error page for no file at all. `file(1)` is the oracle in the tests.

Give at least `HEAD` bytes where the file has as many: fewer are taken for all of it.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from materializer.containers import id3_end, mpeg_frame
from materializer.measure import measure
from materializer.model import Kind

HEAD = 64 * 1024


@dataclass(frozen=True, slots=True)
class Media:
    """A recognised type: MIME type, extension without dot, kind.

    Width and height are in pixels, the duration in milliseconds, None where the
    first bytes do not tell.
    """

    mime_type: str
    extension: str
    kind: Kind
    width: int | None = None
    height: int | None = None
    duration_ms: int | None = None


PAGE = Media("text/html", "html", "download")

_AVIF = Media("image/avif", "avif", "image")
_HEIC = Media("image/heic", "heic", "image")
_SVG = Media("image/svg+xml", "svg", "image")
_MP4 = Media("video/mp4", "mp4", "video")
_MOV = Media("video/quicktime", "mov", "video")
_MKV = Media("video/x-matroska", "mkv", "video")
_MP3 = Media("audio/mpeg", "mp3", "audio")
_AAC = Media("audio/aac", "aac", "audio")
_FLAC = Media("audio/flac", "flac", "audio")
_GLTF = Media("model/gltf+json", "gltf", "model3d")
_STL = Media("model/stl", "stl", "model3d")
_OBJ = Media("model/obj", "obj", "model3d")
_PLY = Media("application/octet-stream", "ply", "model3d")
_FBX = Media("application/octet-stream", "fbx", "model3d")
_USDZ = Media("model/vnd.usdz+zip", "usdz", "model3d")
_JSON = Media("application/json", "json", "download")
_TEXT = Media("text/plain", "txt", "text")

# Beginnings that nothing else has, as regular expressions.
_MAGIC: tuple[tuple[bytes, Media], ...] = (
    (rb"\x89PNG\r\n\x1a\n", Media("image/png", "png", "image")),
    (rb"\xff\xd8\xff", Media("image/jpeg", "jpg", "image")),
    (rb"GIF8[79]a", Media("image/gif", "gif", "image")),
    (rb"RIFF....WEBP", Media("image/webp", "webp", "image")),
    (rb"RIFF....WAVE", Media("audio/wav", "wav", "audio")),
    (rb"RIFF....AVI ", Media("video/x-msvideo", "avi", "video")),
    (rb"FORM....AIF[FC]", Media("audio/aiff", "aiff", "audio")),
    (rb"fLaC", _FLAC),
    (rb"OggS\0.{23,277}OpusHead", Media("audio/opus", "opus", "audio")),
    (rb"OggS\0.{23,277}\x80theora", Media("video/ogg", "ogv", "video")),
    (rb"OggS\0", Media("audio/ogg", "ogg", "audio")),
    (rb"\x1aE\xdf\xa3.{0,64}\x42\x82.{1,8}?matroska", _MKV),
    (rb"\x1aE\xdf\xa3", Media("video/webm", "webm", "video")),
    (rb"glTF[\x01\x02]\0\0\0", Media("model/gltf-binary", "glb", "model3d")),
    (rb"Kaydara FBX Binary  \0", _FBX),
    (rb"ply\r?\n(?:(?:comment|obj_info)[^\n]*\n)*format ", _PLY),
    (rb"II(?:\*\0|\+\0)|MM(?:\0\*|\0\+)", Media("image/tiff", "tiff", "image")),
    (rb"\0\0\x01\0[^\0]\0.{3}\0", Media("image/x-icon", "ico", "image")),
    # The length of the second header, which a text that begins with BM has not.
    (
        rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
        Media("image/bmp", "bmp", "image"),
    ),
    (rb"%PDF-", Media("application/pdf", "pdf", "download")),
    (rb"PK(?:\x03\x04|\x05\x06)", Media("application/zip", "zip", "download")),
)
_BEGINNINGS = tuple((re.compile(magic, re.DOTALL), media) for magic, media in _MAGIC)

# ISO media brands.
_BRANDS: tuple[tuple[bytes, Media], ...] = (
    (rb"avi[fs]", _AVIF),
    (rb"he[iv][a-z]", _HEIC),
    (rb"M4[ABP] ", Media("audio/mp4", "m4a", "audio")),
    (rb"qt  ", _MOV),
)

# What may stand before the first element of a document, and what makes it a page.
_PROLOGUE = re.compile(
    rb"(?:\s+|<\?.*?\?>|<!--.*?-->"
    rb"|<!DOCTYPE\s+(?:\w+:)?svg\b[^\[>]*(?:\[.*?\]\s*)?>)*",
    re.DOTALL | re.IGNORECASE,
)
_PAGE_START = re.compile(
    rb"<!--|<!doctype\s+html\b"
    rb"|<(?:[a-z]+:)?(?:html|head|body|title|script|style|meta|link|iframe|h1|h2|div"
    rb"|table|center|font|pre|p|br|b|a"
    rb"|errors?|errorresponse|errordetails|envelope|fault|listbucketresult)[\s/>]",
    re.IGNORECASE,
)
_SVG_START = re.compile(rb"<(?:[\w-]+:)?svg[\s/>]")
_JSON_START = re.compile(
    rb"\{\s*[\"}]|\[\s*(?:[\[\]{\"]|(?:-?\d[\d.eE+-]*|true|false|null)\s*[,\]])"
)
_GLTF_ASSET = re.compile(rb"\"asset\"\s*:\s*\{[^{}]*\"version\"\s*:\s*\"[12]\.")
_OBJ_START = re.compile(rb"(?:#[^\n]*\n|\s)*(?:mtllib|usemtl|o|g|s|v|vn|vt)[ \t]")
_OBJ_VERTEX = re.compile(rb"^v(?:[ \t]+-?\d[\d.eE+-]*){3,7}\s*?$", re.MULTILINE)
_STL_START = re.compile(rb"solid\b[^\n]*\n\s*(?:facet\s+normal|endsolid)\b")
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def sniff(head: bytes) -> Media | None:
    """Return what the bytes are, or None when they could be anything."""
    media = _marked(head) or _mpeg_audio(head) or _textual(head) or _binary_stl(head)
    if media is None:
        return None
    known = measure(media.extension, head)
    return replace(
        media,
        width=known.width,
        height=known.height,
        duration_ms=known.duration_ms,
    )


def is_page(media: Media | None) -> bool:
    """Whether this is a web page or an XML error: never media, whatever it claims."""
    return media == PAGE


def _marked(head: bytes) -> Media | None:
    for beginning, media in _BEGINNINGS:
        if beginning.match(head):
            return _USDZ if media.extension == "zip" and _is_usdz(head) else media
    return _iso_media(head)


def _is_usdz(head: bytes) -> bool:
    # Its first member is a layer, and stored as it is.
    if len(head) < 30 or head[8:10] != b"\0\0":
        return False
    (length,) = struct.unpack_from("<H", head, 26)
    return head[30 : 30 + length].endswith((b".usd", b".usda", b".usdc"))


def _iso_media(head: bytes) -> Media | None:
    name = head[4:8]
    if name != b"ftyp":
        # Films from before there were brands.
        old = name in {b"moov", b"wide", b"mdat"} and b"\0" in head[:16]
        return _MOV if old else None
    brands = [head[8:12]]
    if brands[0] in {b"mif1", b"msf1"}:
        # These say only how the picture is kept; the others, what it is.
        end = int.from_bytes(head[:4], "big")
        brands = [head[at : at + 4] for at in range(16, min(end, 256), 4)] + [b"heic"]
    for brand in brands:
        for form, media in _BRANDS:
            if re.fullmatch(form, brand):
                return media
    return _MP4


def _mpeg_audio(head: bytes) -> Media | None:
    """Return what starts with a frame, or with a tag and then whatever it names.

    Two bytes are too little to tell a frame by: where it ends there must be another,
    or the end.
    """
    tag = id3_end(head)
    start = head[tag:]
    if tag and not start:
        return _MP3
    if start.startswith(b"fLaC"):
        return _FLAC
    for media, length in ((_AAC, _adts_length), (_MP3, _mpeg_length)):
        first = length(start)
        if first and (first == len(start) or length(start[first : first + 9])):
            return media
    return _MP3 if tag else None


def _adts_length(frame: bytes) -> int:
    if len(frame) < 7 or frame[0] != 0xFF or frame[1] & 0xF6 != 0xF0:
        return 0
    length = int.from_bytes(frame[3:6], "big") >> 5 & 0x1FFF
    return length if length >= 7 else 0


def _mpeg_length(frame: bytes) -> int:
    header = mpeg_frame(frame[:4])
    return header.length if header else 0


def _binary_stl(head: bytes) -> Media | None:
    # 80 bytes of anything and a count of 50-byte facets: the size tells, or else that
    # every facet starts with a normal, which has length 1, or 0 where it is not told.
    if len(head) < 134:
        return None
    (count,) = struct.unpack_from("<I", head, 80)
    size = 84 + 50 * count
    if len(head) < HEAD:
        return _STL if size == len(head) else None
    facets = [head[at : at + 50] for at in range(84, HEAD - 50, 50)]
    return _STL if size >= HEAD and all(map(_is_facet, facets)) else None


def _is_facet(facet: bytes) -> bool:
    length = math.hypot(*struct.unpack_from("<3f", facet))
    return (length == 0 or abs(length - 1) < 0.01) and any(facet[12:48])


def _textual(head: bytes) -> Media | None:
    text = _utf8(head)
    if not text.strip() or b"\0" in text:
        return None
    prologue = _PROLOGUE.match(text)
    body = text[prologue.end() :] if prologue else text
    if _PAGE_START.match(body):
        return PAGE
    if _is_json(body, cut=len(head) >= HEAD):
        return _GLTF if _GLTF_ASSET.search(body) else _JSON
    for is_form, media in _FORMS:
        if is_form(body):
            return media
    return _TEXT if _is_text(text) else None


def _utf8(head: bytes) -> bytes:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return head.decode("utf-16", "ignore").encode()
    return head.removeprefix(codecs.BOM_UTF8)


def _is_json(body: bytes, *, cut: bool) -> bool:
    if not _JSON_START.match(body):
        return False
    try:
        json.loads(body)
    except RecursionError:
        return True
    except ValueError:
        return cut
    return True


def _is_text(text: bytes) -> bool:
    if _CONTROL.search(text):
        return False
    try:
        text.decode()
    except UnicodeDecodeError as error:
        # The head may end inside a character.
        return error.reason == "unexpected end of data"
    return True


# What is written in letters: by its first element, or its first lines.
_FORMS: tuple[tuple[Callable[[bytes], object], Media], ...] = (
    (_SVG_START.match, _SVG),
    (lambda body: _OBJ_START.match(body) and _OBJ_VERTEX.search(body), _OBJ),
    (_STL_START.match, _STL),
    (re.compile(rb"; FBX \d").match, _FBX),
)
