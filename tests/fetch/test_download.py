from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest

from materializer.errors import (
    FetchError,
    FetchUnavailable,
    LinkGone,
    OutputDamaged,
    OutputRefused,
)
from materializer.fetch import Fetched, Fetcher, Guard, write
from origin import Origin, origin

BODY = bytes(range(256)) * 4096  # a mebibyte
DIGEST = base64.b64encode(hashlib.sha256(BODY).digest()).decode()


@pytest.fixture
async def fetcher(source: Origin) -> AsyncIterator[Fetcher]:
    guard = Guard([("127.0.0.1", source.port)])
    fetcher = Fetcher(guard, per_host=2, idle_timeout=0.5, user_agent="stella-test")
    yield fetcher
    await fetcher.close()


async def fetch(
    fetcher: Fetcher,
    url: str,
    tmp_path: Path,
    *,
    limit: int = 2**30,
    present: Path | None = None,
) -> Fetched:
    part = tmp_path / f"{hash(url)}.part"
    return await fetcher.download(url, part, limit=limit, present=present)


async def test_a_body_arrives_whole_hashed_and_private(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    url = source.serve(
        "/a", BODY, "Content-Type: image/png", f"Digest: sha-256={DIGEST}"
    )
    seen: list[tuple[int, int | None]] = []
    fetched = await fetcher.download(
        url,
        tmp_path / "a.part",
        limit=len(BODY),
        progress=lambda *at: seen.append(at),
    )
    assert fetched.path.read_bytes() == BODY
    assert fetched.path.stat().st_mode & 0o777 == 0o600
    assert fetched.sha256 == hashlib.sha256(BODY).hexdigest()
    assert (fetched.size, fetched.content_type) == (len(BODY), "image/png")
    assert fetched.head == BODY[: len(fetched.head)]
    assert seen[-1] == (len(BODY), len(BODY))


async def test_we_ask_for_the_bytes_as_they_are_and_send_no_secrets(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    await fetch(fetcher, source.serve("/a", b"x"), tmp_path)
    (head,) = source.requests
    assert "accept-encoding: identity" in head.lower()
    assert "user-agent: stella-test" in head.lower()
    assert "authorization" not in head.lower()
    assert "cookie" not in head.lower()


async def test_a_proxy_of_the_environment_is_not_asked(
    fetcher: Fetcher, source: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with origin() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url(""))
        fetched = await fetch(fetcher, source.serve("/a", b"x"), tmp_path)
    assert fetched.size == 1
    assert proxy.requests == []


async def test_a_part_left_by_a_crash_is_begun_afresh(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    part = tmp_path / "a.part"
    part.write_bytes(b"something longer than the body")
    fetched = await fetcher.download(source.serve("/a", b"new"), part, limit=9)
    assert fetched.path.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (("200 OK", "Content-Length: 100", b"x" * 50), FetchUnavailable),
        (("200 OK", "Transfer-Encoding: chunked", b"5\r\nab"), FetchUnavailable),
        (("200 OK", "Digest: sha-256=" + DIGEST, b"other"), OutputDamaged),
        (("200 OK", "Content-Length: 0", b""), OutputDamaged),
        (("200 OK", "Content-Encoding: gzip", b"\x1f\x8b"), OutputDamaged),
        (("204 No Content", "X: y", b""), OutputDamaged),
        (("400 Bad Request", "X: y", b""), OutputDamaged),
        (("206 Partial Content", "Content-Length: 1", b"x"), OutputDamaged),
        (("401 Unauthorized", "X: y", b""), LinkGone),
        (("403 Forbidden", "X: y", b""), LinkGone),
        (("404 Not Found", "X: y", b""), LinkGone),
        (("410 Gone", "X: y", b""), LinkGone),
        (("408 Request Timeout", "X: y", b""), FetchUnavailable),
        (("429 Too Many Requests", "X: y", b""), FetchUnavailable),
        (("503 Service Unavailable", "X: y", b""), FetchUnavailable),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_bad_answer_is_the_right_kind_of_error(
    fetcher: Fetcher,
    source: Origin,
    tmp_path: Path,
    answer: tuple[str, str, bytes],
    error: type[FetchError],
) -> None:
    status, header, body = answer
    url = source.raw("/a", status, header, body=body)
    with pytest.raises(FetchError) as caught:
        await fetch(fetcher, url, tmp_path)
    assert type(caught.value) is error
    assert "/a" not in str(caught.value)


@pytest.mark.parametrize("header", ["7", formatdate(4e9, usegmt=True)])
async def test_retry_after_is_read_in_both_forms(
    fetcher: Fetcher, source: Origin, tmp_path: Path, header: str
) -> None:
    url = source.raw("/a", "503 Busy", f"Retry-After: {header}")
    with pytest.raises(FetchUnavailable) as caught:
        await fetch(fetcher, url, tmp_path)
    assert caught.value.retry_after is not None
    assert caught.value.retry_after == 7 or caught.value.retry_after > 1e6


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_refused(
    fetcher: Fetcher, source: Origin, tmp_path: Path, announced: bool
) -> None:
    length = [f"Content-Length: {len(BODY)}"] if announced else []
    url = source.raw("/a", "200 OK", *length, body=BODY)
    with pytest.raises(OutputRefused, match="max_bytes"):
        await fetch(fetcher, url, tmp_path, limit=len(BODY) - 1)
    begun = any(tmp_path.iterdir())
    assert begun is not announced


async def test_redirects_are_followed_and_each_hop_is_vetted(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    source.serve("/end", b"here")
    hop = source.raw("/hop", "302 Found", "Location: /end")
    assert (await fetch(fetcher, hop, tmp_path)).path.read_bytes() == b"here"
    inside = source.raw("/in", "302 Found", "Location: http://127.0.0.2:1/secret")
    with pytest.raises(OutputRefused, match="inside this network"):
        await fetch(fetcher, inside, tmp_path)
    elsewhere = source.raw("/file", "302 Found", "Location: file:///etc/passwd")
    with pytest.raises(OutputRefused, match="file:"):
        await fetch(fetcher, elsewhere, tmp_path)


async def test_redirects_in_a_circle_end(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    url = source.raw("/a", "302 Found", "Location: /a")
    with pytest.raises(OutputRefused, match="redirects more than"):
        await fetch(fetcher, url, tmp_path)
    assert len(source.requests) == 6


async def test_a_source_that_falls_silent_is_given_up(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    released = asyncio.Event()

    async def stall(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
        await writer.drain()
        await released.wait()

    with pytest.raises(FetchUnavailable, match="did not deliver"):
        await fetch(fetcher, source.respond("/a", stall), tmp_path)
    released.set()


async def test_nobody_listening_is_for_later(fetcher: Fetcher, tmp_path: Path) -> None:
    async with origin() as other:
        url = other.url("/gone")
        open_guard = Guard([("127.0.0.1", None)])
    lonely = Fetcher(open_guard, per_host=1, idle_timeout=1, user_agent="t")
    with pytest.raises(FetchUnavailable):
        await fetch(lonely, url, tmp_path)
    await lonely.close()


async def test_a_host_gets_no_more_requests_at_once_than_allowed(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    two_are_in = asyncio.Event()
    waiting = 0

    async def wait_for_company(writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            two_are_in.set()
        await two_are_in.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")

    async with asyncio.TaskGroup() as group:
        for n in range(6):
            url = source.respond(f"/{n}", wait_for_company)
            group.create_task(fetch(fetcher, url, tmp_path))
    assert source.at_once == 2


async def test_a_file_that_is_there_and_the_same_is_adopted_without_its_body(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    present = tmp_path / "job_0.bin"
    present.write_bytes(BODY)
    url = source.serve("/a", BODY, f"Digest: sha-256={DIGEST}")
    fetched = await fetch(fetcher, url, tmp_path, present=present)
    assert (fetched.adopted, fetched.path) == (True, present)
    assert fetched.sha256 == hashlib.sha256(BODY).hexdigest()
    assert list(tmp_path.iterdir()) == [present]


@pytest.mark.parametrize("content", [BODY[:-1], b"\xff" + BODY[1:]])
async def test_a_file_that_is_there_but_another_is_fetched_again(
    fetcher: Fetcher, source: Origin, tmp_path: Path, content: bytes
) -> None:
    present = tmp_path / "job_0.bin"
    present.write_bytes(content)
    url = source.serve("/a", BODY, f"Digest: sha-256={DIGEST}")
    fetched = await fetch(fetcher, url, tmp_path, present=present)
    assert not fetched.adopted
    assert fetched.path.read_bytes() == BODY


async def test_inline_bytes_are_gathered_the_same_way(tmp_path: Path) -> None:
    fetched = await write(b"text", tmp_path / "t.part")
    assert fetched.path.read_bytes() == b"text"
    assert fetched.sha256 == hashlib.sha256(b"text").hexdigest()
    assert (fetched.size, fetched.head) == (4, b"text")
