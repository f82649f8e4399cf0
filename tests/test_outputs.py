from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from materializer import outputs
from materializer.model import Inline, Output, Refused, Remote
from materializer.outputs import Extraction, extract
from materializer.sniff import Media

REFERENCE = json.loads((Path(__file__).parent / "data" / "extract.json").read_text())

PNG = Media("image/png", "png", "image")
WAV = Media("audio/wav", "wav", "audio")
ZIP = Media("application/zip", "zip", "download")


def urls(extraction: Extraction) -> list[str]:
    return [
        out.source.url for out in extraction.outputs if isinstance(out.source, Remote)
    ]


def indices(output: Any) -> list[int]:
    return [out.index for out in extract(output).outputs]


@pytest.mark.parametrize("vector", REFERENCE, ids=lambda vector: vector["case"])
def test_all_that_the_reference_finds_is_found(vector: dict[str, Any]) -> None:
    extraction = extract(vector["output"])
    wanted = [url for url in vector.get("urls", []) if isinstance(url, str)]
    wanted += [vector["url"]] if "url" in vector else []
    remote = [url for url in wanted if url.startswith("http")]
    assert urls(extraction)[: len(remote)] == remote
    assert sum(not out.companion for out in extraction.outputs) >= len(wanted)
    if vector["kind"] != "unknown":
        assert extraction.recognised
    if vector["kind"] in {"image", "video", "audio", "text"}:
        assert extraction.outputs[0].kind == vector["kind"]


def test_an_index_is_the_position_in_the_list_and_is_never_compacted() -> None:
    images = [None, {"url": "https://h/1.png"}, {"url": ""}, "https://h/3.png"]
    assert indices({"images": images}) == [1, 3]


def test_members_follow_each_other_without_sharing_an_index() -> None:
    output = {
        "video": {"url": "https://h/v.mp4"},
        "images": [{"url": "https://h/0"}, None, {"url": "https://h/2"}],
        "extra": {"url": "https://h/x"},
    }
    extraction = extract(output)
    assert [out.index for out in extraction.outputs] == [0, 2, 3, 4]
    assert [out.kind for out in extraction.outputs] == [
        "image",
        "image",
        "video",
        "download",
    ]


def test_a_map_of_stems_keeps_its_order_and_names() -> None:
    stems = {"vocals": {"url": "https://h/a.wav"}, "drums": "https://h/b.wav"}
    found = extract({"stems": stems}).outputs
    assert [(out.index, out.kind, out.label) for out in found] == [
        (0, "audio", "vocals"),
        (1, "audio", "drums"),
    ]


def test_a_transcript_is_its_text_and_the_whole_object_beside_it() -> None:
    output = {"text": "hällo", "words": [{"text": "hällo", "start": 0, "end": 1}]}
    text, whole = extract(output).outputs
    assert (text.kind, text.companion, text.source) == (
        "text",
        False,
        Inline("hällo".encode()),
    )
    assert whole.companion
    assert isinstance(whole.source, Inline)
    assert json.loads(whole.source.data) == output


@pytest.mark.parametrize("wrapper", ["output", "data", "result"])
def test_a_wrapper_is_opened(wrapper: str) -> None:
    found = extract({wrapper: {"images": ["https://h/a.png"]}, "seed": 4})
    assert urls(found) == ["https://h/a.png"]


@pytest.mark.parametrize(
    ("url", "data", "mime"),
    [
        ("data:image/png;base64,iVBORw0KGgo=", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("data:text/plain,a%20b", b"a b", "text/plain"),
        ("DATA:audio/wav;rate=1;base64,UklGRg%3D%3D", b"RIFF", "audio/wav"),
    ],
)
def test_inline_data_is_decoded(url: str, data: bytes, mime: str) -> None:
    (out,) = extract({"images": [{"url": url}]}).outputs
    assert (out.source, out.mime_type) == (Inline(data), mime)


@pytest.mark.parametrize(
    "url",
    ["[data-uri omitted]", "[base64 omitted]", "data:nothing", "data:;base64,%%%", 7],
)
def test_what_can_never_be_had_is_refused_in_words(url: object) -> None:
    (out,) = extract({"video": {"url": url}}).outputs
    assert isinstance(out.source, Refused)
    assert out.source.reason


@pytest.mark.parametrize("output", [None, 5, "words", [], {}, {"seed": 1}, {"text": 5}])
def test_an_unknown_shape_is_kept_as_json(output: object) -> None:
    extraction = extract(output)
    assert not extraction.recognised
    (kept,) = extraction.outputs
    assert isinstance(kept.source, Inline)
    assert json.loads(kept.source.data) == output
    assert (kept.kind, kept.label) == ("download", "Unrecognised output")


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["url", "images", "video", "text", "data", "stems", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_output_yields_distinct_indices_and_something_to_keep(output: Any) -> None:
    extraction = extract(output)
    found = [out.index for out in extraction.outputs]
    assert found
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("promised", "content", "shown"),
    [
        ("image", None, "image"),
        ("audio", Media("video/mp4", "mp4", "video"), "audio"),
        ("download", WAV, "audio"),
        ("download", None, "download"),
        ("model3d", ZIP, "download"),
        ("model3d", PNG, "image"),
    ],
)
def test_a_download_becomes_what_it_turns_out_to_be(
    promised: Any, content: Media | None, shown: str
) -> None:
    assert outputs.kind(Output(0, promised, Inline(b"")), content) == shown
