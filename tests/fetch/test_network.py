from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from materializer.errors import FetchUnavailable
from materializer.fetch.cut import Cut
from materializer.fetch.guard import Route
from materializer.fetch.network import Network
from materializer.fetch.proxies import Proxy
from origin import Origin, origin


@pytest.fixture(params=["direct", "plain"])
def network(request: pytest.FixtureRequest) -> Iterator[Network]:
    network = Network(
        user_agent="stella-test", idle_timeout=1, plain=request.param == "plain"
    )
    yield network
    network.close()


async def get(
    network: Network,
    route: Route,
    proxy: Proxy | None = None,
    cut: Cut | None = None,
    **headers: str,
) -> tuple[int, bytes]:
    def work() -> tuple[int, bytes]:
        with network.get(route, proxy, headers, cut or Cut()) as answer:
            view = memoryview(bytearray(9))
            data = b""
            while count := answer.readinto(view):
                data += view[:count]
            return answer.status, data

    return await asyncio.to_thread(work)


def route(port: int, *addresses: str, host: str = "files.test") -> Route:
    return Route("http", host, port, addresses or ("127.0.0.1",), "/a?b=%20")


async def test_a_route_is_followed_to_its_address_under_its_name(
    network: Network, source: Origin
) -> None:
    source.serve("/a?b=%20", b"a body of some length")
    status, body = await get(network, route(source.port), Range="bytes=0-")
    assert (status, body) == (200, b"a body of some length")
    head = source.requests[0].lower()
    assert head.startswith("get /a?b=%20 http/1.1\r\n")
    for line in (
        f"host: files.test:{source.port}",
        "user-agent: stella-test",
        "accept-encoding: identity",
        "range: bytes=0-",
    ):
        assert f"\r\n{line}\r\n" in head
    for name in ("cookie", "authorization", "referer"):
        assert name not in head


async def test_the_next_address_is_tried_when_one_does_not_answer(
    network: Network, source: Origin
) -> None:
    source.serve("/a?b=%20", b"x")
    there = route(source.port, "127.0.0.9", "127.0.0.1")
    assert await get(network, there) == (200, b"x")
    with pytest.raises(FetchUnavailable, match=r"files\.test did not deliver: no conn"):
        await get(network, route(source.port, "127.0.0.9", "127.0.0.8"))


async def test_an_address_in_brackets_is_named_as_one(
    network: Network, source: Origin
) -> None:
    source.serve("/a?b=%20", b"x")
    await get(network, route(source.port, host="2001:db8::1"))
    assert f"host: [2001:db8::1]:{source.port}\r\n" in source.requests[0].lower()


@pytest.mark.parametrize(
    ("status", "body"),
    [("200 OK", b"cut"), ("nonsense", b"")],
)
async def test_what_goes_wrong_is_told_without_the_link(
    network: Network, source: Origin, status: str, body: bytes
) -> None:
    source.raw("/a?b=%20", status, "Content-Length: 99", body=body)
    with pytest.raises(FetchUnavailable, match="did not deliver") as failed:
        await get(network, route(source.port))
    assert "/a" not in str(failed.value)


async def test_a_proxy_is_used_by_ours_whatever_was_chosen(
    network: Network, source: Origin
) -> None:
    async with origin() as refusing:
        way = Proxy("127.0.0.1", refusing.port, tls=False)
        with pytest.raises(FetchUnavailable):
            await get(network, route(source.port), way)
    assert refusing.requests[0].startswith(f"CONNECT 127.0.0.1:{source.port} ")
    assert source.requests == []


async def test_what_was_cut_before_it_began_does_not_begin(source: Origin) -> None:
    network = Network(user_agent="t", idle_timeout=5, plain=False)
    source.serve("/a?b=%20", b"x")
    cut = Cut()
    cut.make()
    with pytest.raises(FetchUnavailable):
        await get(network, route(source.port), None, cut)
    network.close()
