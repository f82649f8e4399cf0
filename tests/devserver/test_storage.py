from __future__ import annotations

import base64
import hashlib

import httpx
import pytest

from materializer.devserver.app import Backend
from materializer.devserver.weather import (
    CLEAR,
    Break,
    Deny,
    StorageTrouble,
    Swap,
    Weather,
)

DATA = bytes(range(256)) * 10


def link(backend: Backend, lifetime: float = 60) -> str:
    return backend.storage.link(backend.storage.keep(DATA, "image/png"), lifetime)


async def test_an_object_comes_whole_with_its_length_type_and_digest(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    answer = await client.get(link(backend))
    assert answer.status_code == 200
    assert answer.content == DATA
    digest = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    assert answer.headers["digest"] == f"sha-256={digest}"
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    ("wanted", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=2500-", 2500, 2560),
        ("bytes=2500-9999", 2500, 2560),
        ("bytes=-60", 2500, 2560),
        ("bytes=-9999", 0, 2560),
    ],
)
async def test_a_range_comes_alone_and_without_the_digest_of_the_whole(
    backend: Backend, client: httpx.AsyncClient, wanted: str, first: int, end: int
) -> None:
    answer = await client.get(link(backend), headers={"Range": wanted})
    assert answer.status_code == 206
    assert answer.content == DATA[first:end]
    assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/2560"
    assert "digest" not in answer.headers


@pytest.mark.parametrize("wanted", ["bytes=2560-", "bytes=9999-10000", "bytes=-0"])
async def test_a_range_beyond_the_end_is_refused(
    backend: Backend, client: httpx.AsyncClient, wanted: str
) -> None:
    answer = await client.get(link(backend), headers={"Range": wanted})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */2560"


@pytest.mark.parametrize(
    "wanted", ["bytes=5-2", "bytes=-", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1"]
)
async def test_a_range_that_makes_no_sense_is_ignored(
    backend: Backend, client: httpx.AsyncClient, wanted: str
) -> None:
    answer = await client.get(link(backend), headers={"Range": wanted})
    assert answer.status_code == 200
    assert answer.content == DATA


async def test_an_expired_link_is_refused(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    answer = await client.get(link(backend, lifetime=-1))
    assert answer.status_code == 403
    assert answer.json()["code"] == "LinkExpired"


@pytest.mark.parametrize(
    "query", ["", "?expires=9999999999&sig=00", "?expires=x&sig=é"]
)
async def test_a_link_that_was_not_signed_here_is_refused(
    backend: Backend, client: httpx.AsyncClient, query: str
) -> None:
    path = link(backend).partition("?")[0]
    answer = await client.get(path + query)
    assert answer.status_code == 403
    assert answer.json()["code"] == "InvalidSignature"


async def test_the_end_of_a_link_cannot_be_moved(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    path, _, query = link(backend, lifetime=-1).partition("?")
    signature = query.partition("&")[2]
    answer = await client.get(f"{path}?expires=9999999999&{signature}")
    assert answer.status_code == 403


async def test_an_object_that_is_not_kept_is_missing(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    answer = await client.get(backend.storage.link("00000000.png"))
    assert answer.status_code == 404


def test_names_carry_an_extension_only_where_one_is_given(backend: Backend) -> None:
    assert backend.storage.keep(b"", "image/png", "png").endswith(".png")
    assert "." not in backend.storage.keep(b"", "audio/mpeg")


REST = {"Range": "bytes=1000-"}


def make(backend: Backend, *troubles: StorageTrouble) -> None:
    backend.weather = Weather(storage=troubles)


async def test_a_file_that_has_changed_stays_so(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    make(backend, Swap(does="changed", request=2))
    path = link(backend)
    before, after, later = [await client.get(path) for _ in range(3)]
    assert before.content == DATA
    assert len(after.content) == len(DATA)
    assert after.content != DATA
    digest = base64.b64encode(hashlib.sha256(after.content).digest()).decode()
    assert after.headers["digest"] == f"sha-256={digest}"
    assert later.content == after.content


async def test_a_part_of_a_file_that_has_changed_does_not_tell_it(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    make(backend, Swap(does="changed"))
    path = link(backend)
    rest = await client.get(path, headers={"Range": "bytes=2000-"})
    assert rest.status_code == 206
    assert rest.headers["content-range"] == "bytes 2000-2559/2560"
    assert rest.content == DATA[2000:]
    assert (await client.get(path)).content != DATA


async def test_an_empty_file_can_hardly_change(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    make(backend, Swap(does="changed"))
    path = backend.storage.link(backend.storage.keep(b"", "image/png"))
    assert (await client.get(path)).content == b""


async def test_a_server_without_ranges_sends_the_whole_for_a_part(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    make(backend, Swap(does="no_ranges"))
    path = link(backend)
    whole, part = [await client.get(path, headers=REST) for _ in range(2)]
    assert (whole.status_code, whole.content) == (200, DATA)
    assert "content-range" not in whole.headers
    assert (part.status_code, part.content) == (206, DATA[1000:])


async def test_a_bad_range_is_another_one_than_was_asked_for(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    make(backend, Swap(does="bad_range"))
    path = link(backend)
    bad, good = [await client.get(path, headers=REST) for _ in range(2)]
    assert (bad.status_code, bad.content) == (206, DATA)
    assert bad.headers["content-range"] == "bytes 0-2559/2560"
    assert good.headers["content-range"] == "bytes 1000-2559/2560"


async def test_only_good_requests_for_a_file_meet_the_weather(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    make(backend, Deny(status=418, request=1))
    expired, missing = link(backend, lifetime=-1), backend.storage.link("none")
    assert (await client.get(expired)).status_code == 403
    assert (await client.get(missing)).status_code == 404
    head = await client.head(link(backend))
    assert head.headers["content-length"] == str(len(DATA))
    assert (await client.get(link(backend))).status_code == 418


async def test_the_weather_over_the_storage_can_change(
    backend: Backend, client: httpx.AsyncClient
) -> None:
    path = link(backend)
    make(backend, Deny(always=True))
    assert [(await client.get(path)).status_code for _ in range(2)] == [503, 503]
    make(backend, Break(does="cut"))
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(path)
    make(backend, Deny(always=True))
    backend.weather = CLEAR
    assert (await client.get(path)).content == DATA
