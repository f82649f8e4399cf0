from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from starlette.requests import Request

from display.conftest import Visit
from home import PNG, finish
from materializer.devserver.app import Backend
from materializer.display.media import Shelf, answer, headers_of
from process.house import until

TAG = '"abc"'
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'"


def asked(method: str = "GET", **headers: str) -> Request:
    raw = [
        (name.replace("_", "-").encode(), value.encode())
        for name, value in headers.items()
    ]
    return Request({"type": "http", "method": method, "headers": raw})


@pytest.mark.parametrize(
    ("wanted", "status", "first", "last"),
    [
        ("bytes=0-", 206, 0, 9),
        ("bytes=0-0", 206, 0, 0),
        ("bytes=3-5", 206, 3, 5),
        ("bytes=3-99", 206, 3, 9),
        ("bytes=9-", 206, 9, 9),
        ("bytes=-4", 206, 6, 9),
        ("bytes=-99", 206, 0, 9),
        (" Bytes=1-2 ", 206, 1, 2),
        ("bytes=10-", 416, None, None),
        ("bytes=10-12", 416, None, None),
        ("bytes=-0", 416, None, None),
        ("bytes=999999999999999999-", 416, None, None),
        # Nothing that can be understood, so all of it.
        ("bytes=5-3", 200, 0, 9),
        ("bytes=-", 200, 0, 9),
        ("bytes=0-1,3-4", 200, 0, 9),
        ("bytes=a-b", 200, 0, 9),
        ("bytes=٣-٤", 200, 0, 9),
        ("bytes=9999999999999999999-", 200, 0, 9),
        ("lines=0-1", 200, 0, 9),
        ("", 200, 0, 9),
    ],
)
def test_a_range_names_bytes_or_nothing(
    wanted: str, status: int, first: int | None, last: int | None
) -> None:
    said, part, headers = answer(asked(range=wanted), TAG, 10)
    assert said == status
    assert list(part) == (
        [] if first is None or last is None else list(range(first, last + 1))
    )
    assert headers["ETag"] == TAG
    assert headers["Accept-Ranges"] == "bytes"
    assert headers.get("Content-Range") == {
        200: None,
        206: f"bytes {first}-{last}/10",
        416: "bytes */10",
    }.get(status)
    assert headers.get("Content-Length") == (None if status == 416 else str(len(part)))


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"if_range": TAG}, 206),
        ({"if_range": '"other"'}, 200),
        ({"if_range": f"W/{TAG}"}, 200),
        ({"if_range": "Fri, 20 Nov 2026 12:00:00 GMT"}, 200),
        ({"if_none_match": TAG}, 304),
        ({"if_none_match": f'"x" , W/{TAG}'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"x"'}, 206),
    ],
)
def test_what_a_browser_has_decides_what_it_gets(
    condition: dict[str, str], status: int
) -> None:
    said, part, _ = answer(asked(range="bytes=1-2", **condition), TAG, 10)
    assert (said, len(part)) == (status, {206: 2, 200: 10, 304: 0}[status])


def test_a_look_at_the_headers_is_about_the_whole() -> None:
    said, _, headers = answer(asked("HEAD", range="bytes=1-2"), TAG, 10)
    assert (said, headers["Content-Length"]) == (200, "10")


@pytest.mark.parametrize(
    ("kind", "said", "type_", "sandboxed", "attached"),
    [
        ("image", "image/png", "image/png", False, False),
        ("video", "VIDEO/mp4; codecs=avc1", "video/mp4", False, False),
        ("audio", "audio/mpeg", "audio/mpeg", False, False),
        ("model3d", "model/gltf-binary", "model/gltf-binary", False, False),
        ("image", "image/svg+xml", "image/svg+xml", True, False),
        ("download", "image/svg+xml", "image/svg+xml", True, False),
        ("text", "text/plain", "text/plain; charset=utf-8", True, False),
        ("text", "text/html", "text/plain; charset=utf-8", True, False),
        ("download", "application/json", "text/plain; charset=utf-8", True, False),
        ("download", "text/html", "application/octet-stream", True, True),
        ("image", "text/html", "application/octet-stream", True, True),
        ("download", "application/xml", "application/octet-stream", True, True),
        ("model3d", "model/x3d+xml", "application/octet-stream", True, True),
        ("image", "image/x+html", "application/octet-stream", True, True),
        ("download", "application/pdf", "application/octet-stream", True, True),
        ("download", "text/javascript", "application/octet-stream", True, True),
        ("image", "image/png\r\nX: y", "application/octet-stream", True, True),
        ("image", "", "application/octet-stream", True, True),
    ],
)
def test_what_could_run_is_neither_shown_nor_named_so(
    kind: str, said: str, type_: str, *, sandboxed: bool, attached: bool
) -> None:
    item = {"kind": kind, "mimeType": said, "fileName": "a_0.x"}
    headers = headers_of(item, download=False)
    assert headers["Content-Type"] == type_
    assert headers.get("Content-Security-Policy") == (SANDBOX if sandboxed else None)
    assert ("Content-Disposition" in headers) == attached


def test_a_download_has_the_name_of_the_file() -> None:
    item = {"kind": "image", "mimeType": "image/png", "fileName": 'ä "b\r\n_0.png'}
    headers = headers_of(item, download=True)
    assert headers["Content-Type"] == "image/png"
    assert (
        headers["Content-Disposition"]
        == "attachment; filename*=UTF-8''%C3%A4%20%22b%0D%0A_0.png"
    )


async def picture(visit: Visit, backend: Backend) -> Path:
    """Return the file of a job that has just come, `p_0`."""
    finish(backend, "p")
    await visit.home.event("job", "done", jobId="p")
    return visit.paths.outputs / "p_0.png"


async def test_a_file_is_served_by_the_id_of_its_item(
    visit: Visit, backend: Backend
) -> None:
    await picture(visit, backend)
    whole = await visit.browser.get("/media/p_0")
    assert (whole.status_code, whole.content) == (200, PNG)
    assert whole.headers["content-type"] == "image/png"
    assert whole.headers["etag"] == f'"{hashlib.sha256(PNG).hexdigest()}"'
    assert whole.headers["cache-control"] == "no-cache"

    part = await visit.browser.get("/media/p_0", headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PNG")
    assert part.headers["content-range"] == f"bytes 1-3/{len(PNG)}"

    beyond = await visit.browser.get("/media/p_0", headers={"Range": "bytes=999-"})
    assert (beyond.status_code, beyond.content) == (416, b"")

    head = await visit.browser.head("/media/p_0")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(PNG))

    known = {"If-None-Match": whole.headers["etag"]}
    same = await visit.browser.get("/media/p_0", headers=known)
    assert (same.status_code, same.content) == (304, b"")

    saved = await visit.browser.get("/media/p_0?download=1")
    assert saved.headers["content-disposition"].endswith("''p_0.png")


async def test_a_link_in_the_place_of_a_file_leads_nowhere(
    visit: Visit, backend: Backend, tmp_path: Path
) -> None:
    file = await picture(visit, backend)
    secret = tmp_path / "secret.png"
    secret.write_bytes(PNG)
    file.unlink()
    file.symlink_to(secret)
    assert (await visit.browser.get("/media/p_0")).status_code == 404


async def test_a_link_in_the_place_of_the_directory_leads_nowhere(
    tmp_path: Path,
) -> None:
    state, outside = tmp_path / "state", tmp_path / "outside"
    outside.mkdir()
    (outside / "a.png").write_bytes(PNG)
    (state / "media").mkdir(parents=True)
    outputs = state / "media" / "outputs"
    shelf = Shelf(outputs, state)
    outputs.symlink_to(outside)
    assert await shelf.serve(asked(), "a.png", TAG, {}) is None

    outputs.unlink()
    outside.rename(outputs)
    assert await shelf.serve(asked("HEAD"), "a.png", TAG, {}) is not None
    assert await shelf.serve(asked(), "../../../outside/a.png", TAG, {}) is None
    assert await shelf.serve(asked(), "none.png", TAG, {}) is None
    (outputs / "link.png").symlink_to(outputs / "a.png")
    (outputs / "directory").mkdir()
    os.mkfifo(outputs / "pipe")
    for name in ("link.png", "directory", "pipe"):
        assert await shelf.serve(asked(), name, TAG, {}) is None


@pytest.mark.skipif("sys.platform != 'linux'", reason="looks into /proc")
async def test_a_file_is_sent_as_it_is_taken_and_closed_when_the_reader_goes(
    visit: Visit, backend: Backend
) -> None:
    file = await picture(visit, backend)
    os.truncate(file, 64 << 20)

    def is_open() -> bool:
        held = []
        for fd in Path("/proc/self/fd").iterdir():
            try:
                held.append(fd.readlink())
            except FileNotFoundError:  # it was the listing's own
                continue
        return file in held

    async with visit.browser.stream("GET", "/media/p_0") as film:
        assert film.headers["content-length"] == str(64 << 20)
        async for first in film.aiter_raw(4):
            assert first == PNG[:4]
            break
        assert is_open()
    await until(lambda: not is_open())
