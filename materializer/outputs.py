"""A job's `output` -> the files that it promises.

The reference app's order of rules is kept as a subset: images, then video, then
audio, then text, then a mesh, then whatever else has a URL. What it leaves out
(second members, plain strings, maps and lists of stems, wrappers, inline bytes) is
read too; what nobody can read is kept as JSON, never dropped.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from materializer.model import Inline, Kind, Output, Refused, Remote
from materializer.sniff import Media

UNRECOGNISED_LABEL = "Unrecognised output"

_PLACEHOLDERS = {
    "[data-uri omitted]": "the backend left the inline data out of the job",
    "[base64 omitted]": "the backend left the inline data out of the job",
}
# Members in order of precedence; what stands on no line is a download, in the order
# of arrival.
_MEMBERS: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (re.compile(r"images"), "image"),
    (re.compile(r"image|image_urls?|pictures?"), "image"),
    (re.compile(r"video"), "video"),
    (re.compile(r"videos|video_urls?"), "video"),
    (re.compile(r"audio_files?"), "audio"),
    (re.compile(r"audio"), "audio"),
    (re.compile(r"audios|audio_urls?|music|speech|voice|sound|stems"), "audio"),
    (re.compile(r"text"), "text"),
    (re.compile(r"model_mesh"), "model3d"),
    (re.compile(r"models?|model_\w+|mesh(es)?|glb|glb_url|textures?"), "model3d"),
)
_WRAPPERS = ("output", "data", "result")
_LABELS: dict[Kind, str] = {
    "model3d": "Download 3D model",
    "download": "Download result",
}


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a job promises; `recognised` is false when the output was kept as JSON."""

    outputs: tuple[Output, ...]
    recognised: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    """One thing with a source, at a position within its member."""

    position: int
    source: Remote | Inline | Refused
    mime_type: str | None = None
    file_name: str | None = None
    label: str | None = None


def extract(output: Any) -> Extraction:
    """Read a job's output, of any shape, into the files that it promises.

    Indices are positions: members follow each other in the order of precedence, and
    an empty place in a list keeps its number.
    """
    outputs = tuple(_outputs(output, depth=0))
    if outputs:
        return Extraction(outputs, recognised=True)
    kept = Output(
        0,
        "download",
        Inline(_json(output)),
        mime_type="application/json",
        label=UNRECOGNISED_LABEL,
    )
    return Extraction((kept,), recognised=False)


def kind(output: Output, sniffed: Media | None) -> Kind:
    """Return what the file is shown as, now that its content is known.

    A promised picture, film or sound stays one (an audio file may come in a film's
    container); a download or a model becomes what it turns out to be.
    """
    if output.kind not in {"download", "model3d"}:
        return output.kind
    if sniffed is None or sniffed.kind == "text":
        return "download"
    return sniffed.kind


def _outputs(value: Any, *, depth: int) -> Iterator[Output]:
    base = 0
    found = False
    for kind, length, entries in _members(value):
        for entry in entries:
            found = True
            yield Output(
                base + entry.position,
                kind,
                entry.source,
                mime_type=entry.mime_type,
                file_name=entry.file_name,
                label=entry.label or _LABELS.get(kind),
                companion=kind == "text" and entry.position == 1,
            )
        base += length
    if not found and depth < 3 and isinstance(value, Mapping):
        for wrapper in _WRAPPERS:
            inner = tuple(_outputs(value.get(wrapper), depth=depth + 1))
            if inner:
                yield from inner
                return


def _members(value: Any) -> Iterator[tuple[Kind, int, list[_Entry]]]:
    """Yield (kind, number of places, entries) of each member that has any."""
    if not isinstance(value, Mapping):
        entries = list(_entries(value, named=True))
        if entries:
            yield "download", _places(value), entries
        return
    if _is_entry(value):
        entry = _entry(value, 0)
        if entry:
            yield "download", 1, [entry]
        return
    for rank, name, kind in sorted(_ranked(value), key=lambda ranked: ranked[0]):
        member = value[name]
        if kind == "text":
            yield kind, 2, _transcript(value, member)
            continue
        named = rank < len(_MEMBERS)
        entries = list(_entries(member, named=named))
        if entries:
            yield kind, _places(member), entries


def _ranked(value: Mapping[str, Any]) -> Iterator[tuple[int, str, Kind]]:
    for name, member in value.items():
        for rank, (pattern, kind) in enumerate(_MEMBERS):
            if pattern.fullmatch(name):
                if kind != "text" or isinstance(member, str):
                    yield rank, name, kind
                break
        else:
            yield len(_MEMBERS), name, "download"


def _places(member: Any) -> int:
    if isinstance(member, str) or (isinstance(member, Mapping) and _is_entry(member)):
        return 1
    return len(member)


def _entries(member: Any, *, named: bool) -> Iterator[_Entry]:
    """Yield the entries of one member.

    A string and what stands in a list or map of them are taken only where the
    member's name says that it holds media; elsewhere they may be anything.
    """
    for position, label, part in _parts(member, named=named):
        if named or isinstance(part, Mapping):
            entry = _entry(part, position, label=label)
            if entry is not None:
                yield entry


def _parts(member: Any, *, named: bool) -> Iterator[tuple[int, str | None, Any]]:
    if isinstance(member, str) or (isinstance(member, Mapping) and _is_entry(member)):
        yield 0, None, member
    elif isinstance(member, Sequence):
        yield from ((position, None, part) for position, part in enumerate(member))
    elif isinstance(member, Mapping) and named:
        for position, (label, part) in enumerate(member.items()):
            yield position, label, part


def _is_entry(value: Mapping[str, Any]) -> bool:
    return bool(value.get("url") or value.get("b64_json") or value.get("base64"))


def _entry(part: Any, position: int, *, label: str | None = None) -> _Entry | None:
    if isinstance(part, str):
        if not _looks_like_source(part):
            return None
        source, declared = _source(part)
        return _Entry(position, source, declared, label=label)
    if not isinstance(part, Mapping) or not _is_entry(part):
        return None
    mime = _text(part.get("mimeType")) or _text(part.get("content_type"))
    name = _text(part.get("file_name")) or _text(part.get("fileName"))
    url = part.get("url")
    if not url:
        inline = part.get("b64_json") or part.get("base64")
        return _Entry(position, _decoded(inline), mime, name, label)
    if not isinstance(url, str):
        return _Entry(position, Refused("its URL is no text"), mime, name, label)
    source, declared = _source(url)
    return _Entry(position, source, mime or declared, name, label)


def _looks_like_source(text: str) -> bool:
    start = text[:8].lower()
    return text in _PLACEHOLDERS or start.startswith(("http://", "https://", "data:"))


def _source(url: str) -> tuple[Remote | Inline | Refused, str | None]:
    if url in _PLACEHOLDERS:
        return Refused(_PLACEHOLDERS[url]), None
    if url[:5].lower() != "data:":
        return Remote(url), None
    head, comma, body = url[5:].partition(",")
    if not comma:
        return Refused("its data: URL has no data"), None
    mime = head.partition(";")[0] or None
    if head.lower().endswith(";base64"):
        return _decoded(unquote_to_bytes(body).decode("latin-1")), mime
    return Inline(unquote_to_bytes(body)), mime


def _decoded(text: Any) -> Inline | Refused:
    if text in _PLACEHOLDERS:
        return Refused(_PLACEHOLDERS[text])
    try:
        return Inline(base64.b64decode(re.sub(r"\s+", "", text), validate=True))
    except (TypeError, ValueError, binascii.Error):
        return Refused("its inline data is no base64")


def _transcript(output: Mapping[str, Any], text: str) -> list[_Entry]:
    return [
        _Entry(0, Inline(text.encode("utf-8", "replace")), "text/plain"),
        _Entry(1, Inline(_json(output)), "application/json"),
    ]


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8", "replace")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
