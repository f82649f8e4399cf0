"""HTTP/1.1 for downloads, as a transport of httpx: the room of h11.

h11 reads the heads. Bodies do not pass through it, nor through an event loop: a worker
thread copies them from the connection into its own buffer. For a 2 GiB body over TLS
that takes a tenth of the time of httpx' own transport read by asyncio, which runs TLS
in Python code, hands out 64 KiB slices and copies each three times.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import h11
import httpx

from materializer.fetch.proxies import Proxy
from materializer.fetch.streams import Stream, TcpStream, TlsStream

_HEAD = 64 * 1024
_READ = 8 * 1024  # so that of a body little comes with the head, and is copied
_SLICE = 256 * 1024
_FRESH_SECONDS = 1.0
_IDLE_SECONDS = 30.0
_IDLE_MOST = 16
_FAILURES = (OSError, h11.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a connection leads: to an address, as a name, by way of a proxy."""

    scheme: str
    address: str
    port: int
    name: str
    proxy: Proxy | None


class DirectTransport(httpx.BaseTransport):
    """Connects to the address in the URL; looks up nothing and follows nothing.

    Of a request's extensions it takes those of httpx' own transport, `timeout`,
    `target` and `sni_hostname`, the name that a server must prove; and `proxy`, and
    `watch`, which is handed each connection that is used, so that somebody else can
    abort it.

    Args:
        trust: gives what is trusted in TLS.
    """

    def __init__(self, trust: Callable[[], ssl.SSLContext]) -> None:
        self._trust = trust
        self._idle: defaultdict[_Place, list[tuple[float, Stream]]] = defaultdict(list)
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request without a body; return once the head of the answer is there.

        Raises:
            httpx.TransportError: there is no such answer.
        """
        place, timeout = _place(request), request.extensions["timeout"]
        while True:
            stream = self._take(place)
            fresh = stream is None
            if stream is None:
                try:
                    stream = self._connect(place, timeout["connect"])
                except _FAILURES as error:
                    raise _failure(error, connecting=True) from error
            request.extensions.get("watch", _nobody)(stream)
            try:
                return self._ask(stream, place, request, timeout["read"])
            except _FAILURES as error:
                stream.close()
                if fresh:  # another may have been closed while nobody used it
                    raise _failure(error) from error

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._lock:
            for kept in self._idle.values():
                for _, stream in kept:
                    stream.close()
            self._idle.clear()

    def _connect(self, place: _Place, timeout: float) -> Stream:
        proxy = place.proxy
        if proxy is None:
            stream: Stream = TcpStream(place.address, place.port, timeout)
        else:
            stream = TcpStream.to_name(proxy.host, proxy.port, timeout)
        try:
            if proxy is not None:
                if proxy.tls:
                    stream = TlsStream(stream, self._trust(), proxy.host)
                _tunnel(stream, place)
            if place.scheme == "https":
                stream = TlsStream(stream, self._trust(), place.name)
        except BaseException:
            stream.close()
            raise
        return stream

    def _ask(
        self, stream: Stream, place: _Place, request: httpx.Request, timeout: float
    ) -> httpx.Response:
        wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD)
        head = h11.Request(
            method=request.method,
            target=request.extensions.get("target", request.url.raw_path),
            headers=request.headers.raw,
        )
        stream.settimeout(timeout)
        stream.sendall(
            (wire.send(head) or b"") + (wire.send(h11.EndOfMessage()) or b"")
        )
        answer = _head(stream, wire, timeout)
        stream.settimeout(timeout)
        headers = list(answer.headers)
        keep = answer.http_version == b"1.1" and not any(
            name == b"connection" and b"close" in value.lower()
            for name, value in headers
        )

        def release(*, whole: bool) -> None:
            if whole and keep:
                self._keep(place, stream)
            else:
                stream.close()

        body = _body(stream, wire, answer.status_code, dict(headers), release)
        return httpx.Response(answer.status_code, headers=headers, stream=body)

    def _take(self, place: _Place) -> Stream | None:
        now = time.monotonic()
        with self._lock:
            kept = self._idle[place]
            while kept:
                since, stream = kept.pop()
                if now - since < _FRESH_SECONDS:
                    return stream  # if it was closed nevertheless, another one is made
                if now - since < _IDLE_SECONDS and stream.idle():
                    return stream
                stream.close()
        return None

    def _keep(self, place: _Place, stream: Stream) -> None:
        with self._lock:
            kept = self._idle[place]
            if len(kept) < _IDLE_MOST:
                kept.append((time.monotonic(), stream))
                return
        stream.close()


class _Body(httpx.SyncByteStream):
    """A body on its way; `readinto` takes it without a copy in between.

    Args:
        first: what came with the head.
        left: bytes still to come, or None when the end of the connection is the end.
        release: takes the connection back.
    """

    def __init__(
        self,
        stream: Stream,
        first: bytes,
        left: int | None,
        release: Callable[..., None],
    ) -> None:
        self._stream = stream
        self._first = first
        self._left = left
        self._release = release
        self._open = True

    def readinto(self, view: memoryview) -> int:
        """Read at least one byte into `view`; 0 is the end of a whole body.

        Raises:
            httpx.TransportError: it was cut.
        """
        try:
            return self._read(view)
        except _FAILURES as error:
            raise _failure(error) from error

    def __iter__(self) -> Iterator[bytes]:
        view = memoryview(bytearray(_SLICE))
        while count := self.readinto(view):
            yield bytes(view[:count])

    def close(self) -> None:
        """Give the connection back; one that still has bytes to come is closed."""
        if self._open:
            self._open = False
            self._release(whole=self._left == 0 and not self._surplus())

    def _surplus(self) -> bool:
        """Whether more came than belongs to the body."""
        return bool(self._first)

    def _read(self, view: memoryview) -> int:
        if self._left == 0:
            return 0
        if self._left is not None:
            view = view[: self._left]
        count = self._some(view)
        if self._left is not None:
            if count == 0:
                raise ConnectionError("the body was cut")
            self._left -= count
        return count

    def _some(self, view: memoryview) -> int:
        if not self._first:
            return self._stream.recv_into(view)
        count = min(len(view), len(self._first))
        view[:count], self._first = self._first[:count], self._first[count:]
        return count


class _ChunkedBody(_Body):
    """A body in chunks, which h11 takes apart."""

    def __init__(
        self, stream: Stream, wire: h11.Connection, release: Callable[..., None]
    ) -> None:
        super().__init__(stream, b"", None, release)
        self._wire = wire
        self._raw = memoryview(bytearray(_HEAD))

    def _read(self, view: memoryview) -> int:
        while not self._first and self._left != 0:
            event = self._wire.next_event()
            if isinstance(event, h11.Data):
                self._first = bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._left = 0
            else:
                count = self._stream.recv_into(self._raw)
                self._wire.receive_data(bytes(self._raw[:count]))
        return self._some(view) if self._first else 0

    def _surplus(self) -> bool:
        return bool(self._first or self._wire.trailing_data[0])


def _place(request: httpx.Request) -> _Place:
    url, extensions = request.url, request.extensions
    return _Place(
        url.scheme,
        url.host,
        url.port or {"http": 80, "https": 443}[url.scheme],
        extensions.get("sni_hostname", url.host),
        extensions.get("proxy"),
    )


def _tunnel(stream: Stream, place: _Place) -> None:
    """Let a proxy connect to the address, which it need not look up."""
    host = f"[{place.address}]" if ":" in place.address else place.address
    target = f"{host}:{place.port}"
    headers = [("Host", target)]
    proxy = place.proxy
    if proxy is not None and proxy.authorization is not None:
        headers.append(("Proxy-Authorization", proxy.authorization))
    wire = h11.Connection(h11.CLIENT)
    request = h11.Request(method="CONNECT", target=target, headers=headers)
    stream.sendall(wire.send(request) or b"")
    answer = _head(stream, wire, None)
    if not 200 <= answer.status_code < 300:
        raise ConnectionError(f"the proxy refused with HTTP {answer.status_code}")


def _head(stream: Stream, wire: h11.Connection, timeout: float | None) -> h11.Response:
    """Read the head of the answer, all of it within `timeout` seconds."""
    view = memoryview(bytearray(_READ))
    due = None if timeout is None else time.monotonic() + timeout
    wire.receive_data(bytes(view[: stream.recv_into(view)]))
    while True:
        event: Any = wire.next_event()
        if isinstance(event, h11.Response):
            return event
        if event is h11.NEED_DATA:
            if due is not None:
                stream.settimeout(max(0.001, due - time.monotonic()))
            wire.receive_data(bytes(view[: stream.recv_into(view)]))
        elif not isinstance(event, h11.InformationalResponse):
            raise ConnectionError("the connection ended before the answer")


def _body(
    stream: Stream,
    wire: h11.Connection,
    status: int,
    headers: Mapping[bytes, bytes],
    release: Callable[..., None],
) -> _Body:
    if status in {204, 304}:
        return _Body(stream, b"", 0, release)
    if b"transfer-encoding" in headers:
        return _ChunkedBody(stream, wire, release)
    length = headers.get(b"content-length")
    first, _ = wire.trailing_data
    left = None if length is None else int(length)
    return _Body(stream, bytes(first), left, release)


def _failure(error: Exception, *, connecting: bool = False) -> httpx.TransportError:
    """Return what httpx calls a failure."""
    say = str(error)
    if isinstance(error, h11.RemoteProtocolError):
        return httpx.RemoteProtocolError(say)
    if isinstance(error, TimeoutError):
        return httpx.ConnectTimeout(say) if connecting else httpx.ReadTimeout(say)
    return httpx.ConnectError(say) if connecting else httpx.ReadError(say)


def _nobody(_: Stream) -> None:
    """Watch nothing."""
