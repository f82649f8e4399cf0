"""A job and its output -> a safe, stable file name.

Nothing from the network chooses a path: a job id is used as it came only when it is
plain, an extension only when it is on a list.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit

from materializer.model import Kind, Output, Remote
from materializer.sniff import Media

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"}
    | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
)

_EXTENSIONS = frozenset(
    "png jpg gif webp avif heic svg bmp tiff ico "
    "mp4 mov m4v webm mkv avi ogv "
    "mp3 wav flac ogg opus m4a aac aiff "
    "glb gltf obj stl ply fbx usdz "
    "pdf zip gz tar json txt csv srt vtt bin".split()
)
_SPELLINGS = {"jpeg": "jpg", "jpe": "jpg", "tif": "tiff", "aif": "aiff", "oga": "ogg"}

_BY_MIME = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/jpg": "jpg",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/svg+xml": "svg",
    "image/bmp": "bmp",
    "image/tiff": "tiff",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/opus": "opus",
    "audio/mp4": "m4a",
    "audio/aac": "aac",
    "audio/aiff": "aiff",
    "model/gltf-binary": "glb",
    "model/gltf+json": "gltf",
    "model/obj": "obj",
    "model/stl": "stl",
    "application/pdf": "pdf",
    "application/zip": "zip",
    "application/gzip": "gz",
    "application/json": "json",
    "text/plain": "txt",
    "text/csv": "csv",
}
_BY_KIND: dict[Kind, str] = {
    "image": "png",
    "video": "mp4",
    "audio": "mp3",
    "model3d": "glb",
    "download": "bin",
    "text": "txt",
}


def stem(job_id: str, *, taken: bool = False) -> str:
    """Return the part of a job's file names that stands before `_<index>`.

    It is the job id where that is plain. A job id that is not, that is a Windows
    device, or whose name is `taken` by another job but for case, is written as a
    readable beginning, `=` (which no plain id holds) and a digest of the whole.
    """
    if _PLAIN.fullmatch(job_id) and job_id.lower() not in _DEVICES and not taken:
        return job_id
    slug = re.sub(r"[^a-z0-9]+", "-", job_id[:200].lower()).strip("-")[:40]
    digest = hashlib.sha256(job_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{slug or 'job'}={digest}"


def file_name(stem: str, index: int, extension: str) -> str:
    """Return `<stem>_<index>.<extension>`."""
    return f"{stem}_{index}.{extension}"


def extension(
    output: Output, sniffed: Media | None, content_type: str | None = None
) -> str:
    """Return the extension, without dot, that tells the truth about the content.

    Content first, then what was declared, then the names, then the kind; a hint that
    is on no list (`php`, `exe`, `com`) never becomes an extension.
    """
    if (
        sniffed is not None
        and sniffed.extension in _EXTENSIONS
        and sniffed.kind != "text"
    ):
        return sniffed.extension
    hints = [
        _BY_MIME.get(_bare(output.mime_type)),
        _BY_MIME.get(_bare(content_type)),
        _suffix(output.file_name),
    ]
    if isinstance(output.source, Remote):
        hints.append(_suffix(_url_path(output.source.url)))
    for hint in hints:
        if hint is not None:
            return hint
    return sniffed.extension if sniffed is not None else _BY_KIND[output.kind]


def mime_type(
    output: Output, sniffed: Media | None, content_type: str | None = None
) -> str:
    """Return the MIME type: by content, else as declared, else bytes of any kind."""
    if sniffed is not None:
        return sniffed.mime_type
    return _bare(output.mime_type) or _bare(content_type) or "application/octet-stream"


def _bare(mime: str | None) -> str:
    return (mime or "").partition(";")[0].strip().lower()


def _suffix(name: str | None) -> str | None:
    match = re.search(r"\.([A-Za-z0-9]{1,8})$", name or "")
    if match is None:
        return None
    suffix = match[1].lower()
    suffix = _SPELLINGS.get(suffix, suffix)
    return suffix if suffix in _EXTENSIONS else "bin"


def _url_path(url: str) -> str | None:
    try:
        return urlsplit(url).path
    except ValueError:
        return None
