"""The members of a job's output: which hold media, of what kind, and from where.

Providers agree on no names, so a name is read by its words: `thumbnail_url` is an
image, `model_glb` a model. An object with a URL is media whatever its name; a plain
string is where its name says so, or the URL itself by its ending.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from materializer import inline
from materializer.convex.values import MAX_DEPTH
from materializer.convex.words import fit
from materializer.model import Inline, Kind, Refused, Remote

WRAPPERS = frozenset({"output", "data", "result", "urls"})
"""An object of such a name says nothing of its members; their own names do."""

SOURCES = ("url", "uri", "b64_json", "base64")
"""The members by which an object says itself where its bytes are."""

_OMITTED = ("[data-uri omitted]", "[base64 omitted]")
_LEFT_OUT = Refused("the backend left its data out of the job, so nothing can be saved")
_URLS, _CODED = SOURCES[:2], SOURCES[2:]
_MIME_TYPES = ("mimeType", "content_type", "contentType", "mime_type")
_FILE_NAMES = ("file_name", "fileName", "filename")
_LABELS = ("label", "name")

_WORDS: dict[Kind, str] = {
    "image": (
        "image images img picture pictures photo photos thumbnail thumbnails icon "
        "icons mask masks frame frames png jpg jpeg gif webp svg"
    ),
    "video": "video videos movie clip clips film animation mp4 webm mov",
    "audio": (
        "audio audios music speech voice sound sounds song songs stem stems track "
        "tracks vocals instrumental drums bass wav mp3 flac ogg"
    ),
    "model3d": "model models mesh meshes glb gltf obj fbx usdz stl ply",
    "download": (
        "output outputs data result results file files media asset assets download "
        "downloads archive zip preview previews texture textures"
    ),
}
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words.split()}
# A name that begins so tells of what went in, or of how the job is run.
_ASIDE = frozenset(
    "input inputs prompt prompts request parameters params arguments "
    "webhook callback status cancel".split()
)
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://|data:[^\s,;]*[,;]", re.IGNORECASE)
_MEDIA_URL = re.compile(
    r"data:[\w.+-]+/[\w.+-]+[;,]|https?://[^\s/?#]+/[^\s?#]*\."
    r"(?:png|jpe?g|gif|webp|avif|heic|svg|bmp|tiff?|mp4|m4v|mov|webm|mkv|avi|mp3|wav|"
    r"flac|ogg|opus|m4a|aac|aiff?|glb|gltf|obj|stl|ply|fbx|usdz|zip)(?:[?#]|$)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Name:
    """What a name says: of what kind its media are, and how it is shown."""

    kind: Kind | None
    member: str | None
    aside: bool


@dataclass(frozen=True, slots=True)
class Place:
    """What the names above a value say of it.

    `kind` is None where they say nothing of media; `member` is the nearest of them.
    """

    kind: Kind | None = None
    member: str | None = None
    label: str | None = None

    def within(self, name: str, member: Any) -> Place:
        """Return the place of a member of what is here."""
        said = _read(name)
        if name in WRAPPERS and isinstance(member, dict):
            return Place(None, said.member, self.label)
        is_telling = said.kind not in {None, "download"}
        kind = said.kind if is_telling else self.kind or said.kind
        return Place(kind, said.member, self.label)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing with a source, and what is said of it there."""

    place: Place
    source: Remote | Inline | Refused
    mime_type: str | None = None
    file_name: str | None = None
    companion: bool = False

    @property
    def kind(self) -> Kind:
        """What it is promised as; a download until its content tells."""
        return self.place.kind or "download"


def has_source(value: Any) -> bool:
    """Whether a value is an object that says itself where its bytes are."""
    return isinstance(value, dict) and any(value.get(name) for name in SOURCES)


def is_aside(name: str, member: Any) -> bool:
    """Whether a member holds no output, only something about the job."""
    return _read(name).aside and not has_source(member)


def is_container(value: Any) -> bool:
    """Whether other values stand in a value."""
    return isinstance(value, list | dict)


def parts(value: Any, place: Place) -> list[tuple[Place, Any]]:
    """Return what stands in one member: the items of a list or of a map, or itself.

    The items of a map keep its order and have their names as labels; numbers and words
    among them only describe it.
    """
    if isinstance(value, list):
        return [(place, item) for item in value]
    if not isinstance(value, dict) or has_source(value):
        return [(place, value)]
    items = [(place.within(name, item), name, item) for name, item in value.items()]
    return [
        (replace(at, label=fit(name) or None), item)
        for at, name, item in items
        if _may_hold(item, at) and not is_aside(name, item)
    ]


def dig(value: Any, place: Place, depth: int) -> list[Entry]:
    """Return everything with a source in a value, its own first, then as it stands."""
    if isinstance(value, str):
        text = value.strip()
        return [Entry(place, *_from_url(text))] if _is_source(text, place) else []
    if depth > MAX_DEPTH:
        return []
    if isinstance(value, list):
        return [entry for item in value for entry in dig(item, place, depth + 1)]
    if not isinstance(value, dict):
        return []
    if not place.label and (label := fit(_text(_first(value, _LABELS)))):
        place = replace(place, label=label)
    entries = own(value, place)
    # Beside a URL stand all sorts of things, which its name does not speak for.
    above = replace(place, kind=None) if entries else place
    for name, member in value.items():
        readable = is_container(member) or (
            isinstance(member, str) and name not in SOURCES
        )
        if readable and not is_aside(name, member):
            entries += dig(member, above.within(name, member), depth + 1)
    if not entries and has_source(value):
        return [Entry(place, Refused("its URL is no text"))]
    return entries


def own(value: dict[str, Any], place: Place) -> list[Entry]:
    """Return what an object is itself the source of: one entry, or none.

    A URL that cannot be had gives way to the bytes beside it. What nests under a
    source's name is for `dig`.
    """
    url, coded = _first(value, _URLS), _first(value, _CODED)
    if not url and not coded:
        return []
    source, mime_type = _from_url(url) if url else _from_coded(coded)
    if isinstance(source, Refused) and url and coded:
        source, mime_type = _from_coded(coded)
    declared = inline.media_type(_text(_first(value, _MIME_TYPES)))
    name = _text(_first(value, _FILE_NAMES)) or None
    return [Entry(place, source, declared or mime_type, name)]


def _may_hold(item: Any, place: Place) -> bool:
    if isinstance(item, str):
        return not item or _is_source(item.strip(), place)
    return item is None or is_container(item)


def _is_source(text: str, place: Place) -> bool:
    pattern = _URL if place.kind else _MEDIA_URL
    return text in _OMITTED or pattern.match(text) is not None


def _from_url(url: Any) -> tuple[Remote | Inline | Refused, str | None]:
    if not isinstance(url, str):
        return Refused("its URL is no text"), None
    url = url.strip()
    if url in _OMITTED:
        return _LEFT_OUT, None
    if url[:5].lower() != "data:":
        return Remote(url), None
    try:
        data, mime_type = inline.from_data_url(url)
    except ValueError as error:
        return Refused(str(error)), None
    return Inline(data), mime_type


def _from_coded(text: Any) -> tuple[Remote | Inline | Refused, str | None]:
    if not isinstance(text, str):
        return Refused("its inline data is no text"), None
    if _URL.match(text) or text.strip() in _OMITTED:
        return _from_url(text)
    try:
        return Inline(inline.from_base64(text)), None
    except ValueError as error:
        return Refused(str(error)), None


def _first(value: dict[str, Any], names: Iterable[str]) -> Any:
    for name in names:
        one = value.get(name)
        if one and not is_container(one):
            return one
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


@lru_cache(maxsize=512)
def _read(name: str) -> _Name:
    words = [word.lower() for word in _WORD.findall(name)]
    kinds: list[Kind] = [_KINDS[word] for word in words if word in _KINDS]
    if words in (["url"], ["urls"], ["uri"], ["uris"]):
        kinds = ["download"]
    # `audio_file` is a file, but above all it is audio.
    kinds.sort(key=lambda kind: kind != "download")
    kind = kinds[-1] if kinds else None
    return _Name(kind, fit(name) or None, aside=not _ASIDE.isdisjoint(words[:1]))
