"""What may be asked of the network on behalf of a job, and at which addresses.

A URL is read once, by one strict parser, into a `Route`. The connection is made from
the route alone: to an address that was judged, never to a name that is looked up again.
An address is public when no range below holds it; an IPv4 address that travels inside
an IPv6 one is judged as well.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from time import monotonic
from urllib.parse import quote

from materializer.address import is_loopback
from materializer.errors import FetchUnavailable, OutputRefused

_PORTS = {"http": 80, "https": 443}
_REMEMBERED_FOR = 10.0  # seconds
_REMEMBERED = 256  # hosts

# Where other parsers drop a character or read it as another one.
_DISPUTED = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]| \Z")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,19}")
_REST = re.compile(r"//([^/?#]*)(/[^?#]*)?(\?[^#]*)?(?:#.*)?")
_AUTHORITY = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:]{0,254}))"
    r"(?::(?P<port>[0-9]{0,5}))?"
)
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_AS_IT_IS = "!#$%&'()*+,/:;=?@[]|"

# IANA's registries of special-purpose addresses as of October 2025, wider ranges
# standing for those within them, and multicast. In IPv6 only 2000::/3 is given out.
_RANGES = tuple(
    (ipaddress.ip_network(network), name)
    for network, name in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private use"),
        ("100.64.0.0/10", "shared address space"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private use"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "multicast relays"),
        ("192.88.99.0/24", "6to4 relays"),
        ("192.168.0.0/16", "private use"),
        ("192.175.48.0/24", "AS112"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b:1::/48", "local-use translation"),
        ("100::/64", "discard-only"),
        ("100:0:0:1::/64", "dummy prefix"),
        ("2001::/23", "protocol assignments"),
        ("2001:db8::/32", "documentation"),
        ("2620:4f:8000::/48", "AS112"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        ("::/3", "reserved"),
        ("4000::/2", "reserved"),
        ("8000::/1", "reserved"),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")


@dataclass(frozen=True, slots=True)
class Route:
    """Where one request may go; connect to an address without another look-up.

    Attributes:
        scheme: `http` or `https`.
        host: for the Host header and TLS: an ASCII name in lower case without trailing
            dot, or an address in its canonical form, IPv6 without brackets.
        port: from 1 to 65535.
        addresses: IP literals, vetted, in the resolver's order; at least one.
        target: path and query as they are to be sent: printable ASCII without spaces,
            beginning with `/`, never with a fragment.
    """

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]
    target: str = field(repr=False)


class Guard:
    """The rule for addresses. Any number of threads may ask it.

    The addresses of a host that passed are remembered for 10 seconds, so that many
    files from one host cost one look-up; refusals and failures are not remembered.

    Args:
        allowed: exempt (host, port) pairs, exact names or addresses; a port of None
            means any. A name is not exempt because its address is.
    """

    def __init__(self, allowed: Iterable[tuple[str, int | None]] = ()) -> None:
        self._allowed = frozenset((_canonical(host), port) for host, port in allowed)
        self._known: dict[tuple[str, int], tuple[float, tuple[str, ...]]] = {}
        self._lock = threading.Lock()

    def vet(self, url: str, *, previous: str | None = None) -> Route:
        """Return the route to `url`; `previous` is the URL of the hop that led here.

        Blocks while the system resolves the host's name; an address needs no resolver.

        Raises:
            OutputRefused: it may not be asked, ever.
            FetchUnavailable: its host could not be resolved just now.
        """
        scheme, host, port, target = _split(url)
        if previous is not None and _split(previous)[0] == "https" != scheme:
            raise OutputRefused("its source redirects from https to http")
        return Route(scheme, host, port, self._addresses(host, port), target)

    def _addresses(self, host: str, port: int) -> tuple[str, ...]:
        exempt = not self._allowed.isdisjoint({(host, None), (host, port)})
        if _is_literal(host):
            return (host,) if exempt else _judged(host, (host,))
        if not exempt and is_loopback(host):
            raise _not_public(host, "loopback")
        addresses = self._recall(host, port)
        if addresses is None:
            addresses = _resolve(host, port)
            if not exempt:
                _judged(host, addresses)
            self._remember(host, port, addresses)
        return addresses

    def _recall(self, host: str, port: int) -> tuple[str, ...] | None:
        with self._lock:
            until, addresses = self._known.get((host, port), (0.0, None))
        return addresses if monotonic() < until else None

    def _remember(self, host: str, port: int, addresses: tuple[str, ...]) -> None:
        with self._lock:
            self._known.pop((host, port), None)
            if len(self._known) >= _REMEMBERED:
                self._known.pop(next(iter(self._known)))  # the oldest
            self._known[host, port] = (monotonic() + _REMEMBERED_FOR, addresses)


def special_range(address: str) -> str | None:
    """Return the name of the range that keeps an address from being public, or None.

    Raises:
        ValueError: it is no address.
    """
    ip = ipaddress.ip_address(address)
    judged: list[IPv4Address | IPv6Address] = [ip]
    if isinstance(ip, IPv6Address):
        judged = [*_embedded(ip)]
        # Addresses of these ranges lead to those within and nowhere else.
        if not (ip.ipv4_mapped or ip.teredo or _is_nat64(ip)):
            judged.append(ip)
    ranges = (name for ip in judged for network, name in _RANGES if ip in network)
    return next(ranges, None)


def _embedded(ip: IPv6Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that a packet to `ip` may be handed on to."""
    if ip.ipv4_mapped:
        yield ip.ipv4_mapped
    if ip.sixtofour:
        yield ip.sixtofour
    if ip.teredo:
        yield from ip.teredo
    is_isatap = (int(ip) >> 32) & 0xFDFFFFFF == 0x00005EFE
    if is_isatap or _is_nat64(ip):
        yield IPv4Address(int(ip) & 0xFFFFFFFF)


def _is_nat64(ip: IPv6Address) -> bool:
    # A local prefix may be shorter than 96 bits; then its IPv4 address starts further
    # ahead, and those bits are not zero.
    return ip in _NAT64 or (ip in _LOCAL_NAT64 and (int(ip) >> 32) & 0xFFFFFFFF == 0)


def _split(url: str) -> tuple[str, str, int, str]:
    """Return scheme, host, port and target."""
    if _DISPUTED.search(url):
        raise OutputRefused("its URL holds characters that no URL may hold")
    scheme, _, rest = url.partition(":")
    if not _SCHEME.fullmatch(scheme):
        raise OutputRefused("its URL cannot be read")
    scheme = scheme.lower()
    if scheme not in _PORTS:
        raise OutputRefused(f"its URL is no http(s) address but {scheme}:")
    parts = _REST.fullmatch(rest)
    if parts is None:
        raise OutputRefused("its URL cannot be read")
    authority, path, query = parts.groups(default="")
    host, port = _authority(authority)
    target = quote((path or "/") + query, safe=_AS_IT_IS)
    return scheme, host, _PORTS[scheme] if port is None else port, target


@lru_cache(maxsize=_REMEMBERED)
def _authority(text: str) -> tuple[str, int | None]:
    if "@" in text:
        raise OutputRefused("its URL carries credentials")
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise OutputRefused("its URL cannot be read")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 65536:
        raise OutputRefused("its URL has no usable port")
    return _host(match["six"], match["name"] or ""), port


def _host(six: str | None, name: str) -> str:
    """Return the one spelling of a host; addresses in other spellings are refused."""
    try:
        if six is not None:
            return str(IPv6Address(six))
        host = _bare(name if name.isascii() else _ascii(name))
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            return str(IPv4Address(host))
    except ValueError as error:
        raise OutputRefused("its URL spells its host in an unsafe way") from error
    if not host:
        raise OutputRefused("its URL names no host")
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise OutputRefused("its URL spells its host in an unsafe way")
    return host


def _ascii(name: str) -> str:
    """Return the ASCII form of an international name that stands for nothing else."""
    encoded = name.encode("idna")
    # The encoding also turns signs into digits, dots and letters that they resemble.
    if encoded.decode("idna").lower() != unicodedata.normalize("NFC", name.lower()):
        raise ValueError("not its own name")
    return encoded.decode("ascii")


def _canonical(host: str) -> str:
    return str(ipaddress.ip_address(host)) if _is_literal(host) else _bare(host)


def _bare(name: str) -> str:
    return name.lower().removesuffix(".")


@lru_cache(maxsize=_REMEMBERED)
def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _resolve(host: str, port: int) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise FetchUnavailable(f"the host {host} cannot be found") from error
    if not found:
        raise FetchUnavailable(f"the host {host} has no address")
    return tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def _judged(host: str, addresses: tuple[str, ...]) -> tuple[str, ...]:
    for address in addresses:
        name = special_range(address)
        if name is not None:
            raise _not_public(host, name)
    return addresses


def _not_public(host: str, name: str) -> OutputRefused:
    return OutputRefused(
        f"{host} is not on the public internet ({name}); name it in"
        " STELLA_ALLOW_PRIVATE_HOSTS if that is meant"
    )
