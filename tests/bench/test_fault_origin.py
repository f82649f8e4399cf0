"""The origin without a fault behaves, so that what goes wrong is the fault."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from scripts.benchmarks import fault_origin
from scripts.benchmarks.fault_origin import Body, Origin, origin

BODY = Body(bytes(range(256)) * 2**10, '"one"')
NOTHING = fault_origin.whole("404 Not Found", b"")


async def get(source: Origin, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient() as client:
        return await client.get(source.url, headers=sent)


async def test_a_range_is_answered_with_the_rest() -> None:
    async with origin(NOTHING) as source:
        source.answer = source.serve(BODY)
        rest = await get(source, Range="bytes=100000-", If_Range='"one"')

    assert rest.status_code == 206
    assert rest.headers["content-range"] == "bytes 100000-262143/262144"
    assert rest.content == BODY.data[100000:]
    assert source.sent == len(rest.content)


async def test_a_range_of_what_has_changed_is_answered_with_the_whole() -> None:
    async with origin(NOTHING) as source:
        source.answer = source.serve(BODY)
        whole = await get(source, Range="bytes=100000-", If_Range='"two"')

    assert (whole.status_code, whole.content) == (200, BODY.data)


async def test_a_range_behind_the_end_is_refused() -> None:
    async with origin(NOTHING) as source:
        source.answer = source.serve(BODY)
        refused = await get(source, Range="bytes=262144-")

    assert refused.status_code == 416
    assert refused.headers["content-range"] == "bytes */262144"


async def test_an_answer_is_held_back_until_the_client_has_gone() -> None:
    async with origin(NOTHING) as source:
        source.answer = source.serve(BODY, hold=200_000)
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(get(source))
            await source.held.wait()
            ended, _ = await asyncio.wait({asking}, timeout=0.2)
            assert not ended
            asking.cancel()

    assert source.under_way.is_set()
    assert source.sent == 200_000


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_cut_body_breaks_its_framing(framing: str) -> None:
    async with origin(fault_origin.cut(BODY, framing=framing)) as source:
        with pytest.raises(httpx.RemoteProtocolError):
            await get(source)

    assert source.sent == len(BODY.data) // 2


async def test_a_cut_body_without_framing_looks_like_a_whole_one() -> None:
    async with origin(fault_origin.cut(BODY, framing="close")) as source:
        half = await get(source)

    assert half.content == BODY.data[: len(BODY.data) // 2]
