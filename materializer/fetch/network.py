"""Asks a source along a vetted route: the room of httpx in fetching.

Two transports do it. `DirectTransport` is ours; the one of httpx stays for the day on
which ours meets something it does not understand, and is chosen by `transport`.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
import truststore

from materializer.errors import FetchUnavailable
from materializer.fetch.cut import Cut
from materializer.fetch.direct import DirectTransport
from materializer.fetch.guard import Route
from materializer.fetch.proxies import Proxy

_CONNECT_SECONDS = 15.0
_CAUSES: dict[type[httpx.TransportError], str] = {
    httpx.ConnectError: "no connection",
    httpx.ConnectTimeout: "no connection in time",
    httpx.ReadError: "the connection was cut",
    httpx.ReadTimeout: "it fell silent",
    httpx.RemoteProtocolError: "it does not speak HTTP/1.1 properly",
}


class Answer:
    """The head of an answer, and its body as it comes.

    Attributes:
        status: of HTTP.
        headers: by name, in lower case.
    """

    def __init__(self, response: httpx.Response, host: str) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = {
            name.lower().decode("latin-1"): _text(value)
            for name, value in response.headers.raw
        }
        self._host = host
        stream = response.stream
        read = getattr(stream, "readinto", None)
        self._read = read or _Slices(response).readinto

    def readinto(self, view: memoryview) -> int:
        """Read at least one byte of the body into `view`; 0 is its end.

        Raises:
            FetchUnavailable: the body was cut.
        """
        try:
            return int(self._read(view))
        except httpx.TransportError as error:
            raise _unavailable(self._host, error) from error


class Network:
    """Connections to sources, kept for a moment for the next request.

    Args:
        user_agent: how we name ourselves.
        idle_timeout: seconds without a byte after which a source counts as dead.
        plain: whether httpx' own transport does the work, which uses no proxy.
    """

    def __init__(self, *, user_agent: str, idle_timeout: float, plain: bool) -> None:
        self._user_agent = user_agent
        connect = min(idle_timeout, _CONNECT_SECONDS)
        self._timeout = httpx.Timeout(idle_timeout, connect=connect).as_dict()
        self._direct = DirectTransport(_trust)
        self._plain = _plain() if plain else None

    def close(self) -> None:
        """Close all connections that nobody uses."""
        self._direct.close()
        if self._plain is not None:
            self._plain.close()

    @contextmanager
    def get(
        self,
        route: Route,
        proxy: Proxy | None,
        headers: Mapping[str, str],
        cut: Cut,
    ) -> Iterator[Answer]:
        """Ask the first of the route's addresses that can be reached.

        Raises:
            FetchUnavailable: none can, or there is no proper answer.
        """
        try:
            response = self._send(route, proxy, headers, cut)
        except httpx.TransportError as error:
            raise _unavailable(route.host, error) from error
        try:
            yield Answer(response, route.host)
        finally:
            cut.watch(None)  # it may be somebody else's from now on
            response.close()

    def _send(
        self,
        route: Route,
        proxy: Proxy | None,
        headers: Mapping[str, str],
        cut: Cut,
    ) -> httpx.Response:
        transport: httpx.BaseTransport = self._direct
        if self._plain is not None and proxy is None:
            transport = self._plain
        target = route.target.encode("ascii")
        asked = _headers(self._user_agent, _authority(route))
        if headers:
            asked = httpx.Headers({**asked, **headers})
        for address in route.addresses:
            request = httpx.Request(
                "GET",
                _url(route.scheme, address, route.port),
                headers=asked,
                extensions={
                    "timeout": self._timeout,
                    "target": target,
                    "sni_hostname": route.host,
                    "proxy": proxy,
                    "watch": cut.watch,
                },
            )
            try:
                return transport.handle_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if address == route.addresses[-1]:
                    raise
            except (httpx.ReadError, httpx.RemoteProtocolError):
                if transport is self._direct:
                    raise
                # Its connection may have been closed while nobody used it.
                return transport.handle_request(request)
        raise FetchUnavailable(f"the host {route.host} has no address")


class _Slices:
    """The body of a response that only gives slices."""

    def __init__(self, response: httpx.Response) -> None:
        self._slices = response.iter_raw()
        self._rest = b""

    def readinto(self, view: memoryview) -> int:
        data = self._rest or next(self._slices, b"")
        count = min(len(view), len(data))
        view[:count], self._rest = data[:count], data[count:]
        return count


@functools.cache
def _trust() -> ssl.SSLContext:
    """Return the system's trust in certificates, loaded when it is first needed."""
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _plain() -> httpx.HTTPTransport:
    return httpx.HTTPTransport(
        verify=_trust(),
        trust_env=False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
    )


@functools.lru_cache(maxsize=64)
def _url(scheme: str, address: str, port: int) -> httpx.URL:
    """Return the URL of a server; reading it takes longer than a small answer does."""
    return httpx.URL(f"{scheme}://{_host(address)}:{port}/")


@functools.lru_cache(maxsize=64)
def _headers(user_agent: str, authority: str) -> httpx.Headers:
    """Return what every request to a server says, in the form that httpx keeps."""
    return httpx.Headers(
        {
            "Host": authority,
            "User-Agent": user_agent,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
    )


def _authority(route: Route) -> str:
    usual = {"http": 80, "https": 443}[route.scheme]
    host = _host(route.host)
    return host if route.port == usual else f"{host}:{route.port}"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _unavailable(host: str, error: httpx.TransportError) -> FetchUnavailable:
    cause = _CAUSES.get(type(error), type(error).__name__)
    if isinstance(error.__cause__, ssl.SSLError):
        cause = "its certificate cannot be trusted, or TLS failed"
    return FetchUnavailable(f"{host} did not deliver: {cause}")
