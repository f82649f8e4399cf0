from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from far_side import certificate
from materializer.fetch.direct import DirectTransport
from materializer.fetch.proxies import Proxy
from materializer.fetch.streams import Stream

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
BODY = os.urandom(3 * 2**20 + 17)


class Server:
    """Answers each request on a connection with the next of its answers."""

    def __init__(self) -> None:
        self.answers: list[bytes | Callable[[Writer], Awaitable[None]]] = []
        self.heads: list[str] = []
        self.connections = 0
        self.port = 0

    async def handle(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        while not writer.is_closing():
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            answer = self.answers.pop(0)
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                await answer(writer)
            await writer.drain()


@asynccontextmanager
async def serving(
    server: Server | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """Run a server, and end whatever it is still at."""
    server = server or Server()
    busy: set[asyncio.Task[None]] = set()

    async def handle(reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        busy.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, ExceptionGroup):
                await server.handle(reader, writer)
            writer.close()
        finally:
            writer.transport.abort()
            busy.remove(task)

    listening = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in busy:
            task.cancel()
        if busy:
            await asyncio.wait(list(busy))


def whole(body: bytes, *headers: str) -> bytes:
    head = "\r\n".join(("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers))
    return f"{head}\r\n\r\n".encode() + body


def no_trust() -> ssl.SSLContext:
    raise AssertionError("nothing here speaks TLS")


@pytest.fixture
def transport() -> Iterator[DirectTransport]:
    transport = DirectTransport(no_trust)
    yield transport
    transport.close()


def request(port: int, *, scheme: str = "http", **extensions: Any) -> httpx.Request:
    return httpx.Request(
        "GET",
        f"{scheme}://127.0.0.1:{port}/a%20b?c",
        headers={"Host": "files.test"},
        extensions={"timeout": httpx.Timeout(1.0).as_dict()} | extensions,
    )


async def ask(
    transport: DirectTransport, asked: httpx.Request
) -> tuple[httpx.Response, bytes]:
    def work() -> tuple[httpx.Response, bytes]:
        response = transport.handle_request(asked)
        try:
            return response, b"".join(response.stream)  # type: ignore[arg-type]  # sync
        finally:
            response.close()

    return await asyncio.to_thread(work)


async def test_a_request_goes_out_as_it_is_and_the_answer_comes_back(
    transport: DirectTransport,
) -> None:
    async with serving() as server:
        server.answers.append(whole(BODY, "ETag: x"))
        response, body = await ask(transport, request(server.port))
    assert (response.status_code, response.headers["etag"]) == (200, "x")
    assert body == BODY
    assert server.heads[0].startswith("GET /a%20b?c HTTP/1.1\r\n")
    assert "host: files.test" in server.heads[0].lower()


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n10;x=y\r\n0123456789abcdef\r\n0\r\nTrailer: t\r\n\r\n"
)


@pytest.mark.parametrize(
    ("answer", "body", "kept"),
    [
        (whole(b"abc"), b"abc", True),
        (whole(b""), b"", True),
        (CHUNKED, b"abc0123456789abcdef", True),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + whole(b"abc"), b"abc", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (whole(b"abc", "Connection: close"), b"abc", False),
        (whole(b"abc") + b"surplus", b"abc", False),
        (CHUNKED + b"surplus", b"abc0123456789abcdef", False),
        (whole(b"abc").replace(b"1.1", b"1.0"), b"abc", False),
    ],
    ids=[
        "length",
        "nothing",
        "chunks",
        "early",
        "none",
        "close",
        "more",
        "chunks+",
        "1.0",
    ],
)
async def test_a_connection_is_kept_when_the_body_has_an_end_of_its_own(
    transport: DirectTransport, answer: bytes, body: bytes, *, kept: bool
) -> None:
    async with serving() as server:
        server.answers += [answer, whole(b"second")]
        assert (await ask(transport, request(server.port)))[1] == body
        assert (await ask(transport, request(server.port)))[1] == b"second"
        assert server.connections == (1 if kept else 2)


async def test_a_body_without_a_length_ends_with_the_connection(
    transport: DirectTransport,
) -> None:
    async def until_the_end(writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
        await writer.drain()
        writer.close()

    async with serving() as server:
        server.answers.append(until_the_end)
        assert (await ask(transport, request(server.port)))[1] == BODY


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (whole(BODY)[:-1], httpx.ReadError),
        (CHUNKED[:-20], httpx.RemoteProtocolError),
        (CHUNKED.replace(b"10;", b"zz;"), httpx.RemoteProtocolError),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\nabc",
            httpx.RemoteProtocolError,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**20, httpx.RemoteProtocolError),
        (b"SSH-2.0-server\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200", httpx.RemoteProtocolError),
        (b"", httpx.RemoteProtocolError),
    ],
    ids=[
        "cut",
        "cut chunks",
        "bad chunk",
        "lengths",
        "-1",
        "endless",
        "ssh",
        "head",
        "-",
    ],
)
async def test_what_is_no_whole_answer_is_an_error(
    transport: DirectTransport, answer: bytes, error: type[Exception]
) -> None:
    async def send(writer: Writer) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with serving() as server:
        server.answers.append(send)
        with pytest.raises(error):
            await ask(transport, request(server.port))


async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced(
    transport: DirectTransport,
) -> None:
    async def and_close(writer: Writer) -> None:
        writer.write(whole(b"first"))
        await writer.drain()
        writer.close()

    async def refuse_to_answer(writer: Writer) -> None:
        writer.close()

    async with serving() as server:
        server.answers += [and_close, whole(b"second"), refuse_to_answer]
        server.answers.append(whole(b"third"))
        for body in (b"first", b"second", b"third"):
            assert (await ask(transport, request(server.port)))[1] == body
        assert server.connections == 3


async def test_silence_is_given_up_even_when_it_drips(
    transport: DirectTransport,
) -> None:
    async def drip(writer: Writer) -> None:
        for _ in range(100):
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.1)

    async with serving() as server:
        server.answers.append(drip)
        with pytest.raises(httpx.ReadTimeout):
            await ask(transport, request(server.port))


async def test_nobody_there_is_an_error_of_connecting(
    transport: DirectTransport,
) -> None:
    async with serving() as server:
        pass
    with pytest.raises(httpx.ConnectError):
        await ask(transport, request(server.port))


async def test_whoever_watches_can_cut_the_connection(
    transport: DirectTransport,
) -> None:
    arrived = asyncio.Event()

    async def stall(writer: Writer) -> None:
        writer.write(whole(BODY)[:1000])
        await writer.drain()
        arrived.set()
        await asyncio.Event().wait()

    watched: list[Stream] = []
    timeout = httpx.Timeout(25.0).as_dict()
    async with serving() as server, asyncio.timeout(5):
        server.answers.append(stall)
        asked = request(server.port, watch=watched.append, timeout=timeout)

        async def cut() -> None:
            await arrived.wait()
            watched[0].abort()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(cut())
            with pytest.raises(httpx.ReadError):
                await ask(transport, asked)


def trusting(file: Path) -> DirectTransport:
    context = ssl.create_default_context(cafile=str(file))
    return DirectTransport(lambda: context)


async def test_tls_carries_the_name_and_wants_it_proved(tmp_path: Path) -> None:
    file, tls = certificate(tmp_path)
    names: list[str | None] = []
    tls.sni_callback = lambda _s, name, _c: names.append(name)
    transport = trusting(file)
    async with serving(tls=tls) as server:
        server.answers += [whole(BODY), whole(b"again")]
        for body in (BODY, b"again"):
            asked = request(server.port, scheme="https", sni_hostname="localhost")
            assert (await ask(transport, asked))[1] == body
        assert (server.connections, names) == (1, ["localhost"])
        transport.close()
        for name in ("another.test", "127.0.0.1"):
            asked = request(server.port, scheme="https", sni_hostname=name)
            with pytest.raises(httpx.ConnectError) as failed:
                await ask(transport, asked)
            assert isinstance(failed.value.__cause__, ssl.SSLCertVerificationError)


async def test_a_tls_connection_that_is_torn_off_is_no_end(tmp_path: Path) -> None:
    file, tls = certificate(tmp_path)

    async def torn(writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + BODY[:1000])
        await writer.drain()
        writer.transport.abort()

    async with serving(tls=tls) as server:
        server.answers.append(torn)
        asked = request(server.port, scheme="https", sni_hostname="localhost")
        with pytest.raises(httpx.ReadError):
            await ask(trusting(file), asked)


class Tunnel(Server):
    """A proxy that connects to wherever it is asked to."""

    async def handle(self, reader: Reader, writer: Writer) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self.answers:
            refusal = self.answers.pop(0)
            assert isinstance(refusal, bytes)
            writer.write(refusal)
            writer.close()
            return
        host, _, port = head.split(" ")[1].rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: Reader, sink: Writer) -> None:
            with suppress(OSError):
                while data := await source.read(2**16):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(pump(reader, far_writer))
                tasks.create_task(pump(far_reader, writer))
        finally:
            far_writer.transport.abort()


@pytest.mark.parametrize("far_tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("near_tls", [False, True], ids=["by http", "by https"])
async def test_a_proxy_is_asked_for_the_address_and_never_for_a_name(
    tmp_path: Path, *, far_tls: bool, near_tls: bool
) -> None:
    file, tls = certificate(tmp_path)
    transport = trusting(file)
    async with (
        serving(tls=tls if far_tls else None) as server,
        serving(Tunnel(), tls if near_tls else None) as proxy,
    ):
        server.answers.append(whole(BODY))
        way = Proxy("localhost", proxy.port, tls=near_tls, authorization="Basic abc")
        scheme = "https" if far_tls else "http"
        asked = request(server.port, scheme=scheme, sni_hostname="localhost", proxy=way)
        assert (await ask(transport, asked))[1] == BODY
        transport.close()
    assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1")
    assert "proxy-authorization: basic abc" in proxy.heads[0].lower()
    assert "proxy-authorization" not in server.heads[0].lower()


async def test_a_proxy_that_refuses_is_an_error(transport: DirectTransport) -> None:
    async with serving(Tunnel()) as proxy:
        proxy.answers.append(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
        asked = request(1, proxy=Proxy("127.0.0.1", proxy.port, tls=False))
        with pytest.raises(httpx.ConnectError, match="HTTP 407"):
            await ask(transport, asked)
