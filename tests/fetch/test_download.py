from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import socket
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from pathlib import Path

import pytest

from materializer.errors import (
    DiskTrouble,
    FetchError,
    FetchUnavailable,
    LinkGone,
    OutputDamaged,
    OutputRefused,
)
from materializer.fetch import Fetched, Fetcher, Guard, Order, Rules, write
from origin import Origin, origin

BODY = bytes(range(256)) * 4096  # a mebibyte
DIGEST = base64.b64encode(hashlib.sha256(BODY).digest()).decode()


@pytest.fixture(params=["direct", "plain"])
async def fetcher(
    source: Origin, request: pytest.FixtureRequest
) -> AsyncIterator[Fetcher]:
    guard = Guard([("127.0.0.1", source.port)])
    rules = Rules(per_host=2, idle_timeout=0.5, plain=request.param == "plain")
    fetcher = Fetcher(guard, rules, user_agent="stella-test")
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
    return await fetcher.download(Order(url, part, limit, present=lambda: present))


async def test_a_body_arrives_whole_hashed_and_private(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    url = source.serve(
        "/a", BODY, "Content-Type: image/png", f"Digest: sha-256={DIGEST}"
    )
    fetched = await fetch(fetcher, url, tmp_path, limit=len(BODY))
    assert fetched.path.read_bytes() == BODY
    assert fetched.path.stat().st_mode & 0o777 == 0o600
    assert fetched.sha256 == hashlib.sha256(BODY).hexdigest()
    assert (fetched.size, fetched.content_type) == (len(BODY), "image/png")
    assert fetched.head == BODY[: len(fetched.head)]


async def test_we_ask_for_the_bytes_as_they_are_and_send_no_secrets(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    await fetch(fetcher, source.serve("/a", b"x"), tmp_path)
    (head,) = source.requests
    assert "accept-encoding: identity" in head.lower()
    assert "user-agent: stella-test" in head.lower()
    assert "authorization" not in head.lower()
    assert "cookie" not in head.lower()


async def test_a_part_left_by_a_crash_is_begun_afresh(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    part = tmp_path / "a.part"
    part.write_bytes(b"something longer than the body")
    fetched = await fetcher.download(Order(source.serve("/a", b"new"), part, 9))
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
    kept = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert bool(kept) is not announced


async def test_redirects_are_followed_and_each_hop_is_vetted(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    source.serve("/end", b"here")
    hop = source.raw("/hop", "302 Found", "Location: /end")
    assert (await fetch(fetcher, hop, tmp_path)).path.read_bytes() == b"here"
    inside = source.raw("/in", "302 Found", "Location: http://127.0.0.2:1/secret")
    with pytest.raises(OutputRefused, match="not on the public internet"):
        await fetch(fetcher, inside, tmp_path)
    elsewhere = source.raw("/file", "302 Found", "Location: file:///etc/passwd")
    with pytest.raises(OutputRefused, match="file:"):
        await fetch(fetcher, elsewhere, tmp_path)


@pytest.mark.parametrize("location", ["//[", "http://[::1"])
async def test_a_redirect_to_what_is_no_url_is_refused(
    fetcher: Fetcher, source: Origin, tmp_path: Path, location: str
) -> None:
    url = source.raw("/a", "302 Found", f"Location: {location}")
    with pytest.raises(OutputRefused) as refused:
        await fetch(fetcher, url, tmp_path)
    assert location not in str(refused.value)


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
    lonely = Fetcher(open_guard, Rules(idle_timeout=1), user_agent="t")
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
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == len(BODY)


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


async def test_what_comes_inline_is_not_written_through_a_second_name(
    tmp_path: Path,
) -> None:
    other, part = tmp_path / "other", tmp_path / "t.part"
    other.write_text("keep")
    part.hardlink_to(other)
    assert (await write(b"text", part)).path.read_bytes() == b"text"
    assert other.read_text() == "keep"


async def test_inline_bytes_are_gathered_the_same_way(tmp_path: Path) -> None:
    fetched = await write(b"text", tmp_path / "t.part")
    assert fetched.path.read_bytes() == b"text"
    assert fetched.sha256 == hashlib.sha256(b"text").hexdigest()
    assert (fetched.size, fetched.head) == (4, b"text")


# --- going on after a cut

LARGE = bytes(range(251)) * 2**14  # four mebibytes that repeat at no power of two
LARGE_DIGEST = base64.b64encode(hashlib.sha256(LARGE).digest()).decode()
HALF = len(LARGE) // 2


def part_of(tmp_path: Path, url: str) -> Path:
    return tmp_path / f"{hash(url)}.part"


VALIDATORS = {
    "digest": (f"Digest: sha-256={LARGE_DIGEST}",),
    "tag": ('ETag: "v1"',),
    "date": (
        "Last-Modified: Fri, 20 Nov 2026 08:00:00 GMT",
        "Date: Fri, 20 Nov 2026 09:00:00 GMT",
    ),
}


@pytest.mark.parametrize("headers", VALIDATORS.values(), ids=VALIDATORS)
async def test_a_body_that_was_cut_is_gone_on_with(
    fetcher: Fetcher, source: Origin, tmp_path: Path, headers: tuple[str, ...]
) -> None:
    url = source.ranged("/a", LARGE, *headers, cuts=(HALF, 1000))
    for _ in range(2):
        with pytest.raises(FetchUnavailable):
            await fetch(fetcher, url, tmp_path)
    fetched = await fetch(fetcher, url, tmp_path)
    assert fetched.path.read_bytes() == LARGE
    assert fetched.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert source.sent == len(LARGE)
    asked = source.requests[-1].lower()
    assert f"range: bytes={HALF + 1000}-" in asked
    assert ("if-range" in asked) == ("Digest" not in headers[0])


async def test_what_cannot_be_told_from_something_else_is_begun_afresh(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    url = source.ranged("/a", LARGE, 'ETag: W/"weak"', cuts=(HALF,))
    with pytest.raises(FetchUnavailable):
        await fetch(fetcher, url, tmp_path)
    fetched = await fetch(fetcher, url, tmp_path)
    assert fetched.path.read_bytes() == LARGE
    assert "range" not in source.requests[-1].lower()


OTHER = LARGE[::-1]


@pytest.mark.parametrize(
    "headers",
    [
        ('ETag: "v2"',),
        (f"Digest: sha-256={DIGEST}",),
        ("Content-Range: bytes 0-1/2",),
        (f"Content-Range: bytes {HALF + 1}-{len(LARGE) - 1}/{len(LARGE)}",),
        (f"Content-Range: bytes {HALF}-{len(LARGE)}/{len(LARGE) + 1}",),
        (f"Content-Range: bytes {HALF}-{len(LARGE) - 2}/{len(LARGE)}",),
        ("Content-Range: bytes */9",),
        ("X: no Content-Range",),
    ],
    ids=str,
)
async def test_a_part_of_something_else_is_never_mixed_in(
    fetcher: Fetcher, source: Origin, tmp_path: Path, headers: tuple[str, ...]
) -> None:
    tags = ('ETag: "v1"', f"Digest: sha-256={LARGE_DIGEST}")
    url = source.ranged("/a", LARGE, *tags, cuts=(HALF,))
    with pytest.raises(FetchUnavailable):
        await fetch(fetcher, url, tmp_path)

    async def changed(writer: asyncio.StreamWriter) -> None:
        if "range:" not in source.requests[-1].lower():
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(OTHER)}\r\n\r\n"
            writer.write(head.encode() + OTHER)
            return
        tail = OTHER[HALF:]
        rest = f"bytes {HALF}-{len(OTHER) - 1}/{len(OTHER)}"
        lines = [f"Content-Length: {len(tail)}", *headers]
        if not any("Content-Range" in line for line in headers):
            lines.append(f"Content-Range: {rest}")
        head = "\r\n".join(("HTTP/1.1 206 Partial Content", *lines, "", ""))
        writer.write(head.encode() + tail)

    source.respond("/a", changed)
    fetched = await fetch(fetcher, url, tmp_path)
    assert fetched.path.read_bytes() == OTHER


@pytest.mark.parametrize("status", ["200 OK", "416 Range Not Satisfiable"])
async def test_a_source_that_gives_no_parts_is_asked_for_the_whole(
    fetcher: Fetcher, source: Origin, tmp_path: Path, status: str
) -> None:
    url = source.ranged("/a", LARGE, 'ETag: "v1"', cuts=(HALF,))
    with pytest.raises(FetchUnavailable):
        await fetch(fetcher, url, tmp_path)

    async def whole(writer: asyncio.StreamWriter) -> None:
        part = "range:" in source.requests[-1].lower() and status[0] == "4"
        said = status if part else "200 OK"
        body = b"" if part else OTHER
        head = f"HTTP/1.1 {said}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)

    source.respond("/a", whole)
    fetched = await fetch(fetcher, url, tmp_path)
    assert fetched.path.read_bytes() == OTHER


async def test_a_whole_body_of_which_only_the_rename_is_missing_is_not_sent_again(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    url = source.ranged("/a", LARGE, 'ETag: "v1"')
    await fetch(fetcher, url, tmp_path)
    fetched = await fetch(fetcher, url, tmp_path)
    assert fetched.path.read_bytes() == LARGE
    assert source.sent == len(LARGE) + 1


async def test_a_part_is_gone_on_with_by_a_renewed_link(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    part = tmp_path / "a.part"
    url = source.ranged("/a?sig=1", LARGE, 'ETag: "v1"', cuts=(HALF,))
    with pytest.raises(FetchUnavailable):
        await fetcher.download(Order(url, part, 2**30))
    renewed = source.ranged("/a?sig=2", LARGE, 'ETag: "v1"')
    fetched = await fetcher.download(Order(renewed, part, 2**30))
    assert fetched.path.read_bytes() == LARGE
    assert source.sent == len(LARGE)
    elsewhere = source.ranged("/b", OTHER, 'ETag: "v1"')
    fetched = await fetcher.download(Order(elsewhere, part, 2**30))
    assert fetched.path.read_bytes() == OTHER


async def test_bytes_that_turn_out_wrong_are_not_gone_on_with(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    url = source.ranged("/a", LARGE, f"Digest: sha-256={LARGE_DIGEST}", cuts=(HALF,))
    with pytest.raises(FetchUnavailable):
        await fetch(fetcher, url, tmp_path)
    part = part_of(tmp_path, url)
    part.write_bytes(b"\xff" + part.read_bytes()[1:])
    assert (await fetch(fetcher, url, tmp_path)).path.read_bytes() == LARGE
    source.serve("/a", OTHER, f"Digest: sha-256={LARGE_DIGEST}")
    for _ in range(2):
        with pytest.raises(OutputDamaged, match="another digest"):
            await fetch(fetcher, source.url("/a"), tmp_path)
        assert part.stat().st_size == 0


async def test_a_source_that_answers_with_a_part_unasked_is_refused(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    url = source.raw(
        "/a", "206 Partial Content", "Content-Range: bytes 0-0/1", body=b"x"
    )
    with pytest.raises(OutputDamaged, match="with a part"):
        await fetch(fetcher, url, tmp_path)


# --- who waits for whom


async def test_large_downloads_leave_room_for_small_ones(
    source: Origin, tmp_path: Path
) -> None:
    guard = Guard([("127.0.0.1", source.port)])
    fetcher = Fetcher(guard, Rules(at_once=4, per_host=4), user_agent="t")
    released = asyncio.Event()

    async def last(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx")
        await writer.drain()
        await released.wait()
        writer.write(b"y")

    async with asyncio.TaskGroup() as group:
        for n in range(6):
            order = Order(
                source.respond(f"/{n}", last), tmp_path / f"{n}", 9, large=True
            )
            group.create_task(fetcher.download(order))
        small = source.serve("/small", b"s")
        async with asyncio.timeout(10):
            await fetcher.download(Order(small, tmp_path / "small", 9))
        assert source.at_once <= 3
        released.set()
    await fetcher.close()


async def test_a_download_that_is_called_off_ends_at_once_and_keeps_its_part(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    released = asyncio.Event()

    async def stall(writer: asyncio.StreamWriter) -> None:
        head = f'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: {len(LARGE)}\r\n\r\n'
        writer.write(head.encode() + LARGE[:HALF])
        await writer.drain()
        await released.wait()

    part = tmp_path / "a.part"
    order = Order(source.respond("/a", stall), part, 2**30)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(fetcher.download(order))
        while not part.exists() or part.stat().st_size < HALF:  # noqa: ASYNC110 -- a file tells nobody
            await asyncio.sleep(0.01)
        task.cancel()
    released.set()
    source.ranged("/a", LARGE, 'ETag: "a"')
    assert (await fetcher.download(order)).path.read_bytes() == LARGE
    assert source.sent == len(LARGE) - HALF


async def test_progress_is_told_from_the_event_loop_a_few_times_a_second(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Length: {len(LARGE)}\r\n\r\n".encode()
        )
        for start in range(0, len(LARGE), HALF // 16):
            writer.write(LARGE[start : start + HALF // 16])
            await writer.drain()
            await asyncio.sleep(0.03)

    told: list[tuple[int, int | None]] = []

    def progress(received: int, total: int | None) -> None:
        asyncio.get_running_loop()  # or it fails
        told.append((received, total))

    url = source.respond("/a", slowly)
    order = Order(url, tmp_path / "p", 2**30, progress=progress)
    began = asyncio.get_running_loop().time()
    await fetcher.download(order)
    took = asyncio.get_running_loop().time() - began
    assert 1 <= len(told) <= took / 0.25
    assert {total for _, total in told} == {len(LARGE)}
    assert sorted(told) == told


async def test_room_is_asked_for_before_the_first_byte(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    url = source.ranged("/a", LARGE, 'ETag: "a"', cuts=(HALF,))
    asked: list[int] = []
    order = Order(url, tmp_path / "p", 2**30, reserve=asked.append)
    with pytest.raises(FetchUnavailable):
        await fetcher.download(order)
    await fetcher.download(order)
    assert asked == [0, len(LARGE), 0, len(LARGE) - HALF]

    def full(size: int) -> None:
        if size >= least:
            raise DiskTrouble("no room")

    url = source.ranged("/b", LARGE)
    order = Order(url, tmp_path / "q", 2**30, reserve=full)
    least = 1
    for _ in range(2):
        with pytest.raises(DiskTrouble):
            await fetcher.download(order)
        assert (tmp_path / "q").stat().st_size == 0
        assert len(source.requests) == 3
        least = 0


async def test_what_the_check_refuses_is_neither_kept_nor_gone_on_with(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    seen: list[tuple[bytes, int, bytes]] = []

    def check(head: bytes, size: int, read: Callable[[int, int], bytes]) -> None:
        seen.append((head, size, read(size - 5, 9)))
        raise OutputDamaged("no picture")

    url = source.ranged("/a", LARGE, 'ETag: "a"')
    part = tmp_path / "p"
    with pytest.raises(OutputDamaged, match="no picture"):
        await fetcher.download(Order(url, part, 2**30, check=check))
    assert seen == [(LARGE[: 64 * 1024], len(LARGE), LARGE[-5:])]
    assert part.stat().st_size == 0
    (tmp_path / "there").write_bytes(LARGE)
    order = Order(url, part, 2**30, check=check, present=lambda: tmp_path / "there")
    with pytest.raises(OutputDamaged, match="no picture"):
        await fetcher.download(order)
    assert len(seen) == 3


async def test_a_source_that_only_drips_is_given_up(
    fetcher: Fetcher, source: Origin, tmp_path: Path
) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)

    with pytest.raises(FetchUnavailable, match="less than 1 KiB a second"):
        await fetch(fetcher, source.respond("/a", drip), tmp_path)


async def test_a_name_that_moves_into_this_network_after_it_was_judged_is_not_followed(
    fetcher: Fetcher, source: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []
    connected: list[str] = []

    def look_up(
        host: str | bytes, port: int, *_: object, **__: object
    ) -> list[tuple[object, ...]]:
        name = host.decode() if isinstance(host, bytes) else host
        looked_up.append(name)
        # Public when it is judged, and this computer ever after; an address stays.
        if name == "rebinds.test":
            name = "127.0.0.1" if looked_up.count(name) > 1 else "1.1.1.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (name, port))]

    def connect(_: socket.socket, address: tuple[str, int]) -> None:
        connected.append(address[0])
        raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody is there")

    monkeypatch.setattr("materializer.fetch.guard._REMEMBERED_FOR", 0.0)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(
        socket, "socket", type("S", (socket.socket,), {"connect": connect})
    )
    url = f"http://rebinds.test:{source.port}/a"
    source.serve("/a", b"of this network")
    with pytest.raises(FetchUnavailable, match="no connection"):
        await fetch(fetcher, url, tmp_path)
    assert (looked_up.count("rebinds.test"), connected) == (1, ["1.1.1.1"])
    with pytest.raises(OutputRefused, match="loopback"):
        await fetch(fetcher, url, tmp_path)
    assert (connected, source.requests) == (["1.1.1.1"], [])
