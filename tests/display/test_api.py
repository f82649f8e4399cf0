from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from display.conftest import Visit
from home import at_home, finish, submit
from materializer.config import Paths
from materializer.devserver.app import Backend
from materializer.display import api
from materializer.display.app import DisplayPage
from materializer.errors import DaemonUnreachable, MaterializerError
from materializer.ipc.jsonlines import (
    CONFLICT,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    NOT_FOUND,
    NOT_SIGNED_IN,
    SHUTTING_DOWN,
    RpcError,
)
from process.house import png, posix

SAME = {"Sec-Fetch-Site": "same-origin"}


async def come(visit: Visit, backend: Backend, *jobs: str) -> None:
    """Let jobs succeed, each with one picture, one after the other."""
    for number, job in enumerate(jobs):
        finish(backend, job, ago=len(jobs) - number)
        await visit.home.event("job", "done", jobId=job)


@asynccontextmanager
async def listening(visit: Visit) -> AsyncIterator[AsyncIterator[str]]:
    """Open the page's event stream; yield its blocks."""
    browser = visit.browser
    async with browser.stream("GET", "/api/events", headers=SAME) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"

        async def blocks() -> AsyncIterator[str]:
            text = ""
            async for more in stream.aiter_text():
                *whole, text = (text + more).split("\n\n")
                for block in whole:
                    yield block

        yield blocks()


async def event(blocks: AsyncIterator[str], name: str, **data: object) -> Any:
    """Return the data of the next event that is like this."""
    async for block in blocks:
        head, _, body = block.partition("\ndata: ")
        if head == f"event: {name}":
            sent = json.loads(body)
            if data.items() <= sent.items():
                return sent
    pytest.fail("the stream has ended")


async def test_the_state_is_the_daemons_own(visit: Visit) -> None:
    told = (await visit.browser.get("/api/state")).json()
    status = await visit.home.ask("daemon.status")
    assert told["connected"] is True
    assert told["daemon"]["pid"] == status["pid"]
    assert told["daemon"]["feed"]["url"] == status["feed"]["url"]


async def test_the_gallery_comes_in_pages_and_can_be_searched(
    visit: Visit, backend: Backend
) -> None:
    await come(visit, backend, "a", "b", "c")
    first = (await visit.browser.get("/api/gallery?limit=2&kind=&search=")).json()
    assert [item["id"] for item in first["items"]] == ["c_0", "b_0"]
    assert first["total"] == 3
    wanted = {"limit": "2", "cursor": first["nextCursor"]}
    last = (await visit.browser.get("/api/gallery", params=wanted)).json()
    assert [item["id"] for item in last["items"]] == ["a_0"]
    one = (await visit.browser.get("/api/gallery?jobId=b&kind=image")).json()
    (item,) = one["items"]
    assert (item["url"], item["path"]) == (
        "/media/b_0",
        str(visit.paths.outputs / "b_0.png"),
    )
    assert (await visit.browser.get("/api/gallery?kind=video")).json()["items"] == []


async def test_the_ids_of_strange_jobs_are_one_segment_of_an_address(
    visit: Visit, backend: Backend
) -> None:
    strange = "../ä b?#%2f"
    await come(visit, backend, strange)
    (item,) = (await visit.browser.get("/api/gallery")).json()["items"]
    assert item["url"] == "/media/..%2F%C3%A4%20b%3F%23%252f_0"
    assert (await visit.browser.get(item["url"])).status_code == 200
    asked = {"id": f"{strange}_0"}
    assert (await visit.browser.get("/api/item", params=asked)).json() == item


async def test_what_is_missing_has_no_address(visit: Visit, backend: Backend) -> None:
    await come(visit, backend, "a")
    (visit.paths.outputs / "a_0.png").unlink()
    (item,) = (await visit.browser.get("/api/gallery?jobId=a")).json()["items"]
    assert (item["missing"], item["url"]) == (True, None)
    gone = await visit.browser.get("/media/a_0")
    assert (gone.status_code, list(gone.json())) == (404, ["error"])


async def test_a_thumbnail_is_served_where_there_is_one(
    visit: Visit, backend: Backend
) -> None:
    picture = base64.b64encode(png("a lamp")).decode()
    output = {"images": [{"url": f"data:image/png;base64,{picture}"}]}
    finish(backend, "a", output=output)
    await visit.home.event("job", "done", jobId="a")
    none = await visit.browser.get("/thumbnail/a_0")
    assert (none.status_code, none.json()) == (404, {"error": "There is no thumbnail."})

    await visit.home.event("gallery", "thumbnail", id="a_0")
    item = (await visit.browser.get("/api/item?id=a_0")).json()
    served = await visit.browser.get(item["thumbnailUrl"])
    assert served.headers["content-type"] == "image/webp"
    assert served.content == Path(item["thumbnailPath"]).read_bytes()


async def test_jobs_are_told_with_their_words_and_tried_again(
    visit: Visit, backend: Backend
) -> None:
    now = submit(backend, "f")
    backend.deployment.fail(now, "f", "The model is full.")
    finish(backend, "a")
    await visit.home.event("job", "failed", jobId="f")
    await visit.home.event("job", "done", jobId="a")
    jobs = (await visit.browser.get("/api/jobs?state=failed&limit=9")).json()["jobs"]
    assert [(job["jobId"], job["error"]) for job in jobs] == [
        ("f", "The model is full.")
    ]
    assert len((await visit.browser.get("/api/jobs")).json()["jobs"]) == 2
    again = await visit.post("/api/job/retry", jobId="a")
    assert again.json()["jobId"] == "a"


async def test_a_removed_item_is_gone(visit: Visit, backend: Backend) -> None:
    await come(visit, backend, "a")
    removed = await visit.post("/api/item/remove", id="a_0", deleteFile=True)
    assert removed.json() == {"removed": True}
    assert (await visit.browser.get("/media/a_0")).status_code == 404
    assert (await visit.browser.get("/api/gallery")).json()["total"] == 0
    assert not (visit.paths.outputs / "a_0.png").exists()


@posix
async def test_the_folder_of_an_item_is_opened_on_the_desktop(
    visit: Visit, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await come(visit, backend, "a")
    programs, opened = tmp_path / "bin", tmp_path / "opened"
    programs.mkdir()
    for name in ("xdg-open", "open"):
        program = programs / name
        program.write_text(f'#!/bin/sh\nprintf %s "$*" > "{opened}"\n')
        program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    answer = await visit.post("/api/item/reveal", id="a_0")
    assert (answer.status_code, answer.json()) == (200, {})
    assert opened.read_text() == str(visit.paths.outputs)

    (programs / "xdg-open").write_text("#!/bin/sh\nexit 3\n")
    (programs / "open").write_text("#!/bin/sh\nexit 3\n")
    refused = await visit.post("/api/item/reveal", id="a_0")
    assert refused.status_code == 500
    assert str(visit.paths.outputs) in refused.json()["error"]


async def test_a_wish_is_a_small_json_object(visit: Visit) -> None:
    for type_, body, status in (
        ("application/json", b'{"id": "none"}', 404),
        ("Application/JSON ; charset=utf-8", b'{"id": "none"}', 404),
        ("application/json", b'{"id": 5}', 400),
        ("application/json", b"{}", 400),
        ("application/json", b"[]", 400),
        ("application/json", b"{", 400),
        ("application/json", b"\xff", 400),
        ("application/json", b"", 400),
        ("application/json", b" " * 65537, 413),
        ("text/plain", b'{"id": "none"}', 415),
        ("application/x-www-form-urlencoded", b"id=none", 415),
    ):
        headers = {"Origin": visit.address, "Content-Type": type_}
        for path in ("/api/item/remove", "/api/item/reveal"):
            answer = await visit.browser.post(path, content=body, headers=headers)
            assert answer.status_code == status, body[:20]
            assert list(answer.json()) == ["error"]


async def test_a_filter_that_is_none_is_refused_in_words(visit: Visit) -> None:
    for limit in ("x", "0", "501", "9" * 5000):
        refused = await visit.browser.get(f"/api/gallery?limit={limit}")
        assert refused.status_code == 400
        assert refused.json()["error"].startswith("limit: ")
    refused = await visit.browser.get("/api/gallery?kind=none")
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("kind: ")


async def test_while_the_daemon_is_away_everything_says_so(
    state: Path, backend: Backend
) -> None:
    paths = Paths.of(state)
    async with AsyncExitStack() as open_:
        async with at_home(state, backend.token_file) as home:
            page = await open_.enter_async_context(DisplayPage(paths))
            visit = Visit(page, home, paths)
            await open_.enter_async_context(visit.browser)
            await visit.browser.get(page.url)
            blocks = await open_.enter_async_context(listening(visit))
            await event(blocks, "state", connected=True)
        await event(blocks, "state", connected=False)
        told = await visit.browser.get("/api/state")
        assert told.json() == {"daemon": None, "connected": False}
        for path in ("/api/gallery", "/api/jobs", "/api/item?id=a", "/media/a"):
            away = await visit.browser.get(path)
            assert away.status_code == 503
            assert "stella-materializer run" in away.json()["error"]
        assert (await visit.post("/api/job/retry", jobId="a")).status_code == 503
        async with at_home(state, backend.token_file):
            await event(blocks, "state", connected=True)
            assert (await visit.browser.get("/api/gallery")).status_code == 200
            await open_.aclose()


async def test_the_stream_tells_of_what_comes_and_happens(
    visit: Visit, backend: Backend
) -> None:
    async with listening(visit) as blocks:
        assert await anext(blocks) == "retry: 1000"
        assert await anext(blocks) == 'event: state\ndata: {"connected": true}'
        finish(backend, "ä\n\nb")
        update = await event(blocks, "update")
        assert update["items"] == ["ä\n\nb_0"]
        assert update["payload"]["jobId"] == "ä\n\nb"
        finish(backend, "b")
        done = await event(blocks, "event", topic="job", type="done")
        assert done["data"]["jobId"] == "b"


async def test_a_quiet_stream_shows_that_it_lives(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_HEARTBEAT", 0.05)
    async with listening(visit) as blocks, asyncio.timeout(10):
        beats = [block async for block in until_second_beat(blocks)]
    assert beats == [": still here"] * 2


async def until_second_beat(blocks: AsyncIterator[str]) -> AsyncIterator[str]:
    left = 2
    async for block in blocks:
        if block.startswith(":"):
            yield block
            left -= 1
        if not left:
            return


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RpcError(INVALID_PARAMS, "wrong"), 400),
        (RpcError(NOT_FOUND, "none"), 404),
        (RpcError(NOT_SIGNED_IN, "nobody"), 409),
        (RpcError(CONFLICT, "now"), 409),
        (RpcError(SHUTTING_DOWN, "bye"), 503),
        (RpcError(INTERNAL_ERROR, "oh"), 502),
        (DaemonUnreachable("gone"), 503),
        (MaterializerError("else"), 500),
    ],
)
async def test_the_daemons_refusals_are_told_in_its_words(
    error: Exception, status: int
) -> None:
    refused = await api.refuse(Request({"type": "http"}), error)
    assert refused.status_code == status
    assert json.loads(bytes(refused.body)) == {"error": str(error)}


async def test_a_daemon_that_does_not_answer_is_told_of() -> None:
    refused = await api.refuse(Request({"type": "http"}), TimeoutError())
    assert refused.status_code == 504
    assert json.loads(bytes(refused.body))["error"] == "The daemon does not answer."
