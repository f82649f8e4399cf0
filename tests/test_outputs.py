from __future__ import annotations

import base64
import json
import math
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from materializer import outputs
from materializer.convex.values import MAX_DEPTH, Int64
from materializer.model import Inline, Output, Refused, Remote
from materializer.outputs import extract
from materializer.sniff import Media

REFERENCE = json.loads((Path(__file__).parent / "data" / "extract.json").read_text())

PNG = Media("image/png", "png", "image")
WAV = Media("audio/wav", "wav", "audio")
ZIP = Media("application/zip", "zip", "download")

# Where the contract wants another label or kind than the reference app has.
DIFFERENT = {
    "audio_url_key": ("audio", None),  # its name says that it is audio
    "model_glb": ("model3d", "Download 3D model"),  # a model by its name
    "obj_generic": ("model3d", "Download 3D model"),
    "stems_sam": ("download", "target"),  # several files are told apart
    "generic_first_wins": ("download", "b"),
}
# Shapes that the reference app cannot read, and where we find what they promise.
BEYOND = {
    "string_": ["https://x/y.png"],
    "images_string_entries": ["https://h/a.png"],
    "image_singular_string": ["https://h/a.png"],
    "image_url_string": ["https://h/a.png"],
    "videos_array": ["https://h/v.mp4"],
    "video_url_key": ["https://h/v.mp4"],
    "stems_array": ["https://h/v.wav"],
    "nested_data": ["https://h/a.png"],
}


def url(name: str) -> str:
    return f"https://h/{name}"


def at(name: str) -> dict[str, str]:
    return {"url": url(name)}


def source(output: Output) -> str | bytes:
    """Return the last part of an output's URL, its bytes, or why it is refused."""
    match output.source:
        case Remote(address):
            return address.removeprefix("https://h/")
        case Inline(data):
            return data
        case Refused(reason):
            return reason


def promised(output: Any) -> list[tuple[int, str, str | bytes]]:
    """Return (index, kind, source) of everything that an output promises."""
    return [(out.index, out.kind, source(out)) for out in extract(output).outputs]


def remotes(output: Any) -> list[str]:
    sources = [out.source for out in extract(output).outputs]
    return [source.url for source in sources if isinstance(source, Remote)]


def labels(output: Any) -> list[str | None]:
    return [out.label for out in extract(output).outputs]


# -- what the reference app finds


@pytest.mark.parametrize("vector", REFERENCE, ids=lambda vector: vector["case"])
def test_what_the_reference_finds_is_found_first_and_alike(
    vector: dict[str, Any],
) -> None:
    extraction = extract(vector["output"])
    first = extraction.outputs[0]
    kind, label = DIFFERENT.get(vector["case"], (vector["kind"], vector.get("label")))
    if kind == "unknown":
        wanted = BEYOND.get(vector["case"], [])
        assert (extraction.recognised, remotes(vector["output"])) == (
            bool(wanted),
            wanted,
        )
        return
    if vector["case"] == "mesh_noext":
        kind = "model3d"  # it becomes a download if its content is no model
    assert extraction.recognised
    assert (first.kind, first.label) == (kind, label)
    if vector["kind"] == "text":
        assert first.source == Inline(vector["text"].encode())
        return
    wanted = vector.get("urls") or [vector["url"]]
    for out, address in zip(extraction.outputs, wanted, strict=False):
        if not isinstance(address, str) or address == "[data-uri omitted]":
            assert isinstance(out.source, Refused)
        elif address.startswith("data:"):
            assert isinstance(out.source, Inline)
        else:
            assert out.source == Remote(address)


def address(value: Any) -> str:
    return str(value.get("url") or "") if isinstance(value, dict) else ""


def reference(output: dict[str, Any]) -> list[str]:
    """Return the URLs that the reference app saves."""
    images = [u for image in output.get("images", []) if (u := address(image))]
    if images:
        return images
    for name in ("video", "audio_file", "audio"):
        if found := address(output.get(name)):
            return [found]
    if isinstance(output.get("text"), str):
        return []
    others = [output.get("model_mesh"), *output.values()]
    return next(([u] for value in others if (u := address(value))), [])


URL = st.integers(0, 99).map(lambda n: url(str(n)))
POINTER = st.fixed_dictionaries({"url": URL | st.just("")})
MEMBERS = [
    st.tuples(st.just("images"), st.lists(POINTER, max_size=3)),
    st.tuples(st.just("text"), st.text() | POINTER),
    *(
        st.tuples(st.just(name), POINTER)
        for name in "video audio_file audio model_mesh image data input other".split()
    ),
]


@given(
    st.lists(st.one_of(MEMBERS), unique_by=lambda member: member[0]).map(
        lambda members: dict(members)
    )
)
def test_what_the_reference_saves_comes_first_for_any_output_that_it_can_read(
    output: dict[str, Any],
) -> None:
    wanted = reference(output)
    assert remotes(output)[: len(wanted)] == wanted


# -- what is found beyond it


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        pytest.param(
            {"images": [None, at("1"), {"url": ""}, url("3"), 5]},
            [(1, "image", "1"), (3, "image", "3")],
            id="an index is the position in the list",
        ),
        pytest.param(
            {"video": at("v"), "extra": at("x"), "images": [at("0"), None, at("2")]},
            [
                (0, "image", "0"),
                (2, "image", "2"),
                (3, "video", "v"),
                (4, "download", "x"),
            ],
            id="members follow each other",
        ),
        pytest.param(
            {"image": None, "images": [], "videos": [None], "video": at("v")},
            [(0, "video", "v")],
            id="an empty member takes no place",
        ),
        pytest.param(
            {"audio": at("b"), "audio_file": at("a")},
            [(0, "audio", "a"), (1, "audio", "b")],
            id="audio_file before audio",
        ),
        pytest.param(
            {"audio": [at("a"), None, url("c")]},
            [(0, "audio", "a"), (2, "audio", "c")],
            id="a list of audio",
        ),
        pytest.param(
            {"images": {"b": at("b"), "a": None, "c": url("c")}},
            [(0, "image", "b"), (2, "image", "c")],
            id="a map keeps its order",
        ),
        pytest.param(
            [at("a"), None, url("c")],
            [(0, "download", "a"), (2, "download", "c")],
            id="a list is the output",
        ),
        pytest.param(url("a"), [(0, "download", "a")], id="a URL is the output"),
        pytest.param(
            at("a") | {"images": [url("i")], "content_type": "image/png"},
            [(0, "image", "i"), (1, "download", "a")],
            id="an object with a URL and images",
        ),
        pytest.param(
            {"images": [at("a") | {"thumbnail": at("t")}, at("b")], "video": at("v")},
            [
                (0, "image", "a"),
                (1, "image", "b"),
                (2, "video", "v"),
                (3, "image", "t"),
            ],
            id="what is inside a place comes after all places",
        ),
        pytest.param(
            {"images": [[url("a"), url("b")], {"image": at("c")}]},
            [(0, "image", "a"), (1, "image", "c"), (2, "image", "b")],
            id="lists of lists and of objects",
        ),
        pytest.param(
            {"model_glb": at("m"), "model_urls": {"glb": at("m"), "obj": at("o")}},
            [(0, "model3d", "m"), (2, "model3d", "o")],
            id="a URL that two members name is one file",
        ),
        pytest.param(
            {"images": [at("a"), at("a")]},
            [(0, "image", "a"), (1, "image", "a")],
            id="a URL that stands twice in a list is two files",
        ),
        pytest.param(
            {"request": {"images": [at("i")]}, "input_image": url("i"), "v": at("v")},
            [(0, "download", "v")],
            id="what went in is no output",
        ),
        pytest.param(
            {"images": [{"url": "data:,AB"}, {"b64_json": "QUI="}]},
            [(0, "image", b"AB"), (1, "image", b"AB")],
            id="inline bytes",
        ),
        pytest.param({"b64_json": "QUI="}, [(0, "download", b"AB")], id="b64_json"),
        pytest.param(
            {"url": "data:,AB", "images": [url("i")]},
            [(0, "image", "i"), (1, "download", b"AB")],
            id="inline bytes at the top are one file",
        ),
    ],
)
def test_every_place_has_its_index(output: Any, wanted: list[object]) -> None:
    assert promised(output) == wanted


@pytest.mark.parametrize(
    ("output", "kinds", "named"),
    [
        pytest.param(
            {
                "model_glb": at("m.glb") | {"content_type": "model/gltf-binary"},
                "thumbnail": at("t.png"),
                "model_urls": {"glb": at("m.glb"), "fbx": None, "obj": at("m.obj")},
                "texture_urls": [{"base_color": url("b"), "normal": url("n")}],
                "seed": 7,
            },
            "model3d image model3d download download",
            ["model_glb", "thumbnail", "obj", "base_color", "normal"],
            id="a model in several formats",
        ),
        pytest.param(
            {"model_mesh": at("m"), "textures": [at("t"), at("u")], "timings": {}},
            "model3d download download",
            ["Download 3D model", "textures", "textures"],
            id="a mesh with textures",
        ),
        pytest.param(
            {"vocals": at("v"), "drums": at("d"), "other": at("o"), "piano": None},
            "audio audio download",
            ["vocals", "drums", "other"],
            id="stems as members",
        ),
        pytest.param(
            {"stems": {"vocals": at("v"), "drums": url("d")}},
            "audio audio",
            ["vocals", "drums"],
            id="stems as a map",
        ),
        pytest.param(
            {"stems": [{"name": "vocals", "url": url("v")}, {"audio": at("d")}]},
            "audio audio",
            ["vocals", "audio"],
            id="stems as a list",
        ),
        pytest.param(
            {"target": at("t"), "residual": at("r"), "duration": 3},
            "download download",
            ["target", "residual"],
            id="separated tracks",
        ),
        pytest.param(
            {"image": at("i"), "mask_image": at("m"), "has_nsfw_concepts": [False]},
            "image image",
            ["image", "mask_image"],
            id="a picture and its mask",
        ),
        pytest.param(
            {"video": at("v") | {"thumbnail_url": url("t")}, "response_url": url("r")},
            "video image",
            [None, "thumbnail_url"],
            id="a film and its thumbnail",
        ),
        pytest.param(
            {"output": [url("a"), url("b")], "urls": {"get": url("g")}},
            "download download",
            ["Download result", "Download result"],
            id="a list of outputs",
        ),
        pytest.param(
            {"created": 1, "data": [{"b64_json": "QUI="}, {"b64_json": "QUM="}]},
            "download download",
            ["Download result", "Download result"],
            id="a list of base64",
        ),
        pytest.param(
            {"lora_file": at("l"), "config_file": at("c")},
            "download download",
            ["lora_file", "config_file"],
            id="trained weights",
        ),
        pytest.param({"archive": at("a.zip")}, "download", ["Download result"],
            id="an archive"),
    ],
)  # fmt: skip
def test_what_providers_send_is_read(
    output: dict[str, Any], kinds: str, named: list[str | None]
) -> None:
    found = extract(output)
    assert [out.kind for out in found.outputs] == kinds.split()
    assert labels(output) == named
    assert remotes({"result": output}) == remotes(output)


@pytest.mark.parametrize("wrapper", ["output", "data", "result"])
def test_a_wrapper_is_opened(wrapper: str) -> None:
    output = {"images": [None, at("a")], "text": "t"}
    wrapped = {"seed": 4, wrapper: {wrapper: output}}
    (image, text, whole) = extract(wrapped).outputs
    assert (image.index, source(image)) == (1, "a")
    assert (text.index, source(text)) == (2, b"t")
    assert json.loads(source(whole)) == wrapped


def test_mime_type_and_file_name_come_along() -> None:
    said = {"content_type": "image/webp; charset=binary", "file_name": "a.webp"}
    (out,) = extract({"images": [at("a") | said]}).outputs
    assert (out.mime_type, out.file_name) == ("image/webp", "a.webp")
    (out,) = extract({"images": ["data:image/gif;base64,QUI="]}).outputs
    assert out.mime_type == "image/gif"


@pytest.mark.parametrize(
    "output",
    [
        {"images": [{"url": "[data-uri omitted]"}]},
        {"images": ["[base64 omitted]"]},
        {"images": [{"b64_json": "[base64 omitted]"}]},
        {"audioContent": "[base64 omitted]"},
        {"anything": ["[data-uri omitted]"]},
        "[data-uri omitted]",
    ],
)
def test_what_the_backend_left_out_is_refused_in_words(output: Any) -> None:
    extraction = extract(output)
    assert extraction.recognised
    ((index, _, reason),) = promised(output)
    assert (index, reason) == (
        0,
        "the backend left its data out of the job, so nothing can be saved",
    )


# -- texts


def test_a_transcript_is_its_text_and_the_whole_object_beside_it() -> None:
    output = {"text": "hällo", "words": [{"text": "hällo", "start": 0, "end": 1}]}
    text, whole = extract(output).outputs
    assert (text.index, text.kind, text.companion) == (0, "text", False)
    assert (text.mime_type, source(text)) == ("text/plain", "hällo".encode())
    assert (whole.index, whole.companion) == (1, True)
    assert (whole.mime_type, json.loads(source(whole))) == ("application/json", output)


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ({"segments": [{"text": " Hello."}, {"text": " Bye."}]}, "Hello. Bye."),
        ({"segments": [{"text": "Hello."}, {"text": "Bye."}]}, "Hello. Bye."),
        ({"words": [{"text": "Hi"}, {"text": " "}, {"text": "you."}]}, "Hi you."),
        ({"words": [{"word": "Hi"}, None, {"word": 5}, {"word": "you."}]}, "Hi you."),
        ({"chunks": [{"text": "Hi", "timestamp": [0, 1]}]}, "Hi"),
        ({"text": None, "segments": [], "words": [{"text": "Hi"}]}, "Hi"),
        ({"text": "as it is ", "words": [{"text": "other"}]}, "as it is "),
    ],
)  # fmt: skip
def test_a_text_in_pieces_is_joined(output: dict[str, Any], text: str) -> None:
    first, whole = extract(output).outputs
    assert source(first) == text.encode()
    assert json.loads(source(whole)) == output


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ({"text": "t", "images": [at("i")]}, ["i", b"t"]),
        ({"text": "t", "model_mesh": at("m"), "image": at("i")}, [b"t", "m", "i"]),
        ({"text": "", "model_mesh": at("m")}, [b"", "m"]),
        ({"text": "", "images": [at("i")]}, ["i"]),
        ({"text": at("t")}, ["t"]),
        ({"text": url("t.png")}, [b"https://h/t.png"]),
        ({"words": [{"text": 5}], "video": at("v")}, ["v"]),
    ],
)
def test_a_text_stands_between_sound_and_mesh(
    output: dict[str, Any], wanted: list[object]
) -> None:
    shown = [out for out in extract(output).outputs if not out.companion]
    assert [source(out) for out in shown] == wanted


def test_a_text_within_something_else_is_no_transcript() -> None:
    assert promised({"video": at("v"), "caption": {"text": "t"}}) == [(0, "video", "v")]
    assert not extract({"caption": {"text": "t"}}).recognised


def test_half_a_surrogate_pair_survives_as_json_and_does_no_harm_in_the_text() -> None:
    text = "a\ud800b\ud83d\ude00"
    first, whole = extract({"text": text, "\udfff": 1}).outputs
    assert source(first) == "a\ufffdb😀".encode()
    assert json.loads(source(whole)) == {"text": "a\ud800b😀", "\udfff": 1}


# -- what nobody can read


@pytest.mark.parametrize(
    "output",
    [None, 5, True, "words", [], {}, {"seed": 1}, {"text": 5}, [[]], {"images": [{}]}],
)
def test_an_unknown_shape_is_kept_as_json(output: object) -> None:
    extraction = extract(output)
    assert not extraction.recognised
    (kept,) = extraction.outputs
    assert json.loads(source(kept)) == output
    assert (kept.index, kept.kind, kept.label) == (0, "download", "Unrecognised output")
    assert kept.mime_type == "application/json"


def test_values_that_json_has_no_word_for_are_kept_in_its_words() -> None:
    values = [Int64(2**60), b"AB", math.nan, -math.inf, 5.0, 2.5, 1e300]
    (kept,) = extract({"x": values}).outputs
    wanted = [2**60, "QUI=", "nan", "-inf", 5, 2.5, 1e300]
    assert json.loads(source(kept)) == {"x": wanted}


def test_the_feed_and_the_gateway_give_the_same_file() -> None:
    (fed,) = extract({"width": 1024.0, "ratio": 1.5}).outputs
    (asked,) = extract({"width": 1024, "ratio": 1.5}).outputs
    assert fed == asked


# -- anything at all


def nested(depth: int, value: Any, *, name: str | None) -> Any:
    for _ in range(depth):
        value = [value] if name is None else {name: value}
    return value


@pytest.mark.parametrize("name", [None, "x", "data", "images", "url", "text"])
def test_nesting_without_end_is_cut_and_not_followed(name: str | None) -> None:
    output = nested(10_000, at("deep"), name=name)
    found = extract(output).outputs
    assert len(found) == 1
    assert isinstance(found[0].source, Inline | Refused)
    if isinstance(found[0].source, Inline):
        assert b"[nested too deeply]" in found[0].source.data


@pytest.mark.parametrize("name", [None, "x", "data", "images"])
def test_whatever_the_feed_can_nest_is_found(name: str | None) -> None:
    assert remotes(nested(MAX_DEPTH - 2, at("deep"), name=name)) == [url("deep")]


KEYS = st.sampled_from(
    "url uri b64_json images image video videos audio text data output result stems "
    "words segments model_mesh model_urls textures thumbnail name label x".split()
) | st.text(max_size=5)  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(categories=None), max_size=10)
    | st.sampled_from(
        [
            "https://h/a",
            "https://h/a.png",
            "data:image/png;base64,iVBORw0KGgo=",
            "data:,a%20b",
            "data:;base64,====",
            "[data-uri omitted]",
            "[base64 omitted]",
            "\ud800",
        ]
    )
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=30,
)


@given(ANYTHING)
@example({"url": {"url": {"url": []}}, "images": {"url": ""}})
def test_any_output_is_read_alike_each_time_and_promises_something(output: Any) -> None:
    extraction = extract(output)
    indices = [out.index for out in extraction.outputs]
    assert indices
    assert indices == sorted(set(indices))
    assert extract(output) == extraction
    for out in extraction.outputs:
        assert out.label is None or out.label.isprintable()
        if isinstance(out.source, Inline) and out.mime_type == "application/json":
            json.loads(out.source.data)


@given(ANYTHING)
def test_inline_data_is_never_much_larger_than_the_output(output: Any) -> None:
    found = extract(output).outputs
    held = sum(len(out.source.data) for out in found if isinstance(out.source, Inline))
    assert held <= 10 * len(json.dumps(output)) + 100


def test_deep_json_is_not_blown_up_by_its_indentation() -> None:
    output = nested(MAX_DEPTH - 1, [1] * 1000, name=None)
    (kept,) = extract(output).outputs
    assert json.loads(source(kept)) == output
    assert len(source(kept)) < 2 * len(json.dumps(output))


@pytest.mark.parametrize("name", ["url", "b64_json"])
def test_large_inline_data_is_decoded_once_and_not_copied(name: str) -> None:
    data = bytes(range(256)) * (64 * 1024)
    coded = base64.b64encode(data).decode()
    text = f"data:video/mp4;base64,{coded}" if name == "url" else coded
    tracemalloc.start()
    try:
        (out,) = extract({"video": {name: text}}).outputs
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert source(out) == data
    assert peak < 1.25 * len(data)


def planted(value: Any) -> Iterator[str]:
    """Yield the URLs of all objects that have one."""
    if isinstance(value, dict) and isinstance(value.get("url"), str):
        yield value["url"]
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for child in children:
            yield from planted(child)


PLANTED = st.recursive(
    st.none() | st.text(max_size=3) | st.fixed_dictionaries({"url": URL, "width": URL}),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS.filter(lambda key: key != "url"), inner, max_size=4)
        | st.fixed_dictionaries({"url": URL}, optional={"thumbnail": inner, "x": inner})
    ),
    max_leaves=20,
)


@given(PLANTED)
def test_no_object_with_a_url_is_lost_wherever_it_stands(output: Any) -> None:
    assert set(planted(output)) <= set(remotes(output))


@given(
    st.dictionaries(
        st.sampled_from(
            "image images image_url video videos audio audio_file stems model_glb "
            "model_urls textures texture_urls glb thumbnail output data result".split()
        ),
        URL
        | st.lists(URL | st.none(), max_size=4)
        | st.dictionaries(st.sampled_from(["glb", "vocals", "mp4"]), URL, max_size=3),
    )
)
def test_no_plain_url_is_lost_where_a_name_says_media(output: dict[str, Any]) -> None:
    texts = json.dumps(output).split('"')
    assert set(remotes(output)) == {text for text in texts if "://" in text}


# -- what a file turns out to be


@pytest.mark.parametrize(
    ("promised_kind", "content", "shown"),
    [
        ("image", None, "image"),
        ("audio", Media("video/mp4", "mp4", "video"), "audio"),
        ("text", Media("text/plain", "txt", "text"), "text"),
        ("download", WAV, "audio"),
        ("download", None, "download"),
        ("download", Media("text/plain", "txt", "text"), "download"),
        ("model3d", ZIP, "download"),
        ("model3d", PNG, "image"),
    ],
)
def test_a_download_becomes_what_it_turns_out_to_be(
    promised_kind: Any, content: Media | None, shown: str
) -> None:
    assert outputs.kind(Output(0, promised_kind, Inline(b"")), content) == shown
