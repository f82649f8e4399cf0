from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from materializer.errors import FetchUnavailable, OutputRefused
from materializer.fetch.guard import Guard, Route, special_range

# IANA's two registries of special-purpose addresses as of 2025-10-09, all entries under
# their names there, and the word that we say for the last address of each.
IANA_IPV4 = (
    ("0.0.0.0/8", "This network", "this network"),
    ("0.0.0.0/32", "This host on this network", "this network"),
    ("10.0.0.0/8", "Private-Use", "private use"),
    ("100.64.0.0/10", "Shared Address Space", "shared address space"),
    ("127.0.0.0/8", "Loopback", "loopback"),
    ("169.254.0.0/16", "Link Local", "link-local"),
    ("172.16.0.0/12", "Private-Use", "private use"),
    ("192.0.0.0/24", "IETF Protocol Assignments", "protocol assignments"),
    ("192.0.0.0/29", "IPv4 Service Continuity Prefix", "protocol assignments"),
    ("192.0.0.8/32", "IPv4 dummy address", "protocol assignments"),
    ("192.0.0.9/32", "Port Control Protocol Anycast", "protocol assignments"),
    ("192.0.0.10/32", "TURN Anycast", "protocol assignments"),
    ("192.0.0.170/32", "NAT64/DNS64 Discovery", "protocol assignments"),
    ("192.0.0.171/32", "NAT64/DNS64 Discovery", "protocol assignments"),
    ("192.0.2.0/24", "Documentation (TEST-NET-1)", "documentation"),
    ("192.31.196.0/24", "AS112-v4", "AS112"),
    ("192.52.193.0/24", "AMT", "multicast relays"),
    ("192.88.99.0/24", "Deprecated (6to4 Relay Anycast)", "6to4 relays"),
    ("192.88.99.2/32", "6a44-relay anycast address", "6to4 relays"),
    ("192.168.0.0/16", "Private-Use", "private use"),
    ("192.175.48.0/24", "Direct Delegation AS112 Service", "AS112"),
    ("198.18.0.0/15", "Benchmarking", "benchmarking"),
    ("198.51.100.0/24", "Documentation (TEST-NET-2)", "documentation"),
    ("203.0.113.0/24", "Documentation (TEST-NET-3)", "documentation"),
    ("240.0.0.0/4", "Reserved", "reserved"),
    ("255.255.255.255/32", "Limited Broadcast", "reserved"),
)
IANA_IPV6 = (
    ("::1/128", "Loopback Address", "loopback"),
    ("::/128", "Unspecified Address", "unspecified"),
    ("::ffff:0:0/96", "IPv4-mapped Address", "reserved"),
    ("64:ff9b::/96", "IPv4-IPv6 Translat.", "reserved"),
    ("64:ff9b:1::/48", "IPv4-IPv6 Translat.", "local-use translation"),
    ("100::/64", "Discard-Only Address Block", "discard-only"),
    ("100:0:0:1::/64", "Dummy IPv6 Prefix", "dummy prefix"),
    ("2001::/23", "IETF Protocol Assignments", "protocol assignments"),
    ("2001::/32", "TEREDO", "reserved"),
    ("2001:1::1/128", "Port Control Protocol Anycast", "protocol assignments"),
    ("2001:1::2/128", "TURN Anycast", "protocol assignments"),
    ("2001:1::3/128", "DNS-SD SRP Anycast", "protocol assignments"),
    ("2001:2::/48", "Benchmarking", "protocol assignments"),
    ("2001:3::/32", "AMT", "protocol assignments"),
    ("2001:4:112::/48", "AS112-v6", "protocol assignments"),
    ("2001:10::/28", "Deprecated (ORCHID)", "protocol assignments"),
    ("2001:20::/28", "ORCHIDv2", "protocol assignments"),
    ("2001:30::/28", "Drone Remote ID Entity Tags", "protocol assignments"),
    ("2001:db8::/32", "Documentation", "documentation"),
    ("2002::/16", "6to4", "reserved"),
    ("2620:4f:8000::/48", "Direct Delegation AS112 Service", "AS112"),
    ("3fff::/20", "Documentation", "documentation"),
    ("5f00::/16", "Segment Routing (SRv6) SIDs", "segment routing"),
    ("fc00::/7", "Unique-Local", "unique local"),
    ("fe80::/10", "Link-Local Unicast", "link-local"),
)
# No entries of these registries, and no place for a file either.
UNLISTED = (
    ("224.0.0.0/4", "Multicast", "multicast"),
    ("ff00::/8", "Multicast", "multicast"),
    ("fec0::/10", "Site-local, deprecated", "site-local"),
    ("::/96", "IPv4-compatible, deprecated", "IPv4-compatible"),
    ("::ffff:0:0:0/96", "IPv4-translated", "reserved"),
    ("::/3", "Not given out", "reserved"),
    ("4000::/2", "Not given out", "reserved"),
    ("8000::/1", "Not given out", "multicast"),
)
SPECIAL_IPV4 = [
    IPv4Network(network)
    for network, _, _ in (*IANA_IPV4, *UNLISTED)
    if ":" not in network
]
# Those whose addresses are judged by the IPv4 address within.
TRANSLATED = [
    IPv6Network(network)
    for network in (
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/32",
        "2002::/16",
    )
]
SPECIAL_IPV6 = [
    IPv6Network(network)
    for network, _, _ in (*IANA_IPV6, *UNLISTED)
    if ":" in network and IPv6Network(network) not in TRANSLATED
]


class Resolver:
    """Answers for the system's resolver; knows who was asked for.

    Attributes:
        answers: by host, the addresses that each next look-up finds; the last stays.
        asked: the hosts, in order.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def getaddrinfo(
        self, host: str, port: int, **asked: socket.SocketKind
    ) -> list[tuple[object, ...]]:
        self.asked.append(host)
        answers = self.answers.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(0, asked["type"], 6, "", (one, port)) for one in addresses]


@contextmanager
def resolving(**answers: list[str]) -> Iterator[Resolver]:
    resolver = Resolver()
    resolver.answers = {host: [found] for host, found in answers.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
        yield resolver


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    with resolving() as resolver:
        yield resolver


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, as its only element."""
    now = [1000.0]
    monkeypatch.setattr("materializer.fetch.guard.monotonic", lambda: now[0])
    return now


REFUSED = (
    # Not http or https.
    ("ftp://1.1.1.1/x", "no http"),
    ("file:///etc/passwd", "but file:"),
    ("file://1.1.1.1/share", "but file:"),
    ("gopher://1.1.1.1/_x", "no http"),
    ("javascript:alert(1)", "no http"),
    ("data:text/plain,x", "no http"),
    ("ws://1.1.1.1/", "no http"),
    ("httpss://1.1.1.1/", "no http"),
    ("view-source:http://1.1.1.1/", "no http"),
    # Not the whole of a URL.
    ("", "cannot be read"),
    ("1.1.1.1/x", "cannot be read"),
    ("//1.1.1.1/x", "cannot be read"),
    ("/x", "cannot be read"),
    ("://1.1.1.1/x", "cannot be read"),
    ("http", "cannot be read"),
    ("https:", "cannot be read"),
    ("https:1.1.1.1/x", "cannot be read"),
    ("https:/1.1.1.1/x", "cannot be read"),
    ("https:///x", "no host"),
    ("https:////1.1.1.1/x", "no host"),
    ("https://", "no host"),
    ("https://?x", "no host"),
    ("https://#x", "no host"),
    ("https://:443/x", "no host"),
    ("https://./x", "no host"),
    # What one parser drops and another keeps.
    (" https://1.1.1.1/x", "cannot be read"),
    ("https://1.1.1.1/x ", "characters"),
    ("https://1.1.1.1/x\n", "characters"),
    ("\thttps://1.1.1.1/x", "characters"),
    ("ht\ntps://1.1.1.1/x", "characters"),
    ("https://1.1.1.1/x\r\nHost: 127.0.0.1", "characters"),
    ("https://1.1.1.1/x\x00.png", "characters"),
    ("https://1.1.1.1\x00.example/", "characters"),
    ("https://1.1.1.1/\x7f", "characters"),
    ("https://1.1.1.1/\x85", "characters"),
    ("https://1.1.1.1/\ud800", "characters"),
    ("https://1.1.1.1\\@127.0.0.1/", "characters"),
    ("https:\\\\127.0.0.1\\x", "characters"),
    ("https://1.1.1.1/\\127.0.0.1", "characters"),
    # Credentials.
    ("https://user:secret@1.1.1.1/x", "credentials"),
    ("https://user@1.1.1.1/x", "credentials"),
    ("https://:secret@1.1.1.1/x", "credentials"),
    ("https://@1.1.1.1/x", "credentials"),
    ("https://1.1.1.1@127.0.0.1/x", "credentials"),
    ("https://1.1.1.1:80@127.0.0.1/x", "credentials"),
    ("https://a@b@1.1.1.1/x", "credentials"),
    # Hosts that are none.
    ("https://../x", "unsafe way"),
    ("https://a..example/x", "unsafe way"),
    ("https://.example/x", "unsafe way"),
    ("https://a.example../x", "unsafe way"),
    ("https://a b.example/x", "unsafe way"),
    ("https://1.1.1.1 /x", "unsafe way"),
    ("https://1.1.1.1%20/x", "unsafe way"),
    ("https://127%2e0.0.1/x", "unsafe way"),
    ("https://%31%32%37.0.0.1/x", "unsafe way"),
    ("https://ex%61mple.example/x", "unsafe way"),
    ("https://a.example%00/x", "unsafe way"),
    ("https://a.example%2f@/x", "credentials"),
    ("https://1.1.1.1;127.0.0.1/x", "unsafe way"),
    ("https://1.1.1.1,127.0.0.1/x", "unsafe way"),
    ("https://1.1.1.1&127.0.0.1/x", "unsafe way"),
    ("https://*.example/x", "unsafe way"),
    ("https://$(id).example/x", "unsafe way"),
    (f"https://{'a' * 64}.example/x", "unsafe way"),
    (f"https://{'a.' * 126}aa/x", "unsafe way"),
    (f"https://{'a.' * 126}aaa./x", "cannot be read"),
    # Addresses in brackets that are none.
    ("https://[::1/x", "cannot be read"),
    ("https://::1]/x", "cannot be read"),
    ("https://::1/x", "cannot be read"),
    ("https://[::1]x/x", "cannot be read"),
    ("https://x[::1]/x", "cannot be read"),
    ("https://[::1]]/x", "cannot be read"),
    ("https://[[::1]]/x", "cannot be read"),
    ("https://[fe80::1%25eth0]/x", "cannot be read"),
    ("https://[fe80::1%eth0]/x", "cannot be read"),
    ("https://[2606:4700::1%25]/x", "cannot be read"),
    ("https://[v1.x]/x", "cannot be read"),
    ("https://[]/x", "cannot be read"),
    ("https://[1.1.1.1]/x", "unsafe way"),
    ("https://[:::1]/x", "unsafe way"),
    ("https://[::ffff:127.1]/x", "unsafe way"),
    ("https://[::ffff:0177.0.0.1]/x", "unsafe way"),
    # Ports.
    ("https://1.1.1.1:0/x", "port"),
    ("https://1.1.1.1:00000/x", "port"),
    ("https://1.1.1.1:65536/x", "port"),
    ("https://1.1.1.1:99999/x", "port"),
    ("https://1.1.1.1:000443/x", "cannot be read"),
    ("https://1.1.1.1:-1/x", "cannot be read"),
    ("https://1.1.1.1:+80/x", "cannot be read"),
    ("https://1.1.1.1:0x50/x", "cannot be read"),
    ("https://1.1.1.1:\uff18\uff10/x", "cannot be read"),
    ("https://1.1.1.1:80:80/x", "cannot be read"),
    ("https://1.1.1.1: 80/x", "cannot be read"),
    # Addresses that only some would read, and not all alike.
    ("http://2130706433/x", "unsafe way"),
    ("http://16843009/x", "unsafe way"),
    ("http://0/x", "unsafe way"),
    ("http://0x7f000001/x", "unsafe way"),
    ("http://0X7F000001/x", "unsafe way"),
    ("http://0x/x", "unsafe way"),
    ("http://017700000001/x", "unsafe way"),
    ("http://0177.0.0.1/x", "unsafe way"),
    ("http://127.0.0.01/x", "unsafe way"),
    ("http://0x7f.1/x", "unsafe way"),
    ("http://0x7f.0x0.0x0.0x1/x", "unsafe way"),
    ("http://127.0.0.0x1/x", "unsafe way"),
    ("http://127.1/x", "unsafe way"),
    ("http://127.0.1/x", "unsafe way"),
    ("http://127.1./x", "unsafe way"),
    ("http://127.0.0.1.1/x", "unsafe way"),
    ("http://127.0.0.256/x", "unsafe way"),
    ("http://127.0.0.4294967297/x", "unsafe way"),
    ("http://a.example.1/x", "unsafe way"),
    # Signs that look like others.
    ("http://\uff11\uff12\uff17.0.0.1/x", "unsafe way"),
    ("http://①②⑦.0.0.1/x", "unsafe way"),
    ("http://127。0。0。1/x", "unsafe way"),
    ("http://ⓛocalhost/x", "unsafe way"),
    ("http://local\u00adhost/x", "unsafe way"),
    ("http://local\u200bhost/x", "unsafe way"),
    ("http://a.example℀127.0.0.1/x", "unsafe way"),
    ("http://a.example\uff0fx", "unsafe way"),
    ("http://a.example\uff1a80/x", "unsafe way"),
    ("http://straße.example/x", "unsafe way"),
    (f"http://{'ü.' * 150}example/x", "cannot be read"),
    # Addresses that are not public.
    ("http://127.0.0.1/x", r"127\.0\.0\.1 is not on the public internet \(loopback\)"),
    ("http://127.0.0.1./x", "loopback"),
    ("http://127.255.255.254:8080/x", "loopback"),
    ("http://0.0.0.0/x", "this network"),
    ("http://10.0.0.1/x", "private use"),
    ("http://172.31.255.255/x", "private use"),
    ("http://192.168.1.1/x", "private use"),
    ("http://169.254.169.254/latest/meta-data/", "link-local"),
    ("http://100.100.100.200/x", "shared address space"),
    ("http://198.19.0.1/x", "benchmarking"),
    ("http://239.255.255.250/x", "multicast"),
    ("http://255.255.255.255/x", "reserved"),
    ("http://localhost/x", "loopback"),
    ("http://LocalHost:80/x", "loopback"),
    ("http://localhost./x", "loopback"),
    ("http://a.localhost/x", "loopback"),
    ("http://[::1]/x", "loopback"),
    ("http://[0:0:0:0:0:0:0:1]/x", "loopback"),
    ("http://[::]/x", "unspecified"),
    ("http://[::127.0.0.1]/x", "IPv4-compatible"),
    ("http://[::8.8.8.8]/x", "IPv4-compatible"),
    ("http://[::ffff:127.0.0.1]/x", "loopback"),
    ("http://[::FFFF:7F00:1]/x", "loopback"),
    ("http://[0:0:0:0:0:ffff:a9fe:a9fe]/x", "link-local"),
    ("http://[::ffff:0:127.0.0.1]/x", "reserved"),
    ("http://[64:ff9b::127.0.0.1]/x", "loopback"),
    ("http://[64:ff9b::a9fe:a9fe]/x", "link-local"),
    ("http://[64:ff9b:1::10.0.0.1]/x", "private use"),
    ("http://[64:ff9b:1:7f00:0:100::]/x", "local-use translation"),
    ("http://[64:ff9b:1:7f00:0:1:808:808]/x", "local-use translation"),
    ("http://[2002:7f00:1::]/x", "loopback"),
    ("http://[2002:a9fe:a9fe::1]/x", "link-local"),
    ("http://[2001:0:7f00:1::f7f7:f7f7]/x", "loopback"),
    ("http://[2001:0:808:808::80ff:fffe]/x", "loopback"),
    ("http://[2606:4700::5efe:127.0.0.1]/x", "loopback"),
    ("http://[2606:4700::200:5efe:10.0.0.1]/x", "private use"),
    ("http://[fe80::5efe:8.8.8.8]/x", "link-local"),
    ("http://[2002:808:808::5efe:10.0.0.1]/x", "private use"),
    ("http://[fe80::1]/x", "link-local"),
    ("http://[fd00:ec2::254]/x", "unique local"),
    ("http://[fec0::1]/x", "site-local"),
    ("http://[ff02::1]/x", "multicast"),
    ("http://[2001:db8::1]/x", "documentation"),
    ("http://[3fff::1]/x", "documentation"),
    ("http://[5f00::1]/x", "segment routing"),
    ("http://[4000::1]/x", "reserved"),
)


@pytest.mark.parametrize(("url", "why"), REFUSED)
def test_what_may_not_be_asked_is_refused_without_a_look_up(
    resolver: Resolver, url: str, why: str
) -> None:
    with pytest.raises(OutputRefused, match=why) as refusal:
        Guard().vet(url)
    assert resolver.asked == []
    assert "secret" not in str(refusal.value)
    assert "/x" not in str(refusal.value)


@pytest.mark.parametrize(
    ("network", "name", "word"), [*IANA_IPV4, *IANA_IPV6, *UNLISTED]
)
def test_no_special_purpose_range_is_public(network: str, name: str, word: str) -> None:
    edges = ipaddress.ip_network(network)

    assert special_range(str(edges[0])) is not None, name
    assert special_range(str(edges[-1])) == word


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "9.255.255.255",
        "172.32.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2400:cb00::1",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
        "64:ff9b:1::101:101",
        "64:ff9b:1:fffe::101:101",
        "2002:808:808::1",
        "2001:0:808:808::f7f7:f7f7",
        "2606:4700::5efe:808:808",
    ],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert special_range(address) is None


def test_an_address_of_one_link_keeps_its_range_with_its_zone() -> None:
    assert special_range("fe80::1%eth0") == "link-local"


FORMS: dict[str, Callable[[int], int]] = {
    "mapped": lambda ip: (0xFFFF << 32) | ip,
    "compatible": lambda ip: ip,
    "translated": lambda ip: (0xFFFF << 48) | ip,
    "NAT64": lambda ip: (0x64FF9B << 96) | ip,
    "local NAT64": lambda ip: (0x64FF9B0001 << 80) | ip,
    "6to4": lambda ip: (0x2002 << 112) | (ip << 80) | 1,
    "Teredo server": lambda ip: (0x20010000 << 96) | (ip << 64) | 0xF7F7F7F7,
    "Teredo client": lambda ip: (
        (0x20010000 << 96) | (0x8080808 << 64) | ip ^ 0xFFFFFFFF
    ),
    "ISATAP": lambda ip: (0x26064700 << 96) | (0x5EFE << 32) | ip,
    "global ISATAP": lambda ip: (0x26064700 << 96) | (0x02005EFE << 32) | ip,
}


@pytest.mark.parametrize("form", FORMS)
@given(st.sampled_from(SPECIAL_IPV4).flatmap(lambda one: st.ip_addresses(network=one)))
def test_no_form_hides_a_special_ipv4_address(form: str, ip: IPv4Address) -> None:
    assert special_range(str(ip)) is not None
    assert special_range(str(IPv6Address(FORMS[form](int(ip))))) is not None


@given(st.sampled_from(SPECIAL_IPV6).flatmap(lambda one: st.ip_addresses(network=one)))
def test_no_address_of_a_special_ipv6_range_is_public(ip: IPv6Address) -> None:
    assume(not any(ip in network for network in TRANSLATED))
    assert special_range(str(ip)) is not None


def beside(networks: list[IPv4Network] | list[IPv6Network]) -> list[int]:
    """Return the last address before and the first after each network."""
    edges = [edge for one in networks for edge in (int(one[0]) - 1, int(one[-1]) + 1)]
    return [edge for edge in edges if 0 <= edge < 1 << networks[0].max_prefixlen]


@given(st.integers(0, (1 << 32) - 1) | st.sampled_from(beside(SPECIAL_IPV4)))
def test_python_agrees_about_ipv4_where_it_is_right(number: int) -> None:
    ip = IPv4Address(number)
    served = ("192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24")
    not_for_files = (*served, "192.175.48.0/24", "224.0.0.0/4")
    ours = any(ip in IPv4Network(network) for network in not_for_files)

    assert (special_range(str(ip)) is None) == (ip.is_global and not ours)


@given(
    st.integers(1 << 125, (1 << 126) - 1) | st.sampled_from(beside(SPECIAL_IPV6)),
)
@example(int(IPv6Address("2001:200::")))
@example(int(IPv6Address("3fff:1000::")))
def test_python_agrees_about_ipv6_where_it_is_right(number: int) -> None:
    ip = IPv6Address(number)
    assume(not any(ip in network for network in TRANSLATED))
    assume((number >> 32) & 0xFDFFFFFF != 0x5EFE)
    served = ("2001::/23", "2620:4f:8000::/48", "3fff::/20")
    ours = any(ip in IPv6Network(network) for network in served)
    given_out = ip in IPv6Network("2000::/3")

    assert (special_range(str(ip)) is None) == (ip.is_global and given_out and not ours)


@pytest.mark.parametrize(
    ("url", "route"),
    [
        ("https://1.1.1.1/x", Route("https", "1.1.1.1", 443, ("1.1.1.1",), "/x")),
        ("http://1.1.1.1", Route("http", "1.1.1.1", 80, ("1.1.1.1",), "/")),
        (
            "HTTPS://1.1.1.1.:8443?q",
            Route("https", *("1.1.1.1", 8443), ("1.1.1.1",), "/?q"),
        ),
        ("http://1.1.1.1:/", Route("http", "1.1.1.1", 80, ("1.1.1.1",), "/")),
        ("http://1.1.1.1:00080/", Route("http", "1.1.1.1", 80, ("1.1.1.1",), "/")),
        ("http://1.1.1.1:1/", Route("http", "1.1.1.1", 1, ("1.1.1.1",), "/")),
        ("http://1.1.1.1:65535/", Route("http", "1.1.1.1", 65535, ("1.1.1.1",), "/")),
        (
            "https://[2606:4700:0::0:01]/x",
            Route("https", "2606:4700::1", 443, ("2606:4700::1",), "/x"),
        ),
    ],
)
def test_an_address_is_its_own_route(
    resolver: Resolver, url: str, route: Route
) -> None:
    assert Guard().vet(url) == route
    assert resolver.asked == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://files.example/x", "files.example"),
        ("https://FILES.Example./x", "files.example"),
        ("https://my_bucket.files.example/x", "my_bucket.files.example"),
        ("https://r3---sn-.files.example/x", "r3---sn-.files.example"),
        ("https://1.files.example/x", "1.files.example"),
        ("https://127.0.0.1.files.example/x", "127.0.0.1.files.example"),
        ("https://0x7f.0x1g/x", "0x7f.0x1g"),
        ("https://xn--bcher-kva.example/x", "xn--bcher-kva.example"),
        ("https://bücher.example/x", "xn--bcher-kva.example"),
        (f"https://{'a.' * 126}a./x", "a." * 126 + "a"),
        ("https://BU\u0308CHER.example./x", "xn--bcher-kva.example"),
    ],
)
def test_a_name_is_looked_up_in_its_one_spelling(
    resolver: Resolver, url: str, host: str
) -> None:
    resolver.answers[host] = [["2606:4700::1", "1.1.1.1", "2606:4700::1"]]

    route = Guard().vet(url)

    assert route == Route("https", host, 443, ("2606:4700::1", "1.1.1.1"), "/x")
    assert resolver.asked == [host]


@pytest.mark.parametrize(
    ("end", "target"),
    [
        ("", "/"),
        ("/", "/"),
        ("?", "/?"),
        ("#part", "/"),
        ("#@127.0.0.1/", "/"),
        ("?@127.0.0.1/", "/?@127.0.0.1/"),
        ("/a?b#c?d", "/a?b"),
        ("/a b", "/a%20b"),
        ("/a%20b%2Fc%zz", "/a%20b%2Fc%zz"),
        ("/../a//b/./c", "/../a//b/./c"),
        ("/ü?ü=☃", "/%C3%BC?%C3%BC=%E2%98%83"),
        ("/a\u2028b", "/a%E2%80%A8b"),
        ('/<"`^{}>', "/%3C%22%60%5E%7B%7D%3E"),
        ("/!$&'()*+,;=:@~|[]-._", "/!$&'()*+,;=:@~|[]-._"),
        ("?X-Sig=a+b%2B/=&&x=;", "/?X-Sig=a+b%2B/=&&x=;"),
    ],
)
def test_the_target_is_sent_as_it_came_but_for_what_cannot_be_sent(
    end: str, target: str
) -> None:
    assert Guard().vet(f"https://1.1.1.1{end}").target == target


def test_a_route_that_is_printed_keeps_the_secret_in_its_target() -> None:
    assert "sig" not in repr(Guard().vet("https://1.1.1.1/x?sig=1"))


ODD = (
    "".join(map(chr, range(0x21))) + "\\@:[]/?#%.&;\x7f\x85\u2028\u3002\uff0f①ü☃ß\ud800"
)
HOSTS = st.sampled_from(
    [
        "files.example",
        "1.1.1.1",
        "[2606:4700::1]",
        "bücher.example",
        "user@",
        "a.",
        ":80",
    ]
)
URLS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["https://", "http://", "HTTP://", "https:", ""]),
        HOSTS | st.text(max_size=4),
        st.text(st.sampled_from(ODD) | st.characters(), max_size=3),
        st.sampled_from(["", ":443", "/", "?"]),
        st.text(st.sampled_from(ODD) | st.characters(), max_size=12),
    ),
)


@given(URLS)
def test_whatever_passes_holds_only_what_is_safe_to_send(url: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", 0))]
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
        try:
            route = Guard().vet(url)
        except OutputRefused:
            return
        bracketed = f"[{route.host}]" if ":" in route.host else route.host
        again = f"{route.scheme}://{bracketed}:{route.port}{route.target}"
        assert Guard().vet(again) == route

    assert set(route.host) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.:")
    assert route.target.startswith("/")
    assert all("!" <= sign <= "~" and sign not in '#\\"<>' for sign in route.target)
    assert all(special_range(address) is None for address in route.addresses)
    other = urlsplit(again)
    assert (other.hostname, other.port) == (route.host, route.port)


@pytest.mark.parametrize(
    ("url", "previous"),
    [
        ("http://1.1.1.1/x", "https://1.1.1.1/"),
        ("HTTP://1.1.1.1/x", "HTTPS://1.1.1.1/"),
        ("http://1.1.1.1:443/x", "https://1.1.1.1/"),
    ],
)
def test_a_redirect_does_not_leave_https(url: str, previous: str) -> None:
    with pytest.raises(OutputRefused, match="from https to http"):
        Guard().vet(url, previous=previous)


def test_a_redirect_does_not_leave_https_for_an_exempt_host_either() -> None:
    with pytest.raises(OutputRefused, match="from https to http"):
        Guard([("127.0.0.1", None)]).vet(
            "http://127.0.0.1/", previous="https://1.1.1.1/"
        )


@pytest.mark.parametrize("url", ["file:///etc/passwd", "data:,x", "ftp://1.1.1.1/x"])
def test_a_redirect_does_not_leave_http(url: str) -> None:
    with pytest.raises(OutputRefused, match="no http"):
        Guard().vet(url, previous="http://1.1.1.1/")


def test_a_redirect_into_this_network_is_refused() -> None:
    with pytest.raises(OutputRefused, match="link-local"):
        Guard().vet("http://169.254.169.254/", previous="http://1.1.1.1/")


@pytest.mark.parametrize("previous", ["http://1.1.1.1/", "https://1.1.1.1/"])
def test_a_redirect_may_lead_to_https(previous: str) -> None:
    assert Guard().vet("https://8.8.8.8/x", previous=previous).host == "8.8.8.8"


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        (("127.0.0.1", None), "http://127.0.0.1:1/x"),
        (("127.0.0.1", 81), "http://127.0.0.1:81/x"),
        (("127.0.0.1", 80), "http://127.0.0.1/x"),
        (("::1", None), "http://[::1]/x"),
        (("::1", None), "http://[0:0::0:1]/x"),
        (("0:0::0:1", None), "http://[::1]/x"),
        (("localhost", None), "http://localhost:81/x"),
        (("localhost", None), "http://LOCALHOST./x"),
        (("nas.lan.", 81), "http://nas.lan:81/x"),
    ],
)
def test_a_host_is_exempt_in_each_spelling_of_its_own(
    resolver: Resolver, allowed: tuple[str, int | None], url: str
) -> None:
    resolver.answers = {"localhost": [["127.0.0.1"]], "nas.lan": [["192.168.0.2"]]}
    assert Guard([allowed]).vet(url).addresses


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        (("127.0.0.1", 81), "http://127.0.0.1:82/x"),
        (("127.0.0.1", 81), "http://127.0.0.1/x"),
        (("127.0.0.1", None), "http://127.0.0.2/x"),
        (("127.0.0.1", None), "http://127.1/x"),
        (("127.0.0.1", None), "http://2130706433/x"),
        (("127.1", None), "http://127.1/x"),
        (("127.0.0.1", None), "http://[::ffff:127.0.0.1]/x"),
        (("127.0.0.1", None), "http://localhost/x"),
        (("127.0.0.1", None), "http://other.lan/x"),
        (("nas.lan", 81), "http://nas.lan:82/x"),
        (("nas.lan", None), "http://a.nas.lan/x"),
        (("nas.lan", None), "http://192.168.0.2/x"),
    ],
)
def test_no_other_host_is_exempt_with_it(
    resolver: Resolver, allowed: tuple[str, int | None], url: str
) -> None:
    resolver.answers = {
        "nas.lan": [["192.168.0.2"]],
        "a.nas.lan": [["192.168.0.2"]],
        "other.lan": [["127.0.0.1"]],
    }
    with pytest.raises(OutputRefused):
        Guard([allowed]).vet(url)


@pytest.mark.parametrize(
    "found",
    [
        ["10.0.0.1"],
        ["1.1.1.1", "10.0.0.1"],
        ["10.0.0.1", "1.1.1.1"],
        ["1.1.1.1", "2606:4700::1", "::1"],
        ["1.1.1.1", "::ffff:10.0.0.1"],
        ["2606:4700::1", "fe80::1%eth0"],
    ],
)
def test_a_name_with_any_address_that_is_not_public_is_refused(
    resolver: Resolver, found: list[str]
) -> None:
    resolver.answers["inside.example"] = [found]
    with pytest.raises(OutputRefused, match=r"inside\.example is not on the public"):
        Guard().vet("https://inside.example/x")


def test_the_addresses_of_a_route_are_those_that_were_judged(
    resolver: Resolver, clock: list[float]
) -> None:
    resolver.answers["rebinds.example"] = [["1.1.1.1"], ["127.0.0.1"]]
    guard = Guard()

    assert guard.vet("http://rebinds.example/x").addresses == ("1.1.1.1",)
    assert resolver.asked == ["rebinds.example"]

    clock[0] += 10
    with pytest.raises(OutputRefused, match="loopback"):
        guard.vet("http://rebinds.example/x")
    assert resolver.asked == ["rebinds.example"] * 2


def test_a_host_that_passed_is_remembered_for_ten_seconds(
    resolver: Resolver, clock: list[float]
) -> None:
    resolver.answers["files.example"] = [["1.1.1.1"], ["8.8.8.8"]]
    guard = Guard()

    first = guard.vet("https://files.example/1")
    clock[0] += 9.9
    second = guard.vet("https://files.example/2")
    clock[0] += 0.1
    third = guard.vet("https://files.example/3")

    assert (first.addresses, first.target) == (("1.1.1.1",), "/1")
    assert (second.addresses, second.target) == (("1.1.1.1",), "/2")
    assert (third.addresses, third.target) == (("8.8.8.8",), "/3")


def test_a_port_that_is_exempt_opens_no_other_port_by_memory(
    resolver: Resolver,
) -> None:
    resolver.answers["nas.lan"] = [["192.168.0.2"]]
    guard = Guard([("nas.lan", 81)])

    assert guard.vet("http://nas.lan:81/x").addresses == ("192.168.0.2",)
    with pytest.raises(OutputRefused, match="private use"):
        guard.vet("http://nas.lan/x")


def test_a_refusal_is_not_remembered(resolver: Resolver) -> None:
    resolver.answers["moves.example"] = [["10.0.0.1"], ["1.1.1.1"]]
    guard = Guard()

    with pytest.raises(OutputRefused):
        guard.vet("https://moves.example/x")
    assert guard.vet("https://moves.example/x").addresses == ("1.1.1.1",)


def test_a_host_that_is_not_found_may_be_found_later(resolver: Resolver) -> None:
    guard = Guard()
    with pytest.raises(FetchUnavailable, match=r"nowhere\.example cannot be found"):
        guard.vet("https://nowhere.example/x?sig=1")

    resolver.answers["nowhere.example"] = [["1.1.1.1"]]
    assert guard.vet("https://nowhere.example/x").addresses == ("1.1.1.1",)


def test_a_host_without_an_address_may_have_one_later(resolver: Resolver) -> None:
    resolver.answers["empty.example"] = [[]]
    with pytest.raises(FetchUnavailable, match=r"empty\.example has no address"):
        Guard().vet("https://empty.example/x")


def test_the_oldest_hosts_are_forgotten_first(resolver: Resolver) -> None:
    hosts = [f"h{number}.example" for number in range(300)]
    resolver.answers = {host: [["1.1.1.1"]] for host in hosts}
    guard = Guard()
    for host in hosts:
        guard.vet(f"https://{host}/x")
    resolver.asked.clear()

    guard.vet("https://h299.example/x")
    guard.vet("https://h44.example/x")
    assert resolver.asked == []
    guard.vet("https://h43.example/x")
    assert resolver.asked == ["h43.example"]


def test_many_threads_may_ask_at_once(resolver: Resolver) -> None:
    hosts = [f"h{number}.example" for number in range(600)]
    resolver.answers = {host: [["1.1.1.1"]] for host in hosts}
    guard = Guard()

    with ThreadPoolExecutor(16) as pool:
        urls = [f"https://{host}/x" for host in hosts] * 3
        routes = list(pool.map(guard.vet, urls))

    assert [route.host for route in routes] == hosts * 3
    assert {route.addresses for route in routes} == {("1.1.1.1",)}
    assert len(guard._known) <= 256
