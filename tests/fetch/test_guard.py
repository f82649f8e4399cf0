from __future__ import annotations

import pytest

from materializer.errors import FetchUnavailable, OutputRefused
from materializer.fetch.guard import Guard, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104 -- an address to be refused
        "224.0.0.1",
        "240.0.0.1",
        "198.18.0.1",
        "::",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_addresses_inside_a_network_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101"]
)
def test_addresses_of_the_internet_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://1.1.1.1/x", "ftp"),
        ("file:///etc/passwd", "file"),
        ("https://user:secret@1.1.1.1/x", "credentials"),
        ("https:///x", "no host"),
        ("https://1.1.1.1:99999/x", "port"),
        ("https://[::1/x", "cannot be read"),
        ("http://127.0.0.1/x", "inside this network"),
        ("http://localhost./x", "inside this network"),
        ("http://2130706433/x", "inside this network"),
        ("http://0x7f.1/x", "inside this network"),
        ("http://[::ffff:127.0.0.1]/x", "inside this network"),
    ],
)
async def test_what_may_not_be_asked_is_refused(url: str, why: str) -> None:
    with pytest.raises(OutputRefused, match=why) as refusal:
        await Guard().vet(url)
    assert "secret" not in str(refusal.value)


async def test_a_host_is_exempt_by_name_or_with_its_port_only() -> None:
    anywhere = Guard([("127.0.0.1", None)])
    await anywhere.vet("http://127.0.0.1:1/x")
    one_port = Guard([("127.0.0.1", 81)])
    await one_port.vet("http://127.0.0.1:81/x")
    with pytest.raises(OutputRefused):
        await one_port.vet("http://127.0.0.1:82/x")
    with pytest.raises(OutputRefused):
        await anywhere.vet("http://127.0.0.2/x")


async def test_a_public_address_may_be_asked() -> None:
    await Guard().vet("https://1.1.1.1/x")


async def test_a_redirect_must_not_leave_https() -> None:
    with pytest.raises(OutputRefused, match="from https to http"):
        await Guard().vet("http://1.1.1.1/x", previous="https://1.1.1.1/")


async def test_a_host_that_is_not_found_may_be_found_later() -> None:
    with pytest.raises(FetchUnavailable, match=r"nowhere\.invalid"):
        await Guard().vet("https://nowhere.invalid/x")
