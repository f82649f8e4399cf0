"""What the network, the disk, names and people do to a whole daemon: one test a fault.

Each shows that nothing wrong stands under a final name, that the job waits or ends as
it should, that the reason can be read, that other jobs go on, that it goes on by itself
once the trouble ends, and that no link is in the log.

| faults of | here | each rule by itself, in fetch/, place/ and tests/ |
|---|---|---|
| lengths, chunks, digests | WRONG | test_direct, test_download |
| ranges | RANGES | test_headers, test_download, test_partial |
| slowness, resets, silence | SLOW | test_body, test_direct |
| redirects, addresses, rebinding | ELSEWHERE | test_guard, test_download |
| size and compression | HUGE, BOMBS | test_body, test_download |
| content that lies | LIES | test_sniff, test_structure, test_naming |
| 401, 403, 429, 5xx | `test_a_link_...`, `test_a_source_...` | test_retry, test_plan |
| a disk at every call | ERRORS and CALLS | test_places, test_trouble |
| a real disk | `test_a_disk_...`, `test_outputs_...` | test_space, test_files |
| short writes, EINTR | | test_partial, test_streams |
| links | `test_..._a_link_...` | test_directory, test_files |
| names | NAMES | test_naming |
| people | `test_a_file_that_was_deleted_...` | |
"""

from __future__ import annotations

import asyncio
import base64
import errno
import gzip
import itertools
import os
import re
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from email.utils import formatdate
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from need import need, need_root
from origin import Origin, origin
from process import house as houses
from process.house import SOON, App, Held, House, Running, png

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        sys.platform == "win32", reason="Windows has neither the calls nor the mounts"
    ),
]

Writer = asyncio.StreamWriter

SECRET = "s3cret-part-of-every-link"
PICTURE = png("whole")
FILM = bytes(range(251)) * 2**12
OTHER_FILM = FILM[::-1]
HALF = len(FILM) // 2
PATIENCE = 1.0
_NUMBERS = itertools.count()

# A daemon whose calendar is short, and whose disk fails as a link says: its target is
# `<call>:<errno>`, and while there is none the disk is well.
HURRIED = """
import os, sys
from materializer import crew, pause, retry, turns

def let(module, **values):
    for name, value in values.items():
        getattr(module, name)  # or this would change nothing, and nobody would know
        setattr(module, name, value)

let(retry, _CALENDAR=(0.2,) * 99, _DAMAGED_ATTEMPTS=99)
let(pause, DISK_PAUSE=0.2)
let(crew, DISK_PAUSE=0.2)
let(turns, PATIENCE=0.05, GRACE=0.05)
trouble = sys.argv.pop(1)

def failing(name):
    real = getattr(os, name)
    def call(*args, **kwargs):
        try:
            said, number = os.readlink(trouble).split(":")
        except FileNotFoundError:
            said = None
        if said == name and (name != "open" or args[1] & os.O_CREAT):
            raise OSError(int(number), os.strerror(int(number)))
        return real(*args, **kwargs)
    setattr(os, name, call)

for name in ("open", "write", "fsync", "replace"):
    failing(name)

from materializer.cli import materializer
materializer()
"""


@dataclass(frozen=True)
class Room:
    """A hurried daemon, its app, and a source that misbehaves.

    Attributes:
        nobody: a port at which connections are made and never taken.
    """

    house: House
    source: Origin
    nobody: int
    daemon: Running
    app: App

    def job(self) -> tuple[str, str]:
        """Return a fresh job id, and the path of its output at the source."""
        job_id = f"job{next(_NUMBERS)}"
        return job_id, f"/{job_id}?sig={SECRET}"

    def picture(self, job_id: str, url: str) -> None:
        self.house.finish(job_id, {"images": [{"url": url}]})

    def film(self, job_id: str, url: str) -> None:
        self.house.finish(job_id, {"video": {"url": url}}, capability="text_to_video")

    async def told(self, job_id: str, state: str) -> str:
        """Wait until an attempt has ended in a state; return the reason, if any."""
        event = await self.app.event("job", jobId=job_id, state=state)
        return str(event.get("error", ""))

    async def record(self, job_id: str) -> dict[str, Any]:
        record: dict[str, Any] = await self.app.call("job.get", jobId=job_id)
        return record

    async def left(self, job_id: str) -> dict[str, Any]:
        """Return a job's record once nobody is at it: it is told a moment before."""
        async with asyncio.timeout(SOON):
            while True:
                record = await self.record(job_id)
                if record["state"] != "fetching":
                    return record
                await asyncio.sleep(0.01)

    async def waits(self, job_id: str, reason: str) -> None:
        """See a job fail for now: a reason that can be read, no file, and no link."""
        told = await self.told(job_id, "pending")
        record = await self.record(job_id)
        assert reason in told
        assert record["error"] == told
        assert record["state"] in {"pending", "fetching"}
        assert record["files"] == []
        assert SECRET not in told
        assert self.placed(job_id) == []

    async def fails(self, job_id: str, reason: str) -> None:
        """See a job fail for good: told why, never tried again, nothing left over."""
        assert reason in await self.told(job_id, "failed")
        record = await self.left(job_id)
        assert (record["state"], record["nextAttemptAt"]) == ("failed", None)
        assert (record["attempts"], record["files"]) == (1, [])
        assert reason in record["error"]
        assert SECRET not in record["error"]
        assert self.placed(job_id) == []
        assert not [name for name in self.house.files() if f"/{job_id}_" in name]

    async def done(self, job_id: str, body: bytes) -> Path:
        """Wait until a job is done, with this one file."""
        assert await self.told(job_id, "done") == ""
        [file] = (await self.record(job_id))["files"]
        assert Path(file).read_bytes() == body
        return Path(file)

    async def others_go_on(self) -> None:
        job_id, path = self.job()
        self.picture(job_id, self.source.serve(path, PICTURE))
        await self.done(job_id, PICTURE)

    async def shown(self, job_id: str) -> Path:
        """Wait until a job is done; return the file that the gallery shows for it."""
        assert await self.told(job_id, "done") == ""
        items = (await self.app.call("gallery.list", limit=500))["items"]
        [path] = [item["path"] for item in items if item["jobId"] == job_id]
        return Path(path)

    def placed(self, job_id: str) -> list[str]:
        return [
            name for name in self.house.files() if re.match(rf"{job_id}[_.=]", name)
        ]

    def requests(self, path: str) -> list[str]:
        return [head for head in self.source.requests if head.split(" ")[1] == path]

    @contextmanager
    def failing(self, call: str, number: int) -> Iterator[None]:
        """Let a call of the system fail, in the daemon, for the length of a block."""
        trouble = self.house.root / "trouble"
        trouble.symlink_to(f"{call}:{number}")
        try:
            yield
        finally:
            trouble.unlink()

    async def paused(self, reason: str | None) -> None:
        """Wait until the disk is paused for a reason, or no longer."""
        async with asyncio.timeout(SOON):
            while True:
                disk = (await self.app.call("daemon.status"))["disk"]
                if reason is None and not disk["paused"]:
                    return
                if reason is not None and reason in disk.get("error", ""):
                    assert disk["paused"]
                    return
                await asyncio.sleep(0.02)


@asynccontextmanager
async def running(house: House) -> AsyncIterator[Room]:
    """Start a hurried daemon in a house, with a source that it may ask."""
    hurried = (sys.executable, "-c", HURRIED, str(house.root / "trouble"))
    flags = (
        *("--idle-timeout", f"{PATIENCE}s", "--min-free-space", "0"),
        *("--max-bytes", "image=1MiB", "--no-notifications"),
    )
    async with origin() as source:
        silent = socket.create_server(("127.0.0.1", 0))
        nobody = silent.getsockname()[1]
        house.environ["STELLA_ALLOW_PRIVATE_HOSTS"] = (
            f"127.0.0.1:{source.port},127.0.0.1:{nobody}"
        )
        with silent, pytest.MonkeyPatch.context() as patch:
            patch.setattr(houses, "MATERIALIZER", hurried)
            async with house.daemon(*flags) as daemon, App(house.state) as app:
                await app.feed("live")
                yield Room(house, source, nobody, daemon, app)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    async with (
        houses.house(tmp_path_factory.mktemp("faults")) as house,
        running(house) as room,
    ):
        yield room


@pytest_asyncio.fixture(loop_scope="module")
async def room(shared: Room) -> AsyncIterator[Room]:
    """The daemon of all tests, whose log holds no link after any of them."""
    async with App(shared.house.state) as app:
        yield replace(shared, app=app)
    assert SECRET not in shared.house.log()


@pytest_asyncio.fixture(loop_scope="module")
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A house of a test's own."""
    async with houses.house(tmp_path) as built:
        yield built


def raw(*lines: str, body: bytes = b"", status: str = "200 OK") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", *lines, "", "")).encode() + body


def sending(answer: bytes) -> Callable[[Writer], Awaitable[None]]:
    async def respond(writer: Writer) -> None:
        writer.write(answer)

    return respond


# --- lengths, chunks, digests

CHUNK = f"{len(PICTURE):x}\r\n".encode() + PICTURE
DIGEST_OF_NOTHING = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
WRONG: dict[str, tuple[bytes, str]] = {
    "a body shorter than its length": (
        raw(f"Content-Length: {len(PICTURE)}", body=PICTURE[:-9]),
        "the connection was cut",
    ),
    "a body longer than its length": (
        raw(f"Content-Length: {len(PICTURE) - 9}", body=PICTURE),
        "cut short",
    ),
    "two lengths that differ": (
        raw(f"Content-Length: {len(PICTURE)}", "Content-Length: 9", body=PICTURE),
        "does not speak HTTP/1.1 properly",
    ),
    "a negative length": (
        raw("Content-Length: -1", body=PICTURE),
        "does not speak HTTP/1.1 properly",
    ),
    "a length that is no number": (
        raw("Content-Length: 0x10", body=PICTURE),
        "does not speak HTTP/1.1 properly",
    ),
    "a length of nothing": (raw("Content-Length: 0"), "sent nothing"),
    "no length and a cut": (raw(body=PICTURE[:-9]), "cut short"),
    "no length and nothing": (raw(), "sent nothing"),
    "chunks that are cut": (
        raw("Transfer-Encoding: chunked", body=CHUNK[:-9]),
        "does not speak HTTP/1.1 properly",
    ),
    "chunks without their end": (
        raw("Transfer-Encoding: chunked", body=CHUNK + b"\r\n"),
        "does not speak HTTP/1.1 properly",
    ),
    "a chunk of no size": (
        raw("Transfer-Encoding: chunked", body=b"zz\r\n" + PICTURE),
        "does not speak HTTP/1.1 properly",
    ),
    "another digest": (
        raw(
            f"Content-Length: {len(PICTURE)}",
            f"Digest: sha-256={DIGEST_OF_NOTHING}",
            body=PICTURE,
        ),
        "another digest",
    ),
    "a part that nobody asked for": (
        raw(
            f"Content-Length: {len(PICTURE)}",
            f"Content-Range: bytes 0-{len(PICTURE) - 1}/{len(PICTURE)}",
            body=PICTURE,
            status="206 Partial Content",
        ),
        "with a part",
    ),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "does not speak HTTP/1.1 properly"),
    "no answer": (b"", "does not speak HTTP/1.1 properly"),
    "a head without end": (
        raw("X: " + "x" * 2**18),
        "does not speak HTTP/1.1 properly",
    ),
    "a page for a picture": (
        raw("Content-Type: image/png", body=b"<!doctype html><title>Sign in</title>"),
        "a web page instead of the file",
    ),
    "an XML error for a picture": (
        raw(body=b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>'),
        "a web page instead of the file",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
async def test_a_wrong_answer_gets_no_name_and_the_right_one_does(
    room: Room, fault: str
) -> None:
    answer, reason = WRONG[fault]
    job_id, path = room.job()
    room.picture(job_id, room.source.respond(path, sending(answer)))
    await room.waits(job_id, reason)
    await room.others_go_on()
    room.source.serve(path, PICTURE)
    assert (await room.done(job_id, PICTURE)).name == f"{job_id}_0.png"


# --- ranges

LAST = len(FILM) - 1
DIGEST = f"Digest: sha-256={base64.b64encode(sha256(FILM).digest()).decode()}"
ASKED = f"Content-Range: bytes {HALF}-{LAST}/{len(FILM)}"
RANGES: dict[str, tuple[str, ...]] = {
    "another beginning": (f"Content-Range: bytes {HALF + 1}-{LAST}/{len(FILM)}",),
    "one that overlaps": (f"Content-Range: bytes {HALF - 1}-{LAST}/{len(FILM)}",),
    "one that ends early": (f"Content-Range: bytes {HALF}-{LAST - 1}/{len(FILM)}",),
    "another whole": (f"Content-Range: bytes {HALF}-{LAST + 1}/{len(FILM) + 1}",),
    "a whole of unknown length": (f"Content-Range: bytes {HALF}-{LAST}/*",),
    "none at all": ("X-Range: no",),
    "several": ("Content-Type: multipart/byteranges; boundary=x",),
    "another tag": (ASKED, 'ETag: "two"'),
    "another digest": (ASKED, f"Digest: sha-256={DIGEST_OF_NOTHING}"),
}


def halfway(*known: str) -> bytes:
    length = f"Content-Length: {len(FILM)}"
    return raw(length, *(known or ('ETag: "one"',)), body=FILM[:HALF])


@pytest.mark.parametrize("fault", [*RANGES, "200 to a range", "416"])
async def test_what_comes_for_a_range_is_never_mixed_with_something_else(
    room: Room, fault: str
) -> None:
    job_id, path = room.job()
    whole = raw(f"Content-Length: {len(OTHER_FILM)}", body=OTHER_FILM)
    tail = OTHER_FILM[HALF:]
    answers = {
        "200 to a range": whole,
        "416": raw("Content-Length: 0", status="416 Range Not Satisfiable"),
    }
    part = raw(
        *(f"Content-Length: {len(tail)}", *RANGES.get(fault, ())),
        body=tail,
        status="206 Partial Content",
    )
    asked: list[bool] = []

    async def respond(writer: Writer) -> None:
        ranged = "\r\nrange:" in room.source.requests[-1].lower()
        asked.append(ranged)
        if len(asked) == 1:
            writer.write(halfway())
        else:
            writer.write(answers.get(fault, part) if ranged else whole)

    room.film(job_id, room.source.respond(path, respond))
    await room.waits(job_id, "the connection was cut")
    await room.done(job_id, OTHER_FILM)
    assert asked[:2] == [False, True]


# --- slowness, resets, silence


async def drip_head(writer: Writer) -> None:
    while not writer.is_closing():
        writer.write(b"H")
        await writer.drain()
        await asyncio.sleep(0.1)


async def no_head(writer: Writer) -> None:
    await asyncio.sleep(3 * PATIENCE)


async def drip_body(writer: Writer) -> None:
    writer.write(halfway())
    for byte in FILM[HALF:]:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.1)


async def stall(writer: Writer) -> None:
    writer.write(halfway())
    await writer.drain()
    await asyncio.sleep(3 * PATIENCE)


async def reset(writer: Writer) -> None:
    writer.write(halfway())
    await writer.drain()
    await asyncio.sleep(0.2)  # what has not been read is lost with a reset
    at_once = struct.pack("ii", 1, 0)
    own = writer.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    writer.transport.abort()


SLOW: dict[str, tuple[Callable[[Writer], Awaitable[None]], str]] = {
    "a head that drips": (drip_head, "it fell silent"),
    "no head": (no_head, "it fell silent"),
    "a body that drips": (drip_body, "less than 1 KiB a second"),
    "a body that stalls": (stall, "it fell silent"),
    "a reset within the body": (reset, "the connection was cut"),
}


@pytest.mark.parametrize("fault", SLOW)
async def test_a_source_that_does_not_get_on_is_given_up_and_gone_on_with(
    room: Room, fault: str
) -> None:
    respond, reason = SLOW[fault]
    job_id, path = room.job()
    room.film(job_id, room.source.respond(path, respond))
    await room.others_go_on()
    await room.waits(job_id, reason)
    sent = room.source.sent
    room.source.ranged(path, FILM, 'ETag: "one"')
    await room.done(job_id, FILM)
    assert (room.source.sent - sent < len(FILM)) is ("body" in fault)


async def test_a_connection_that_nobody_takes_is_given_up(room: Room) -> None:
    job_id, path = room.job()
    away = f"Location: http://127.0.0.1:{room.nobody}{path}"
    room.picture(job_id, room.source.raw(path, "302 Found", away))
    await room.others_go_on()
    await room.waits(job_id, "it fell silent")
    room.source.serve(path, PICTURE)
    await room.done(job_id, PICTURE)


# --- redirects and addresses

ELSEWHERE: dict[str, tuple[str, str]] = {
    "a file": ("file:///etc/passwd", "file:"),
    "FTP": ("ftp://127.0.0.1/x", "no http"),
    "data": ("data:image/png;base64,AAAA", "no http"),
    "this machine": ("http://127.0.0.1:{inside}/x", "loopback"),
    "this machine by another address": ("http://127.9.9.9:{inside}/x", "loopback"),
    "this machine in IPv6": ("http://[::1]:{inside}/x", "loopback"),
    "this machine by name": ("http://localhost:{inside}/x", "loopback"),
    "a name below it": ("http://a.localhost:{inside}/x", "loopback"),
    "any address": ("http://0.0.0.0:{inside}/x", "this network"),
    "any address in IPv6": ("http://[::]:{inside}/x", "unspecified"),
    "the metadata of a cloud": ("http://169.254.169.254/x", "link-local"),
    "10/8": ("http://10.0.0.1/x", "private use"),
    "172.16/12": ("http://172.16.0.1/x", "private use"),
    "192.168/16": ("http://192.168.0.1/x", "private use"),
    "CGNAT": ("http://100.64.0.1/x", "shared address space"),
    "mapped IPv4": ("http://[::ffff:127.0.0.1]:{inside}/x", "loopback"),
    "NAT64": ("http://[64:ff9b::7f00:1]:{inside}/x", "loopback"),
    "6to4": ("http://[2002:7f00:1::]:{inside}/x", "loopback"),
    "Teredo": ("http://[2001:0:7f00:1::f7f7:f7f7]:{inside}/x", "loopback"),
    "a decimal host": ("http://2130706433:{inside}/x", "unsafe way"),
    "an octal host": ("http://0177.0.0.1:{inside}/x", "unsafe way"),
    "a hexadecimal host": ("http://0x7f000001:{inside}/x", "unsafe way"),
    "a short host": ("http://127.1:{inside}/x", "unsafe way"),
    "a full-width host": (
        "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11:{inside}/x",
        "unsafe way",
    ),
    "credentials": ("http://me:" + SECRET + "@127.0.0.1:{inside}/x", "credentials"),
}


@pytest.mark.parametrize("fault", ELSEWHERE)
async def test_what_leads_elsewhere_is_refused_and_never_asked(
    room: Room, fault: str
) -> None:
    where, reason = ELSEWHERE[fault]
    asked: list[str] = []

    async def inside(_: asyncio.StreamReader, writer: Writer) -> None:
        asked.append(writer.get_extra_info("sockname")[0])
        writer.close()

    async with await asyncio.start_server(inside, "", 0) as server:
        where = where.format(inside=server.sockets[0].getsockname()[1])
        job_id, path = room.job()
        hop = raw(f"Location: {where}", status="302 Found")
        room.picture(job_id, room.source.respond(path, sending(hop)))
        await room.fails(job_id, reason)
        assert len(room.requests(path)) == 1
        if not where.startswith("data:"):  # which may stand in a job, and leads nowhere
            job_id, _ = room.job()
            room.picture(job_id, where)
            await room.fails(job_id, reason)
    assert asked == []


async def test_redirects_in_a_circle_are_followed_five_times(room: Room) -> None:
    job_id, path = room.job()
    hop = raw(f"Location: {path}", status="302 Found")
    room.picture(job_id, room.source.respond(path, sending(hop)))
    await room.fails(job_id, "redirects more than 5 times")
    assert len(room.requests(path)) == 6
    await room.others_go_on()


# --- size and compression

HUGE = {
    "more than is allowed": (f"Content-Length: {2**20 + 1}",),
    "more than any disk has": (f"Content-Length: {2**62}",),
    "no length and no end": (),
    "chunks without end": ("Transfer-Encoding: chunked",),
}


@pytest.mark.parametrize("fault", HUGE)
async def test_a_body_that_is_too_large_is_refused_before_it_fills_the_disk(
    room: Room, fault: str
) -> None:
    job_id, path = room.job()
    sent = 0

    async def endless(writer: Writer) -> None:
        nonlocal sent
        writer.write(raw(*HUGE[fault]))
        chunk = bytes(2**16)
        if "chunks" in fault:
            chunk = b"10000\r\n" + chunk + b"\r\n"
        while not writer.is_closing():
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)

    room.picture(job_id, room.source.respond(path, endless))
    await room.fails(job_id, "max_bytes")
    await room.others_go_on()
    assert sent < 2**25
    assert len(room.requests(path)) == 1


ZEROS = bytes(2**24)
BOMBS = {
    "gzip": (gzip.compress(ZEROS), "Content-Encoding: gzip"),
    "deflate": (zlib.compress(ZEROS, 9), "Content-Encoding: deflate"),
    "br": (b"\x5b\xff\xff\xff\x1f", "Content-Encoding: br"),
    "twice gzip": (gzip.compress(gzip.compress(ZEROS)), "Content-Encoding: gzip, gzip"),
    "in capitals": (gzip.compress(ZEROS), "Content-Encoding: GZIP"),
}


@pytest.mark.parametrize("fault", BOMBS)
async def test_what_is_compressed_is_not_expanded(room: Room, fault: str) -> None:
    body, encoding = BOMBS[fault]
    job_id, path = room.job()
    length = f"Content-Length: {len(body)}"
    answer = sending(raw(length, encoding, body=body))
    room.picture(job_id, room.source.respond(path, answer))
    await room.waits(job_id, "an encoding that was not asked for")
    await room.others_go_on()
    assert "accept-encoding: identity" in room.requests(path)[0].lower()
    room.source.serve(path, PICTURE)
    await room.done(job_id, PICTURE)


# --- content that lies

PROGRAM = b"MZ\x90\0" + bytes(200)
SCRIPT = b"<script>fetch('http://127.0.0.1')</script>"
DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg">' + SCRIPT + b"</svg>"
LIES: dict[str, tuple[str, str, bytes, str]] = {
    "a page behind a picture": ("images", "a.html", PICTURE + SCRIPT, "png"),
    "a script behind a picture": ("images", "a.php", PICTURE + b"<?php x(); ?>", "png"),
    "a picture that is a script": ("images", "a.js", b"GIF89a=1;;;;" + SCRIPT, "gif"),
    "a program for a model": ("model_glb", "a.exe", PROGRAM, "bin"),
    "a program for a picture": ("images", "a.png.com", PROGRAM, "bin"),
    "a shell script": ("images", "a.sh", b"#!/bin/sh\necho x\n", "txt"),
    "a drawing with a script": ("images", "a.png", DRAWING, "svg"),
    "a drawing from another job": ("file", "a.svg", DRAWING, "bin"),
}


@pytest.mark.parametrize("fault", LIES)
async def test_no_content_gets_a_name_by_which_it_would_be_run(
    room: Room, fault: str
) -> None:
    member, name, body, suffix = LIES[fault]
    job_id, _ = room.job()
    path = f"/{job_id}-{SECRET}/{name}"
    link = {"url": room.source.serve(path, body, "Content-Type: text/html")}
    room.house.finish(
        job_id,
        {member: [link] if member == "images" else link},
        capability="text_to_image" if member == "images" else "text_to_3d",
    )
    await room.others_go_on()
    file = await room.done(job_id, body)
    assert file.name == f"{job_id}_0.{suffix}"
    assert file.stat().st_mode & 0o777 == 0o600


# --- what the source says


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404", "410"])
async def test_a_link_that_is_no_longer_good_waits_for_a_newer_one(
    room: Room, status: str
) -> None:
    job_id, path = room.job()
    room.picture(job_id, room.source.raw(path, status))
    await room.waits(job_id, "is no longer good")
    await room.others_go_on()
    renewed = room.source.serve(f"{path}2", PICTURE)
    deployment = room.house.backend.deployment
    deployment.succeed(time.time_ns(), job_id, {"images": [{"url": renewed}]})
    await room.done(job_id, PICTURE)
    asked = len(room.requests(path))
    await room.others_go_on()
    assert len(room.requests(path)) == asked


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Busy"])
async def test_a_source_that_says_when_is_not_asked_before(
    room: Room, status: str, form: str
) -> None:
    job_id, path = room.job()
    asked: list[float] = []

    async def busy(writer: Writer) -> None:
        asked.append(time.time())
        after = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
        first = len(asked) == 1
        ok = raw(f"Content-Length: {len(PICTURE)}", body=PICTURE)
        writer.write(raw(f"Retry-After: {after}", status=status) if first else ok)

    room.picture(job_id, room.source.respond(path, busy))
    await room.waits(job_id, f"(HTTP {status[:3]})")
    await room.others_go_on()
    await room.done(job_id, PICTURE)
    assert len(asked) == 2
    assert asked[1] - asked[0] > 0.95


async def test_a_storm_of_errors_is_waited_out(room: Room) -> None:
    job_id, path = room.job()
    storm = ["500 Oops", "502 Bad Gateway", "503 Busy", "504 Late", "520 What", "500 x"]
    left = [raw(status=status) for status in storm]

    async def respond(writer: Writer) -> None:
        ok = raw(f"Content-Length: {len(PICTURE)}", body=PICTURE)
        writer.write(left.pop(0) if left else ok)

    room.picture(job_id, room.source.respond(path, respond))
    await room.waits(job_id, "cannot serve it now (HTTP 500)")
    await room.others_go_on()
    await room.done(job_id, PICTURE)
    assert len(room.requests(path)) == (await room.record(job_id))["attempts"] == 7


# --- a disk at every call

CALLS = ["open", "write", "fsync", "replace"]
ERRORS = {
    "ENOSPC": "the disk is full",
    "EIO": "the disk fails",
    "EDQUOT": "your quota on the disk is used up",
    "EROFS": "the disk is read-only",
    "EACCES": "the state directory may not be written to",
    "EMFILE": "too many files are open",
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("error", ERRORS)
async def test_a_disk_that_fails_pauses_a_job_and_lets_it_end(
    room: Room, error: str, call: str
) -> None:
    job_id, path = room.job()
    told = f"Saving media is paused: {ERRORS[error]}"
    before = room.house.log().count(told)
    with room.failing(call, getattr(errno, error)):
        room.picture(job_id, room.source.serve(path, PICTURE))
        await room.paused(ERRORS[error])
        await asyncio.sleep(0.3)  # in which it is tried again
        assert room.placed(job_id) == []
        record = await room.record(job_id)
        assert (record["attempts"], record["files"]) == (0, [])
        assert record["state"] in {"pending", "fetching"}
    await room.done(job_id, PICTURE)
    await room.paused(None)
    assert room.house.log().count(told) == before + 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
async def test_a_daemon_without_a_descriptor_left_waits_for_one(room: Room) -> None:
    import resource

    job_id, path = room.job()
    room.picture(job_id, room.source.raw(path, "503 Not yet"))  # all is loaded by now
    await room.waits(job_id, "HTTP 503")
    pid, limit = room.daemon.pid, resource.RLIMIT_NOFILE
    before = resource.prlimit(pid, limit)
    used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 -- no files
    free = set(range(used + 1)) - {
        int(name)
        for name in os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 -- as above
    }
    resource.prlimit(pid, limit, (min(free, default=used + 1), before[1]))
    try:
        await room.paused("too many files are open")
        room.source.serve(path, PICTURE)
        assert room.placed(job_id) == []
    finally:
        resource.prlimit(pid, limit, before)
    await room.done(job_id, PICTURE)
    await room.paused(None)


# --- real disks


@contextmanager
def mounted(*arguments: str | Path) -> Iterator[None]:
    """Mount something for the length of a block; the last argument says where."""
    need_root()
    need("mount", "umount")
    run("mount", *arguments)
    try:
        yield
    finally:
        run("umount", "--lazy", arguments[-1])


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


async def test_a_disk_that_fills_up_pauses_the_job_until_there_is_room(
    house: House,
) -> None:
    house.state.mkdir()
    size = "size=3m"
    body = FILM * 4
    with mounted("-t", "tmpfs", "-o", f"{size},mode=700", "tmpfs", house.state):
        async with running(house) as room:
            job_id, path = room.job()
            room.film(job_id, room.source.raw(path, "200 OK", body=body))
            await room.paused("the disk is full")
            assert room.placed(job_id) == []
            run("mount", "-o", "remount,size=64m", house.state)
            await room.done(job_id, body)
            await room.paused(None)
            await room.others_go_on()


async def test_a_disk_with_too_little_room_is_not_filled(house: House) -> None:
    house.state.mkdir()
    body = FILM * 4
    with mounted("-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", house.state):
        async with running(house) as room:
            job_id, path = room.job()
            room.film(job_id, room.source.serve(path, body))
            await room.paused("does not fit")
            await room.others_go_on()
            assert room.placed(job_id) == []
            run("mount", "-o", "remount,size=64m", house.state)
            await room.done(job_id, body)


async def test_outputs_that_become_read_only_are_waited_for(house: House) -> None:
    house.outputs.mkdir(parents=True)
    with mounted("--bind", house.outputs, house.outputs):
        async with running(house) as room:
            await room.others_go_on()
            run("mount", "-o", "remount,bind,ro", house.outputs)
            job_id, path = room.job()
            room.picture(job_id, room.source.serve(path, PICTURE))
            await room.paused("the disk is read-only")
            assert room.placed(job_id) == []
            run("mount", "-o", "remount,bind,rw", house.outputs)
            await room.done(job_id, PICTURE)


async def test_outputs_whose_disk_is_detached_are_waited_for(house: House) -> None:
    disk = house.root / "disk"
    disk.mkdir()
    house.outputs.mkdir(parents=True)
    async with AsyncExitStack() as stack:
        with mounted("--bind", disk, house.outputs):
            room = await stack.enter_async_context(running(house))
            await room.others_go_on()
        job_id, path = room.job()
        room.picture(job_id, room.source.serve(path, PICTURE))
        await room.paused("attach its disk")
        assert house.files() == []
        with mounted("--bind", disk, house.outputs):
            await room.done(job_id, PICTURE)
            await stack.aclose()


# --- links


async def test_outputs_that_are_swapped_for_a_link_get_nothing(
    room: Room, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / ".partial").mkdir(parents=True)
    outputs, away = room.house.outputs, room.house.outputs.with_name("away")
    job_id, path = room.job()
    outputs.rename(away)
    outputs.symlink_to(elsewhere)
    try:
        room.picture(job_id, room.source.serve(path, PICTURE))
        await room.paused("is a link that leads out of the state directory")
    finally:
        outputs.unlink()
        away.rename(outputs)
    await room.done(job_id, PICTURE)
    assert [path.name for path in elsewhere.rglob("*")] == [".partial"]


async def test_outputs_that_are_swapped_during_a_download_get_nothing(
    room: Room, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / ".partial").mkdir(parents=True)
    outputs, away = room.house.outputs, room.house.outputs.with_name("away")
    job_id, path = room.job()
    held = Held(room.source, path, FILM)
    room.film(job_id, held.url)
    await held.halfway()
    outputs.rename(away)
    outputs.symlink_to(elsewhere)
    try:
        held.let_go()
        await room.paused("is a link that leads out of the state directory")
    finally:
        outputs.unlink()
        away.rename(outputs)
    await room.done(job_id, FILM)
    assert [path.name for path in elsewhere.rglob("*")] == [".partial"]


async def test_outputs_that_are_a_link_from_the_start_get_nothing(house: House) -> None:
    elsewhere = house.root / "elsewhere"
    elsewhere.mkdir()
    house.outputs.parent.mkdir(parents=True)
    house.outputs.symlink_to(elsewhere)
    async with running(house) as room:
        job_id, path = room.job()
        room.picture(job_id, room.source.serve(path, PICTURE))
        await room.paused("is a link that leads out of the state directory")
        assert not [path for path in elsewhere.rglob("*") if path.is_file()]


async def test_a_link_under_a_final_name_is_not_written_through(
    room: Room, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"keep")
    job_id, path = room.job()
    (room.house.outputs / f"{job_id}_0.png").symlink_to(secret)
    room.picture(job_id, room.source.serve(path, PICTURE))
    file = await room.done(job_id, PICTURE)
    assert not file.is_symlink()
    assert secret.read_bytes() == b"keep"


# --- names

NAMES = {
    "a parent": "../../escaped",
    "an absolute path": "/escaped",
    "a Windows path": "C:\\escaped",
    "NUL": "nul\0byte",
    "a line break": "two\nlines",
    "NFC": "caf\u00e9",
    "NFD": "cafe\u0301",
    "right to left": "\u202egnp.exe",
    "ZWJ": "wo\u200dman",
    "an emoji": "\U0001f469\u200d\U0001f680",
    "255 bytes": "x" * 255,
    "255 bytes of Unicode": "\u00e9" * 127,
    "CON": "CON",
    "aux.png": "aux.png",
    "a trailing dot": "dot.",
    "a trailing space": "space ",
    "a leading dash": "-rf",
    "a hidden file": ".partial",
}


@pytest.mark.parametrize("name", NAMES)
async def test_no_job_id_leads_out_of_the_outputs(room: Room, name: str) -> None:
    before = {*room.house.files()}
    body = png(name)
    job_id = NAMES[name]
    room.picture(job_id, room.source.serve(room.job()[1], body))
    file = await room.shown(job_id)
    assert {*room.house.files()} - before == {file.name}
    assert file.parent == room.house.outputs
    assert file.read_bytes() == body
    stem = file.name.removesuffix("_0.png")
    assert re.fullmatch(r"[a-zA-Z0-9_][a-zA-Z0-9_=-]{0,99}", stem)
    assert stem.lower() not in {"con", "aux"}


ALIKE = {
    "case": ["Alike", "alike", "ALIKE", "al\u0131ke", "AL\u0130KE"],
    "composition": ["caf\u00e9", "cafe\u0301", "cafe"],
    "ends": ["end", "end.", "end ", "end..", " end"],
    "invisible signs": ["sign", "si\u200dgn", "si\u200bgn", "\u202esign"],
    "length": ["y" * 100, "y" * 101, "y" * 150, "y" * 151],
}


@pytest.mark.parametrize("what", ALIKE)
async def test_job_ids_that_are_nearly_alike_have_files_of_their_own(
    room: Room, what: str
) -> None:
    path = room.job()[1]
    ids = [f"{what[0]}{other}" for other in ALIKE[what]]
    for n, job_id in enumerate(ids):
        room.picture(job_id, room.source.serve(f"{path}{n}", png(str(n))))
    files = [await room.shown(job_id) for job_id in ids]
    assert [file.read_bytes() for file in files] == [
        png(str(n)) for n in range(len(ids))
    ]
    assert len({file.name.casefold() for file in files}) == len(ids)


async def test_no_file_name_of_an_output_becomes_part_of_ours(room: Room) -> None:
    job_id, path = room.job()
    url = room.source.serve(path, PICTURE)
    images = [{"url": url, "file_name": name} for name in NAMES.values()]
    room.house.finish(job_id, {"images": images})
    assert await room.told(job_id, "done") == ""
    expected = [f"{job_id}_{n}.png" for n in range(len(NAMES))]
    assert sorted(room.placed(job_id)) == sorted(expected)


# --- people


async def test_a_file_that_was_deleted_is_not_fetched_again_unasked(
    house: House,
) -> None:
    async with running(house) as room:
        job_id, path = room.job()
        room.picture(job_id, room.source.serve(path, PICTURE))
        (await room.done(job_id, PICTURE)).unlink()
        await room.others_go_on()
        listed = await room.app.call("gallery.list", jobId=job_id)
        assert [item["missing"] for item in listed["items"]] == [True]
        assert len(room.requests(path)) == 1
    async with running(house) as room:
        await room.others_go_on()
        record = await room.record(job_id)
        assert (record["state"], record["attempts"]) == ("done", 1)
    assert not (house.outputs / f"{job_id}_0.png").exists()
