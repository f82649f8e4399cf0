"""What each trouble of the storage is on the wire."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import time
from email.utils import parsedate_to_datetime

import pytest

from materializer.devserver.app import Backend
from materializer.devserver.spoiled import PAGE
from materializer.devserver.weather import (
    Break,
    Deny,
    Lie,
    Redirect,
    Slow,
    StorageTrouble,
    Swap,
    Weather,
)
from wire import asked, heard

DATA = bytes(range(256)) * 400  # more than a step, less than a socket holds
HALF = DATA[: len(DATA) // 2]
DIGEST = "sha-256=" + base64.b64encode(hashlib.sha256(DATA).digest()).decode()


def troubled(backend: Backend, *troubles: StorageTrouble) -> str:
    """Return the URL of a file over which there is this weather."""
    backend.weather = Weather(storage=troubles)
    name = backend.storage.keep(DATA, "image/png", "png")
    return backend.site_url + backend.storage.link(name)


async def test_without_trouble_an_answer_is_whole(backend: Backend) -> None:
    answer = await heard(troubled(backend))
    assert answer.status == "200 OK"
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["digest"] == DIGEST
    assert (answer.body, answer.end) == (DATA, "fin")


@pytest.mark.parametrize("after", [None, 0, 1000, 10**9])
async def test_a_cut_body_was_announced_whole(
    backend: Backend, after: int | None
) -> None:
    answer = await heard(troubled(backend, Break(does="cut", after_bytes=after)))
    assert answer.status == "200 OK"
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["digest"] == DIGEST
    assert answer.headers["content-type"] == "image/png"
    assert answer.body == (HALF if after is None else DATA[:after])
    assert answer.end == "fin"


async def test_a_body_cut_in_a_chunk_lacks_the_end_of_it(backend: Backend) -> None:
    answer = await heard(troubled(backend, Break(does="cut", framing="chunked")))
    assert answer.headers["transfer-encoding"] == "chunked"
    assert not {"content-length", "digest"} & answer.headers.keys()
    assert answer.body == b"%x\r\n" % len(DATA) + HALF
    assert answer.end == "fin"


async def test_a_body_cut_without_framing_looks_whole(backend: Backend) -> None:
    answer = await heard(troubled(backend, Break(does="cut", framing="close")))
    unannounced = {"content-length", "transfer-encoding", "digest"}
    assert not unannounced & answer.headers.keys()
    assert answer.headers["connection"] == "close"
    assert (answer.body, answer.end) == (HALF, "fin")


async def test_the_part_that_is_asked_for_can_be_cut_too(backend: Backend) -> None:
    url = troubled(backend, Break(does="cut", after_bytes=10))
    answer = await heard(url, "Range: bytes=100-199")
    assert answer.status == "206 Partial Content"
    assert answer.headers["content-length"] == "100"
    assert answer.headers["content-range"] == f"bytes 100-199/{len(DATA)}"
    assert answer.body == DATA[100:110]


async def test_a_reset_ends_it_without_a_fin(backend: Backend) -> None:
    url = troubled(backend, Break(does="reset", after_bytes=1000))
    answer = await heard(url)
    assert answer.end == "reset"
    assert DATA[:1000].startswith(answer.body)


async def test_a_stall_says_nothing_more_and_stays(backend: Backend) -> None:
    url = troubled(backend, Break(does="stall", after_bytes=1000))
    async with asked(url) as answer:
        _, headers = await answer.head()
        assert headers["content-length"] == str(len(DATA))
        assert await answer.reader.readexactly(1000) == DATA[:1000]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer.reader.read(1), 0.3)


async def test_a_slow_body_comes_at_its_rate(backend: Backend) -> None:
    began = time.monotonic()
    answer = await heard(troubled(backend, Slow(rate=4 * len(DATA))))
    assert 0.2 <= time.monotonic() - began < 1
    assert (answer.body, answer.end) == (DATA, "fin")


async def test_a_refusal_has_its_status_and_words(backend: Backend) -> None:
    answer = await heard(troubled(backend, Deny(status=429, body="not now")))
    assert answer.status == "429 Too Many Requests"
    assert answer.body == b"not now"
    assert "retry-after" not in answer.headers


async def test_a_refusal_tells_when_to_come_back(backend: Backend) -> None:
    url = troubled(backend, Deny(retry_after=7), Deny(retry_after=7, as_date=True))
    now = time.time()
    in_seconds, at_a_date = await heard(url), await heard(url)
    assert in_seconds.status == "503 Service Unavailable"
    assert in_seconds.headers["retry-after"] == "7"
    date = parsedate_to_datetime(at_a_date.headers["retry-after"])
    assert now + 7 <= date.timestamp() <= now + 10
    assert at_a_date.headers["retry-after"].endswith(" GMT")


async def test_a_page_comes_as_if_it_were_the_file(backend: Backend) -> None:
    answer = await heard(troubled(backend, Swap(does="page")))
    assert answer.status == "200 OK"
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-length"] == str(len(PAGE))
    assert answer.body == PAGE


async def test_a_redirect_leads_to_where_it_says(backend: Backend) -> None:
    to = "http://elsewhere.example/b?c=%2F"
    answer = await heard(troubled(backend, Redirect(to=to, status=307)))
    assert answer.status == "307 Temporary Redirect"
    assert answer.headers["location"] == to
    assert answer.body == b""


async def test_an_endless_body_goes_on(backend: Backend) -> None:
    async with asked(troubled(backend, Swap(does="endless"))) as answer:
        status, headers = await answer.head()
        assert status == "200 OK"
        assert not {"content-length", "transfer-encoding", "digest"} & headers.keys()
        assert await answer.reader.readexactly(len(DATA)) == DATA
        assert await answer.reader.readexactly(2**22) == bytes(2**22)


@pytest.mark.parametrize("by", [1, -1, 100, -1000])
async def test_a_lie_announces_more_or_less_than_comes(
    backend: Backend, by: int
) -> None:
    answer = await heard(troubled(backend, Lie(by=by)))
    assert answer.headers["content-length"] == str(len(DATA) + by)
    assert (answer.body, answer.end) == (DATA, "fin")


async def test_no_body_is_announced_as_shorter_than_nothing(backend: Backend) -> None:
    answer = await heard(troubled(backend, Lie(by=-(10**9))))
    assert answer.headers["content-length"] == "0"


async def test_an_encoding_comes_that_nobody_asked_for(backend: Backend) -> None:
    url = troubled(backend, Swap(does="encode"))
    answer = await heard(url, "Accept-Encoding: identity")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert "digest" not in answer.headers
    assert answer.headers["content-type"] == "image/png"
    assert gzip.decompress(answer.body) == DATA


async def test_a_wrong_digest_is_a_digest_of_something_else(backend: Backend) -> None:
    answer = await heard(troubled(backend, Swap(does="wrong_digest")))
    name, _, value = answer.headers["digest"].partition("=")
    assert name == "sha-256"
    assert len(base64.b64decode(value, validate=True)) == 32
    assert answer.headers["digest"] != DIGEST
    assert answer.body == DATA
