from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from encoded import MADE
from materializer import naming
from materializer.model import Inline, Kind, Output, Remote
from materializer.sniff import PAGE, Media, sniff

JPEG = Media("image/jpeg", "jpg", "image")
SVG = Media("image/svg+xml", "svg", "image")
JSON = Media("application/json", "json", "download")
GLTF = Media("model/gltf+json", "gltf", "model3d")
TEXT = Media("text/plain", "txt", "text")
KINDS: tuple[Kind, ...] = ("image", "video", "audio", "model3d", "download", "text")

# What a computer runs and what a browser acts on.
ACTIVE = (
    "php phtml php5 html htm xhtml shtml mhtml xht xml xsl svgz exe com scr pif sh "
    "bash bat cmd ps1 vbs js mjs jse wsf hta jar msi dll so dylib app apk dmg deb rpm "
    "lnk url desktop reg py pl rb cgi asp aspx jsp wasm swf command scpt"
).split()
ACTIVE_TYPES = (
    "text/html application/xhtml+xml text/javascript application/javascript "
    "application/ecmascript application/x-php application/x-httpd-php application/x-sh "
    "text/x-shellscript application/x-csh application/x-msdownload application/x-msdos-"
    "program application/x-executable application/vnd.microsoft.portable-executable "
    "application/java-archive application/wasm application/x-bat application/x-msi "
    "application/xml text/xml text/x-python"
).split()


def remote(url: str = "https://h/x", **fields: Any) -> Output:
    return Output(0, "image", Remote(url), **fields)


def test_a_plain_job_id_is_its_own_stem() -> None:
    assert naming.stem("job_123-AbC") == "job_123-AbC"
    assert naming.stem("_" + "x" * 99) == "_" + "x" * 99


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
        "a\n",
        "a b",
        "a.b",
        "a=b",
        "-x",
        "CON",
        "con",
        "aux",
        "NUL",
        "com1",
        "LPT9",
        "é",
        "\u0661",
        "\ud800",
        "x" * 101,
    ],
)
def test_any_other_is_rewritten_within_the_directory(job_id: str) -> None:
    stem = naming.stem(job_id)
    assert stem != job_id
    assert_safe(stem)


def test_a_name_taken_but_for_case_is_rewritten() -> None:
    assert naming.stem("Job", taken=True).startswith("job=")
    assert naming.stem("Job", taken=True) != naming.stem("job", taken=True)


@given(st.text(max_size=120), st.integers(0, 10**9), st.booleans())
@example("x" * 100, 10**9, False)
@example("é" * 100, 10**9, True)
def test_every_name_is_safe(job_id: str, index: int, taken: bool) -> None:
    stem = naming.stem(job_id, taken=taken)
    assert_safe(stem)
    for extension in (*naming._TYPES, "x" * 8):
        name = naming.file_name(stem, index, extension)
        assert name.isascii()
        assert len(name) <= 255
        assert name.count(".") == 1


def assert_safe(stem: str) -> None:
    assert stem
    assert stem.isascii()
    assert stem.isprintable()
    assert not set(stem) & set("/\\\0 .~$%:*?\"<>|'`;&")
    assert stem[0] not in "-."
    assert stem.lower() not in {"con", "prn", "aux", "nul"}
    assert not (stem[:3].lower() in {"com", "lpt"} and stem[3:].isdigit())
    assert len(stem) <= 100


IDS = st.text(max_size=120) | st.sampled_from(
    [
        "a",
        "A",
        "a/",
        "A/",
        "a_0",
        "A_0",
        "é",
        "É",
        "ﬁ",
        "fi",
        "K",
        "\u212a",
        "con",
        "CON",
    ]
)


@given(st.lists(st.tuples(IDS, st.integers(0, 30)), unique=True, max_size=8))
def test_no_two_files_have_one_name_even_where_case_is_ignored(
    files: list[tuple[str, int]],
) -> None:
    # As the gallery does it: a name counts as taken when another job has it but for
    # case.
    stems: dict[str, str] = {}
    for job_id, _ in files:
        if job_id not in stems:
            taken = naming.stem(job_id).lower() in {s.lower() for s in stems.values()}
            stems[job_id] = naming.stem(job_id, taken=taken)
    names = [naming.file_name(stems[job_id], n, "png") for job_id, n in files]
    assert len({name.casefold() for name in names}) == len(files)


def test_names_that_differ_only_in_what_is_left_out_stay_apart() -> None:
    ids = ["/" * n for n in range(200)] + ["é" * n + "x" for n in range(1, 200)]
    assert len({naming.stem(job_id) for job_id in ids}) == len(ids)


@given(st.text(max_size=120))
def test_what_is_rewritten_never_has_the_name_of_a_plain_one(job_id: str) -> None:
    stem = naming.stem(job_id)
    if stem != job_id:
        assert naming._PLAIN.fullmatch(stem) is None


@pytest.mark.parametrize(
    ("output", "sniffed", "content_type", "extension"),
    [
        (remote("https://h/a.png", mime_type="image/png"), JPEG, "image/png", "jpg"),
        (remote("https://h/a.png", mime_type="image/webp; q=1"), None, None, "webp"),
        (remote(mime_type="image/webp"), None, "image/gif", "webp"),
        (remote("https://h/a.png"), None, "image/gif", "gif"),
        (remote("https://h/a.png", mime_type="image/none"), None, "IMAGE/JPEG", "jpg"),
        (remote(mime_type="application/octet-stream"), None, "image/gif", "gif"),
        (remote("https://h/a.png", file_name="b.JPEG"), None, None, "jpg"),
        (remote("https://h/a.png", file_name="b"), None, None, "png"),
        (remote("https://h/a.WEBP?x=.gif#.bmp"), None, None, "webp"),
        (remote("https://h/a.TIF"), None, None, "tiff"),
        (remote("https://h/v?file=clip.mov"), None, None, "png"),
        (remote("https://h/a#b.gif"), None, None, "png"),
        (remote("https://example.com"), None, None, "png"),
        (remote("https://example.com/"), None, None, "png"),
        (remote("https://h/v1.5"), None, None, "png"),
        (remote("https://h/a.gif/x"), None, None, "png"),
        (remote("https://[h/a.gif"), None, None, "png"),
        (remote("https://h/image.php?id=1"), None, None, "bin"),
        (remote("https://h/x", file_name="run.exe"), None, None, "bin"),
        (remote("https://h/x", file_name="run.exe. "), None, None, "bin"),
        (remote("https://h/x", file_name="a.png\n.exe"), None, None, "bin"),
        (remote("https://h/x", file_name="a.unheard"), None, None, "bin"),
    ],
)
def test_the_extension_tells_the_truth(
    output: Output, sniffed: Media | None, content_type: str | None, extension: str
) -> None:
    assert naming.extension(output, sniffed, content_type) == extension


@pytest.mark.parametrize(
    ("kind", "extension"),
    [
        ("image", "png"),
        ("video", "mp4"),
        ("audio", "mp3"),
        ("model3d", "glb"),
        ("download", "bin"),
        ("text", "txt"),
    ],
)
def test_where_nothing_is_known_the_kind_decides(kind: Kind, extension: str) -> None:
    assert naming.extension(Output(0, kind, Remote("https://h/x")), None) == extension


@pytest.mark.parametrize("suffix", ACTIVE)
def test_no_hint_names_a_program_or_a_page(suffix: str) -> None:
    for kind in KINDS:
        for name in (f"a.{suffix}", f"a.{suffix.upper()}", f"a.png.{suffix}"):
            by_url = Output(0, kind, Remote(f"https://h/{name}"))
            by_name = Output(0, kind, Remote("https://h/x"), file_name=name)
            assert naming.extension(by_url, None) == "bin"
            assert naming.extension(by_name, None) == "bin"


@pytest.mark.parametrize("mime", ACTIVE_TYPES)
def test_no_declared_type_makes_a_program_or_a_page(mime: str) -> None:
    declared = remote("https://h/a.png", mime_type=mime)
    assert naming.extension(declared, None) == "bin"
    assert naming.extension(remote("https://h/a.png"), None, mime) == "bin"
    assert naming.mime_type(declared, None) == "application/octet-stream"
    assert naming.mime_type(remote(), None, mime) == "application/octet-stream"


@given(
    st.sampled_from(KINDS),
    st.one_of(st.none(), st.sampled_from(ACTIVE_TYPES), st.text(max_size=20)),
    st.one_of(st.none(), st.sampled_from(ACTIVE).map("a.{}".format), st.text()),
    st.text(max_size=20),
    st.sampled_from([None, PAGE, SVG, JSON, TEXT, JPEG]),
)
def test_whatever_is_said_the_extension_is_a_listed_one(
    kind: Kind, mime: str | None, name: str | None, path: str, sniffed: Media | None
) -> None:
    source = Remote(f"https://h/{path}")
    output = Output(0, kind, source, mime_type=mime, file_name=name)
    extension = naming.extension(output, sniffed, mime)
    assert extension in naming._TYPES
    assert extension not in ACTIVE
    assert naming.mime_type(output, sniffed, mime) not in ACTIVE_TYPES


@pytest.mark.parametrize("name", MADE)
def test_recognised_content_always_has_its_own_extension(name: str) -> None:
    extension, make = MADE[name]
    output = remote("https://h/a.php", mime_type="text/html", file_name="a.exe")
    media = sniff(make())
    assert media is not None
    assert naming.extension(output, media, "text/html") == extension
    assert naming.mime_type(output, media, "text/html") == media.mime_type


def test_a_page_is_never_named_as_one() -> None:
    for source in (Remote("https://h/a.png"), Inline(b"<html>")):
        output = Output(0, "image", source, mime_type="image/png")
        assert naming.extension(output, PAGE) == "bin"
        assert naming.mime_type(output, PAGE) == "application/octet-stream"


def test_a_drawing_is_one_only_from_an_image_job() -> None:
    for kind, declared in itertools.product(KINDS, (None, "image/svg+xml")):
        output = Output(0, kind, Remote("https://h/a.svg"), mime_type=declared)
        expected = "svg" if kind == "image" else "bin"
        assert naming.extension(output, SVG) == expected
        assert naming.extension(output, None) == expected
    assert naming.mime_type(remote(), SVG) == "image/svg+xml"
    octets = naming.mime_type(Output(0, "download", Remote("https://h/x")), SVG)
    assert octets == "application/octet-stream"


def test_text_content_does_not_overrule_what_was_declared() -> None:
    declared = remote("https://h/x", mime_type="text/csv")
    assert naming.extension(declared, TEXT) == "csv"
    assert naming.mime_type(declared, TEXT) == "text/csv"
    assert naming.extension(remote(), TEXT) == "txt"


def test_but_what_no_text_can_be_it_is_not() -> None:
    declared = remote("https://h/a.vtt", mime_type="image/png", file_name="a.exe")
    assert naming.extension(declared, TEXT, "image/png") == "vtt"
    assert naming.extension(remote("https://h/a.png"), TEXT, "image/png") == "txt"
    assert (
        naming.mime_type(remote("https://h/a.png"), TEXT, "image/png") == TEXT.mime_type
    )


@pytest.mark.parametrize("sniffed", [None, TEXT, JSON, PAGE, JPEG, SVG])
def test_a_transcript_is_a_text_and_a_json_whatever_it_looks_like(
    sniffed: Media | None,
) -> None:
    text = Output(0, "text", Inline(b"..."), "text/plain")
    whole = Output(1, "text", Inline(b"..."), "application/json", companion=True)
    assert naming.extension(text, sniffed) == "txt"
    assert naming.extension(whole, sniffed) == "json"
    if sniffed is not None:
        assert naming.mime_type(text, sniffed) == "text/plain"
        assert naming.mime_type(whole, sniffed) == "application/json"


def test_what_is_kept_as_json_is_named_so_though_it_speaks_of_a_scene() -> None:
    kept = Output(0, "download", Inline(b"{}"), "application/json")
    assert naming.extension(kept, GLTF) == "json"
    sent = Output(0, "download", Remote("https://h/x"), "application/json")
    assert naming.extension(sent, GLTF) == "gltf"


def test_the_mime_type_is_the_contents_then_the_declared() -> None:
    assert naming.mime_type(remote(mime_type="image/png"), JPEG) == "image/jpeg"
    assert naming.mime_type(remote(), None, "Image/PNG; q=1") == "image/png"
    assert naming.mime_type(remote(mime_type="image/jxl"), None) == "image/jxl"
    assert naming.mime_type(remote(), None) == "application/octet-stream"


@pytest.mark.parametrize(
    "mime", ["png", "image/png\r\nX-A: b", "a/" + "b" * 99, "/", "é/a"]
)
def test_what_has_not_the_form_of_a_type_is_none(mime: str) -> None:
    assert naming.mime_type(remote(mime_type=mime), None) == "application/octet-stream"
    assert naming.extension(remote(mime_type=mime), None) == "png"


def test_a_file_name_is_stem_index_extension() -> None:
    assert naming.file_name("job", 3, "png") == "job_3.png"


@pytest.mark.parametrize("job_id", ["j", "job_1", "_-_", "a b/../c", "nul", "x" * 101])
def test_a_file_name_tells_its_stem_and_index(job_id: str) -> None:
    stem = naming.stem(job_id)
    for index in (0, 7, 10, 123456789):
        name = naming.file_name(stem, index, "mp4")
        assert naming.read(name) == (stem, index)


@pytest.mark.parametrize(
    "name",
    "j.png j_.png _0.png j_0 j_0. j_00.png j_01.png j_-1.png j_0.PNG j_0.png.lock"
    " .j_0.p/ng j_1234567890.png j_\u0660.png".split(),
)
def test_other_names_are_not_ours(name: str) -> None:
    assert naming.read(name) is None


# --- what a name is likely to end in, before the content is known


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_promised_is_among_the_likely_endings(kind: Kind) -> None:
    for output in (
        Output(0, kind, Remote("https://h/x")),
        Output(0, kind, Remote("https://h/x.csv?sig=1")),
        Output(0, kind, Remote("https://h/x"), mime_type="video/x-msvideo"),
        Output(0, kind, Remote("https://h/x"), file_name="x.php"),
    ):
        endings = naming.endings(output)
        assert naming.extension(output, None) in endings
        assert len({*endings}) == len(endings) < 12
