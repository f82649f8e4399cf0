from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from materializer import naming
from materializer.model import Inline, Output, Remote
from materializer.sniff import Media

JPEG = Media("image/jpeg", "jpg", "image")


def remote(url: str = "https://h/x", **fields: Any) -> Output:
    return Output(0, "image", Remote(url), **fields)


def test_a_plain_job_id_is_its_own_stem() -> None:
    assert naming.stem("job_123-AbC") == "job_123-AbC"


@pytest.mark.parametrize(
    "job_id",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "a\0b",
        "-x",
        "CON",
        "aux",
        "com1",
        "é",
        "x" * 101,
    ],
)
def test_any_other_is_rewritten_within_the_directory(job_id: str) -> None:
    stem = naming.stem(job_id)
    assert stem != job_id
    assert not set(stem) & set('/\\\0 .~$%:*?"<>|')
    assert stem.isascii()
    assert stem.isprintable()
    assert len(stem) < 100
    assert stem[0] != "-"


def test_a_name_taken_but_for_case_is_rewritten() -> None:
    assert naming.stem("Job", taken=True).startswith("job=")


@given(st.text(max_size=120), st.text(max_size=120))
def test_stems_are_injective_even_where_case_is_ignored(one: str, other: str) -> None:
    rewritten = "=" in naming.stem(one) or "=" in naming.stem(other)
    if one != other and rewritten:
        assert naming.stem(one).lower() != naming.stem(other).lower()


@pytest.mark.parametrize(
    ("output", "sniffed", "content_type", "extension"),
    [
        (remote("https://h/a.png", mime_type="image/png"), JPEG, "image/png", "jpg"),
        (remote("https://h/a.png", mime_type="image/webp; q=1"), None, None, "webp"),
        (remote("https://h/a.png"), None, "image/gif", "gif"),
        (remote("https://h/a.png", file_name="b.JPEG"), None, None, "jpg"),
        (remote("https://h/a.WEBP?x=.gif#.bmp"), None, None, "webp"),
        (remote("https://h/v?file=clip.mov"), None, None, "png"),
        (remote("https://example.com"), None, None, "png"),
        (remote("https://h/image.php?id=1"), None, None, "bin"),
        (remote("https://h/x", file_name="run.exe"), None, None, "bin"),
        (Output(0, "video", Inline(b"")), None, None, "mp4"),
    ],
)
def test_the_extension_tells_the_truth(
    output: Output, sniffed: Media | None, content_type: str | None, extension: str
) -> None:
    assert naming.extension(output, sniffed, content_type) == extension


def test_text_content_does_not_overrule_what_was_declared() -> None:
    text = Media("text/plain", "txt", "text")
    declared = remote("https://h/x", mime_type="text/csv")
    assert naming.extension(declared, text) == "csv"
    assert naming.extension(remote(), text) == "txt"


def test_the_mime_type_is_the_contents_then_the_declared() -> None:
    assert naming.mime_type(remote(mime_type="image/png"), JPEG) == "image/jpeg"
    assert naming.mime_type(remote(), None, "Image/PNG; q=1") == "image/png"
    assert naming.mime_type(remote(), None) == "application/octet-stream"


def test_a_file_name_is_stem_index_extension() -> None:
    assert naming.file_name("job", 3, "png") == "job_3.png"
