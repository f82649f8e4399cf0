"""What may be asked of the network on behalf of a job.

Only http and https, no credentials in the URL, and every address of the host public,
at each hop. Exempt hosts are named exactly, each optionally with its port.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from materializer.errors import FetchUnavailable, OutputRefused

_PORTS = {"http": 80, "https": 443}


class Guard:
    """The rule for addresses.

    Args:
        allowed: exempt (host, port) pairs, lower case; a port of None means any.
    """

    def __init__(self, allowed: Iterable[tuple[str, int | None]] = ()) -> None:
        self._allowed = frozenset(allowed)

    async def vet(self, url: str, *, previous: str | None = None) -> None:
        """Return when `url` may be asked; `previous` is the hop that led here.

        Raises:
            OutputRefused: it may not, ever.
            FetchUnavailable: its host could not be resolved just now.
        """
        parts = _split(url)
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme not in _PORTS:
            raise OutputRefused(f"its URL is no http(s) address but {parts.scheme}:")
        if not host:
            raise OutputRefused("its URL names no host")
        if parts.username is not None or parts.password is not None:
            raise OutputRefused("its URL carries credentials")
        if previous and urlsplit(previous).scheme == "https" and parts.scheme == "http":
            raise OutputRefused("its source redirects from https to http")
        port = _port(parts)
        if {(host, None), (host, port)} & self._allowed:
            return
        for address in await _addresses(host, port):
            if not is_public(address):
                raise OutputRefused(
                    f"{host} is an address inside this network; name it in"
                    " STELLA_ALLOW_PRIVATE_HOSTS if that is meant"
                )


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, embedded ones included."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour or (ip.teredo and ip.teredo[1])
        if embedded:
            return is_public(str(embedded))
        if ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip in _SITE_LOCAL or ip in _V4_COMPATIBLE:
            return False
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SITE_LOCAL = ipaddress.ip_network("fec0::/10")
_V4_COMPATIBLE = ipaddress.ip_network("::/96")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise OutputRefused("its URL cannot be read") from error


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or _PORTS[parts.scheme]
    except ValueError as error:
        raise OutputRefused("its URL has no usable port") from error


async def _addresses(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchUnavailable(f"the host {host} cannot be found") from error
    return [str(sockaddr[0]) for *_, sockaddr in found]
