from __future__ import annotations

from typing import Any

import pytest

from materializer.members import Place, dig, has_source, is_aside, own, parts
from materializer.model import Inline, Refused, Remote

ROOT = Place()
A = "https://h/a"


def found(value: Any, place: Place = ROOT) -> list[str]:
    """Return the URLs that are found in a value."""
    sources = [entry.source for entry in dig(value, place, 0)]
    return [source.url for source in sources if isinstance(source, Remote)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("image", "image"),
        ("image_url", "image"),
        ("imageUrls", "image"),
        ("IMAGES", "image"),
        ("video_thumbnail_url", "image"),
        ("music_video", "video"),
        ("videos", "video"),
        ("audioFile", "audio"),
        ("output_image_file", "image"),
        ("audio_url", "audio"),
        ("stems", "audio"),
        ("model_glb", "model3d"),
        ("model_urls", "model3d"),
        ("textures", "download"),
        ("output", "download"),
        ("url", "download"),
        ("urls", "download"),
        ("response_url", None),
        ("blurb", None),
        ("", None),
        ("日本", None),
    ],
)
def test_a_name_is_read_by_the_last_of_its_words_that_tells_most(
    name: str, kind: str | None
) -> None:
    assert ROOT.within(name, A).kind == kind


def test_a_name_that_says_nothing_leaves_what_the_names_above_it_said() -> None:
    stems = ROOT.within("stems", {})
    assert stems.within("strings", A) == Place("audio", "strings")
    assert stems.within("file", A) == Place("audio", "file")
    assert stems.within("cover_image", A) == Place("image", "cover_image")


@pytest.mark.parametrize("name", ["output", "data", "result", "urls"])
def test_a_wrapper_says_nothing_of_its_members(name: str) -> None:
    assert Place("image").within(name, {}).kind is None
    assert found([{name: {"page": A, "image": A + "b"}}]) == [A + "b"]


@pytest.mark.parametrize(
    "name",
    [
        "input",
        "input_image",
        "inputs",
        "prompt",
        "promptImage",
        "request",
        "status_url",
    ],
)
def test_what_went_in_or_runs_the_job_is_no_output(name: str) -> None:
    assert is_aside(name, A)
    assert is_aside(name, {"image": {"url": A}})
    assert not is_aside(name, {"url": A})
    assert found({name: A, "x": {name: {"image": A}}}, Place("image")) == []


@pytest.mark.parametrize("name", ["url", "uri", "b64_json", "base64"])
def test_an_object_says_itself_where_its_bytes_are(name: str) -> None:
    assert has_source({name: "x"})
    assert not has_source({name: ""})
    assert not has_source([name])


@pytest.mark.parametrize(
    "text",
    [
        "https://h/a/b.PNG",
        "http://h/a.glb?sig=1.2",
        "https://h/a.mp4#t=1",
        " https://h/a.wav\n",
        "data:image/png;base64,AAAA",
        "data:text/plain,x",
        "[data-uri omitted]",
        "[base64 omitted]",
    ],
)
def test_a_string_names_media_by_itself_when_it_ends_as_media_do(text: str) -> None:
    assert len(dig({"x": [text]}, ROOT, 0)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "https://h",
        "https://h.com/",
        "https://h.png",
        "https://h/a.html",
        "https://h/a?file=b.png",
        "https://h/a.png is what you see",
        "see https://h/a.png",
        "data: the more the better",
        "a.png",
        "",
    ],
)
def test_any_other_string_may_be_anything(text: str) -> None:
    assert dig({"x": [text]}, ROOT, 0) == []


@pytest.mark.parametrize(
    ("text", "is_source"),
    [
        (A, True),
        ("HTTPS://h/a", True),
        ("gs://bucket/a", True),
        ("data:;base64,AAAA", True),
        ("data: the more the better", False),
        ("none", False),
        ("/files/a.png", False),
    ],
)
def test_where_the_name_speaks_of_media_every_url_counts(
    text: str, is_source: bool
) -> None:
    assert bool(dig({"image": text}, ROOT, 0)) == is_source


def test_a_list_has_a_place_for_each_item_and_a_map_for_each_that_may_hold_one() -> (
    None
):
    listed: list[object] = [None, A, 5]
    assert parts(listed, ROOT) == [(ROOT, item) for item in listed]
    stems = {"a": A, "n": 5, "b": None, "c": "", "type": "wav", "d": [], "input": A}
    places = parts(stems, Place("audio"))
    assert [(place.label, item) for place, item in places] == [
        ("a", A),
        ("b", None),
        ("c", ""),
        ("d", []),
    ]
    assert parts({"url": A}, ROOT) == [(ROOT, {"url": A})]
    assert parts(A, ROOT) == [(ROOT, A)]


def test_an_objects_own_source_comes_before_what_is_in_it() -> None:
    value = {"thumbnail": {"url": A + "t"}, "page": A + "p", "url": A}
    assert found(value, Place("video")) == [A, A + "t"]


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({"mimeType": "image/png", "content_type": "image/jpeg"}, "image/png"),
        ({"content_type": "image/webp; charset=binary"}, "image/webp"),
        ({"contentType": "Image/GIF"}, "image/gif"),
        ({"mime_type": "audio/wav"}, "audio/wav"),
        ({"mimeType": 5}, None),
        ({"mimeType": "x" * 500}, None),
        ({}, None),
    ],
)
def test_the_declared_type_is_read(said: dict[str, Any], read: str | None) -> None:
    (entry,) = own({"url": A} | said, ROOT)
    assert entry.mime_type == read


@pytest.mark.parametrize("name", ["file_name", "fileName", "filename"])
def test_the_declared_file_name_is_read(name: str) -> None:
    (entry,) = own({"url": A, name: "a.wav"}, ROOT)
    assert entry.file_name == "a.wav"


def test_a_name_becomes_a_label_without_control_characters() -> None:
    (entry,) = dig({"url": A, "name": "lead\x1b[2J\u202evocals"}, ROOT, 0)
    assert entry.place.label == "lead [2J vocals"
    ((place, _),) = parts({"drums\n\ud800": A}, Place("audio"))
    assert place.label == "drums"


def test_bytes_beside_a_url_that_cannot_be_had_take_its_place() -> None:
    (entry,) = own({"url": "[data-uri omitted]", "b64_json": "QUI="}, ROOT)
    assert entry.source == Inline(b"AB")
    (entry,) = own({"url": A, "b64_json": "[base64 omitted]"}, ROOT)
    assert entry.source == Remote(A)


@pytest.mark.parametrize("name", ["b64_json", "base64"])
@pytest.mark.parametrize("coded", ["QUI=", "data:image/png;base64,QUI="])
def test_inline_bytes_may_be_written_as_a_data_url(name: str, coded: str) -> None:
    (entry,) = own({name: coded}, ROOT)
    assert entry.source == Inline(b"AB")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"url": 7}, "its URL is no text"),
        ({"url": {"port": 7}}, "its URL is no text"),
        ({"url": "data:nothing"}, "its data: URL has no data"),
        ({"url": "data:;base64,%%%"}, "its inline data is no base64"),
        ({"b64_json": 7}, "its inline data is no text"),
        ({"b64_json": "%%%"}, "its inline data is no base64"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused(
    value: dict[str, Any], why: str
) -> None:
    (entry,) = dig(value, ROOT, 0)
    assert entry.source == Refused(why)


@pytest.mark.parametrize("text", ["[data-uri omitted]", " [base64 omitted] "])
@pytest.mark.parametrize("name", ["url", "b64_json"])
def test_data_that_the_backend_left_out_is_refused(name: str, text: str) -> None:
    (entry,) = own({name: text}, ROOT)
    assert isinstance(entry.source, Refused)
    assert "the backend left its data out" in entry.source.reason


def test_a_url_may_be_a_list_or_an_object_of_its_own() -> None:
    assert found({"url": [A, A + "b"]}) == [A, A + "b"]
    assert found({"url": {"href": A}}) == [A]
