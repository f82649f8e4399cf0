"""A job's `output` -> the files that it promises.

The reference app's order comes first: images, video, audio, text, a mesh, then what
else has a URL, as it arrived. What it leaves out is read too: plain strings, lists and
maps, second members, nested objects, inline bytes. What nobody can read is kept as
JSON, never dropped.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from materializer.convex.values import EXACT, MAX_DEPTH, Int64
from materializer.members import (
    SOURCES,
    WRAPPERS,
    Entry,
    Place,
    dig,
    has_source,
    is_aside,
    own,
    parts,
)
from materializer.model import Inline, Kind, Output, Remote
from materializer.sniff import Media

UNRECOGNISED_LABEL = "Unrecognised output"

# The members that the reference app reads by name, those above a text and below it.
_ABOVE = ("images", "video", "audio_file", "audio")
_BELOW = ("model_mesh",)
_SPOKEN = ("segments", "words", "chunks")
_LABELS: dict[Kind, str] = {
    "model3d": "Download 3D model",
    "download": "Download result",
}
# Indentation below this would outgrow what it sets off.
_INDENTED = 8


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a job promises; `recognised` is false when the output was kept as JSON."""

    outputs: tuple[Output, ...]
    recognised: bool


def extract(output: Any) -> Extraction:
    """Read a job's output, of any shape, into the files that it promises.

    Indices are positions: members follow each other, an empty place in a list or map
    keeps its number, and what is found beside or below a place (a film's thumbnail)
    comes after all of them. A URL that several members name is one file. What is
    nested deeper than the feed can nest is not looked at.
    """
    outputs = tuple(_outputs(_Reading().places(output)))
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


def _outputs(entries: Sequence[Entry | None]) -> Iterator[Output]:
    # Where several members hold files, their names tell the files apart.
    named = len({entry.place.member for entry in entries if entry}) > 1
    for index, entry in enumerate(entries):
        if entry is None:
            continue
        name = entry.place.member if named else None
        yield Output(
            index,
            entry.kind,
            entry.source,
            mime_type=entry.mime_type,
            file_name=entry.file_name,
            label=entry.place.label or name or _LABELS.get(entry.kind),
            companion=entry.companion,
        )


class _Reading:
    """One look through an output, member by member."""

    def __init__(self) -> None:
        self._places: list[Entry | None] = []
        self._below: list[Entry] = []
        self._known: set[str] = set()

    def places(self, output: Any) -> list[Entry | None]:
        """Return the entry of each place, or None where there is nothing."""
        if isinstance(output, dict):
            self._object(output, output, 0)
        else:
            self._take(output, Place("download"), 0)
        below, self._below = self._below, []
        for entry in below:
            self._add([[entry]])
        return self._places

    def _object(self, value: dict[str, Any], whole: Any, depth: int) -> None:
        """Take an object's members; it may be a transcript where a `whole` is given."""
        for name in _ABOVE:
            self._member(name, value.get(name), None, depth)
        text = None if whole is None else _transcript(value)
        # Beside a picture, an empty text is no transcript.
        if text is not None and (text or not self._places):
            self._places += _spoken(text, whole)
        for name in _BELOW:
            self._member(name, value.get(name), None, depth)
        self._add([own(value, Place("download"))])
        read = SOURCES if text is None else (*SOURCES, "text")
        for name, member in value.items():
            known = isinstance(member, str) and name in read
            if not (known or name in _ABOVE + _BELOW or is_aside(name, member)):
                self._member(name, member, whole, depth)

    def _member(self, name: str, member: Any, whole: Any, depth: int) -> None:
        place = Place().within(name, member)
        if place.kind or not isinstance(member, dict) or has_source(member):
            if name in _ABOVE + _BELOW:
                place = replace(place, member=None)
            self._take(member, place, depth)
        elif depth < MAX_DEPTH:
            self._object(member, whole if name in WRAPPERS else None, depth + 1)

    def _take(self, member: Any, place: Place, depth: int) -> None:
        self._add([dig(item, at, depth + 1) for at, item in parts(member, place)])

    def _add(self, items: list[list[Entry]]) -> None:
        """Add a place for each item of a member, unless none of them holds anything.

        What is known from another member leaves its place empty, so that indices do
        not depend on which URLs are the same.
        """
        firsts = [item[0] if item else None for item in items]
        if any(items):
            self._places += [
                None if self._is_known(entry) else entry for entry in firsts
            ]
        self._below += [entry for item in items for entry in item[1:]]
        self._known |= {
            e.source.url for e in firsts if e and isinstance(e.source, Remote)
        }

    def _is_known(self, entry: Entry | None) -> bool:
        source = entry.source if entry else None
        return isinstance(source, Remote) and source.url in self._known


def _transcript(value: dict[str, Any]) -> str | None:
    """Return what is said in an object, joined where it comes in pieces."""
    text = value.get("text")
    if isinstance(text, str):
        return text
    for name in _SPOKEN:
        pieces = value.get(name)
        if isinstance(pieces, list):
            said = [_said(piece) for piece in pieces]
            if any(said):
                # Some services write the spaces between words down, others do not.
                spaced = any(piece != piece.strip() for piece in said)
                return ("" if spaced else " ").join(filter(None, said)).strip()
    return None


def _said(piece: Any) -> str:
    if not isinstance(piece, dict):
        return ""
    text = piece.get("text", piece.get("word"))
    return text if isinstance(text, str) else ""


def _spoken(text: str, whole: Any) -> list[Entry]:
    place = Place("text")
    return [
        Entry(place, Inline(_utf8(text)), "text/plain"),
        Entry(place, Inline(_json(whole)), "application/json", companion=True),
    ]


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Half a surrogate pair, which JSON can spell and a file cannot.
        halves = text.encode("utf-16-le", "surrogatepass")
        return halves.decode("utf-16-le", "replace").encode()


def _json(value: Any) -> bytes:
    plain = _plain(value, MAX_DEPTH)
    indent = 2 if _depth(plain) <= _INDENTED else None
    text = json.dumps(plain, ensure_ascii=False, indent=indent)
    # It spells half a surrogate pair as JSON does.
    return text.encode(errors="backslashreplace")


def _plain(value: Any, levels: int) -> Any:
    """Return what JSON can say of a value, from the feed or the gateway, alike."""
    match value:
        case dict() | list() if levels < 0:
            return "[nested too deeply]"
        case dict():
            return {name: _plain(member, levels - 1) for name, member in value.items()}
        case list():
            return [_plain(item, levels - 1) for item in value]
        case Int64():
            return value.value
        case bytes():
            return base64.b64encode(value).decode()
        case float() if not math.isfinite(value):
            return str(value)
        case float() if value.is_integer() and abs(value) < EXACT:
            return int(value)
        case _:
            return value


def _depth(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
        case list():
            return 1 + max(map(_depth, value), default=0)
        case _:
            return 0
