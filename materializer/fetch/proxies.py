"""The proxy that the person or the system set, as the environment tells it.

A proxy does not weaken the guard: it is asked to CONNECT to an address that was vetted
here, for http and https alike, never to look a name up itself. Its own address is not
judged, since the person chose it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit
from urllib.request import getproxies, proxy_bypass

from materializer.address import is_loopback
from materializer.errors import FetchUnavailable

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a CONNECT request is to be sent.

    Attributes:
        host: a name or an address, IPv6 without brackets.
        tls: whether the connection to the proxy itself is encrypted.
        authorization: the value of the Proxy-Authorization header, where the proxy's
            URL carries a user name.
    """

    host: str
    port: int
    tls: bool
    authorization: str | None = field(default=None, repr=False)


def proxy_for(scheme: str, host: str, port: int) -> Proxy | None:
    """Return the proxy for a request to `host`, or None for a direct connection.

    Read at each call: HTTP_PROXY or HTTPS_PROXY, then ALL_PROXY, unless NO_PROXY names
    the host; where no such variable is set, the settings of macOS or Windows. Lower
    case goes before upper case. This machine itself is never asked through a proxy,
    which would take it for its own.

    Args:
        scheme: of the request, `http` or `https`.
        host: as in a `Route`.
        port: of the request.

    Raises:
        FetchUnavailable: the proxy that is set cannot be used.
    """
    proxies = getproxies()
    url = proxies.get(scheme) or proxies.get("all")
    if not url or is_loopback(host) or _is_bypassed(host, port):
        return None
    return _proxy(url, f"the proxy that is set for {scheme}")


def _is_bypassed(host: str, port: int) -> bool:
    with_port = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return bool(proxy_bypass(with_port) or proxy_bypass(host))


def _proxy(url: str, what: str) -> Proxy:
    parts = _split(url if "://" in url else f"http://{url}")
    if parts is None:
        raise FetchUnavailable(
            f"{what} cannot be read; write it like http://host:port, signs in its"
            " password percent-encoded"
        )
    if parts.scheme not in _PORTS:
        raise FetchUnavailable(
            f"{what} is a {parts.scheme}: one; set one with http:// or https://, or"
            " name the host in NO_PROXY"
        )
    return Proxy(
        parts.hostname or "",
        parts.port or _PORTS[parts.scheme],
        parts.scheme == "https",
        _authorization(parts),
    )


def _split(url: str) -> SplitResult | None:
    # What follows the host is the end of a password that holds a slash; the host would
    # be another piece of it, and end in an error's text.
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")  # what no resolver takes, raises
        usable = host and parts.port != 0 and not any(parts[3:])
    except ValueError:  # its text may quote the password
        return None
    return parts if usable and parts.path in ("", "/") else None


def _authorization(parts: SplitResult) -> str | None:
    if parts.username is None:
        return None
    user = unquote_to_bytes(parts.username)
    secret = unquote_to_bytes(parts.password or "")
    return f"Basic {base64.b64encode(user + b':' + secret).decode('ascii')}"
