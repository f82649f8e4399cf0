"""A job and its output -> a safe, stable file name.

Nothing from the network chooses a path: a job id is used as it came only when it is
plain, an extension only when it is on a list.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit

from materializer.model import Inline, Kind, Output, Remote
from materializer.sniff import Media

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"}
    | {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
)

# Every extension that a hint may lead to, and the types that lead there, of which the
# first is what we call it.
_TYPES = {
    "png": "image/png image/x-png",
    "jpg": "image/jpeg image/jpg image/pjpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif image/avif-sequence",
    "heic": "image/heic image/heif image/heic-sequence",
    "svg": "image/svg+xml image/svg",
    "bmp": "image/bmp image/x-ms-bmp",
    "tiff": "image/tiff",
    "ico": "image/x-icon image/vnd.microsoft.icon",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "m4v": "video/x-m4v",
    "webm": "video/webm audio/webm",
    "mkv": "video/x-matroska video/matroska audio/x-matroska",
    "avi": "video/x-msvideo video/avi video/msvideo",
    "ogv": "video/ogg",
    "mp3": "audio/mpeg audio/mp3 audio/x-mp3 audio/mpeg3",
    "wav": "audio/wav audio/x-wav audio/wave audio/vnd.wave",
    "flac": "audio/flac audio/x-flac",
    "ogg": "audio/ogg application/ogg",
    "opus": "audio/opus",
    "m4a": "audio/mp4 audio/m4a audio/x-m4a",
    "aac": "audio/aac audio/aacp audio/x-aac",
    "aiff": "audio/aiff audio/x-aiff",
    "glb": "model/gltf-binary",
    "gltf": "model/gltf+json",
    "obj": "model/obj",
    "stl": "model/stl model/x.stl-binary model/x.stl-ascii application/sla",
    "ply": "model/ply application/x-ply",
    "fbx": "model/fbx application/x-fbx",
    "usdz": "model/vnd.usdz+zip",
    "pdf": "application/pdf",
    "zip": "application/zip application/x-zip-compressed",
    "gz": "application/gzip application/x-gzip",
    "tar": "application/x-tar",
    "json": "application/json",
    "txt": "text/plain",
    "csv": "text/csv",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "bin": "application/octet-stream",
}
_MIME = {extension: types.split()[0] for extension, types in _TYPES.items()}
_BY_MIME = {
    mime: extension
    for extension, types in _TYPES.items()
    for mime in types.split()
    if extension != "bin"  # that says nothing, and the next hint may
}
_SPELLINGS = {"jpeg": "jpg", "jpe": "jpg", "tif": "tiff", "aif": "aiff", "oga": "ogg"}

# What the files of each kind usually end in.
_USUAL: dict[Kind, tuple[str, ...]] = {
    "image": ("png", "jpg", "jpeg", "webp", "gif", "svg"),
    "video": ("mp4", "webm", "mov"),
    "audio": ("mp3", "wav", "m4a", "ogg", "flac", "aac"),
    "model3d": ("glb", "gltf", "obj", "stl", "fbx", "usdz", "zip"),
    "download": ("bin", "zip", "json", "txt", "png", "jpg", "mp4", "mp3", "wav", "glb"),
    "text": ("txt", "json"),
}

# What a text can be called without lying.
_WRITTEN = frozenset("txt csv srt vtt json gltf obj stl ply fbx".split())

# Types of what a computer runs or a browser acts on; they are never believed.
_ACTIVE = re.compile(
    r"html|script|php|perl|python|[/-]c?sh$|msdos|msdownload|executable|elf$|mach"
    r"|java|wasm|x-bat|x-msi|installer|shockwave|[/+]xml$"
)
_OURS = re.compile(r"(.+)_(0|[1-9][0-9]{0,8})\.[a-z0-9]+", re.DOTALL)
_MIME_FORM = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}/[a-z0-9][a-z0-9.+-]{0,60}")

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


def endings(output: Output) -> tuple[str, ...]:
    """Return what the name of an output is likely to end in, its promise first."""
    hint, usual = _by_hint(output, None, None), _USUAL[output.kind]
    return usual if hint is None or hint in usual else (hint, *usual)


def read(name: str) -> tuple[str, int] | None:
    """Return the stem and the index in a file name of ours; None of any other."""
    ours = _OURS.fullmatch(name)
    return (ours[1], int(ours[2])) if ours else None


def extension(
    output: Output, sniffed: Media | None, content_type: str | None = None
) -> str:
    """Return the extension, without dot, that tells the truth about the content.

    Content first, then what was declared, then the names, then the kind. Only listed
    extensions come out: any other hint (`php`, `exe`, `com`) becomes `bin`, and so
    does a web page. SVG, which may hold a script, is one only from an image job.
    """
    chosen = (
        _by_nature(output, sniffed)
        or _by_content(sniffed)
        or _by_hint(output, sniffed, content_type)
        or ("txt" if sniffed is not None else _BY_KIND[output.kind])
    )
    return "bin" if chosen == "svg" and output.kind != "image" else chosen


def mime_type(
    output: Output, sniffed: Media | None, content_type: str | None = None
) -> str:
    """Return the MIME type: by content, else as declared, else bytes of any kind.

    It goes with the extension, and is never that of something active.
    """
    if sniffed is not None:
        chosen = extension(output, sniffed, content_type)
        return sniffed.mime_type if sniffed.extension == chosen else _MIME[chosen]
    declared = _bare(output.mime_type) or _bare(content_type)
    return _MIME["bin"] if not declared or _ACTIVE.search(declared) else declared


def _by_nature(output: Output, sniffed: Media | None) -> str | None:
    """Name what the job itself holds, which may look like anything."""
    if not isinstance(output.source, Inline):
        return None
    if output.kind == "text":
        return "json" if output.companion else "txt"
    is_json = sniffed is not None and sniffed.extension in {"gltf", "json"}
    return "json" if is_json and _bare(output.mime_type) == _MIME["json"] else None


def _by_content(sniffed: Media | None) -> str | None:
    if sniffed is None or sniffed.kind == "text":
        return None
    return sniffed.extension if sniffed.extension in _TYPES else "bin"


def _by_hint(
    output: Output, sniffed: Media | None, content_type: str | None
) -> str | None:
    hints = [
        _declared(output.mime_type),
        _declared(content_type),
        _suffix(output.file_name),
    ]
    if isinstance(output.source, Remote):
        hints.append(_suffix(_url_path(output.source.url)))
    is_text = sniffed is not None
    return next((h for h in hints if h and (h in _WRITTEN or not is_text)), None)


def _declared(mime: str | None) -> str | None:
    bare = _bare(mime)
    return _BY_MIME.get(bare, "bin" if _ACTIVE.search(bare) else None)


def _bare(mime: str | None) -> str:
    bare = (mime or "").partition(";")[0].strip().lower()
    return bare if _MIME_FORM.fullmatch(bare) else ""


def _suffix(name: str | None) -> str | None:
    match = re.search(r"\.([A-Za-z0-9]{1,8})$", (name or "").rstrip(". "))
    if match is None or match[1].isdigit():
        return None
    suffix = match[1].lower()
    suffix = _SPELLINGS.get(suffix, suffix)
    return suffix if suffix in _TYPES else "bin"


def _url_path(url: str) -> str | None:
    try:
        return urlsplit(url).path
    except ValueError:
        return None
