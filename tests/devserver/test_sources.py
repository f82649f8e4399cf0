from __future__ import annotations

from typing import Any

import pytest

from materializer.devserver import sources
from materializer.devserver.sources import Sources, SourceUnusable, named
from origin import Origin

HI = "data:text/plain;base64,aGk="


def at_home(source: Origin) -> Sources:
    return Sources({("127.0.0.1", source.port)})


async def test_every_field_that_names_a_source_is_fetched(source: Origin) -> None:
    a, b = source.serve("/a", b"A"), source.serve("/b", b"B")
    found = await at_home(source).collect(
        {"image_urls": [a, HI], "mask_url": b, "prompt": "x", "duration": 5}
    )
    assert found == {a: b"A", b: b"B", HI: b"hi"}


@pytest.mark.parametrize(
    "field",
    "image_url image_urls video_url video_urls audio_url reference_image_url "
    "reference_video_url mask_image_url mask_url".split(),
)
async def test_a_source_is_known_by_the_name_of_its_field(field: str) -> None:
    assert await Sources(()).collect({field: HI}) == {HI: b"hi"}


async def test_other_urls_are_none_of_our_business(source: Origin) -> None:
    url = source.serve("/hook", b"")
    fields = {"webhook_url": url, "callback_urls": [url], "url": url, "image_url": 7}
    assert await at_home(source).collect(fields) == {}
    assert source.requests == []


async def test_nobody_is_led_to_a_private_address(source: Origin) -> None:
    url = source.serve("/secret", b"secret")
    with pytest.raises(SourceUnusable, match="is not on the public internet"):
        await Sources(()).collect({"image_url": url})
    assert source.requests == []


async def test_not_by_a_redirect_either(source: Origin) -> None:
    away = f"http://127.0.0.2:{source.port}/a"
    url = source.raw("/to", "302 Found", f"Location: {away}", "Content-Length: 0")
    with pytest.raises(SourceUnusable, match=r"127\.0\.0\.2 is not on the public"):
        await at_home(source).collect({"image_url": url})
    assert len(source.requests) == 1


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "no http"),
        ("data:image/png;base64,%%%", "no base64"),
        ("data:image/png;base64,", "empty"),
        ("http://user:word@example.com/", "credentials"),
    ],
)
async def test_what_cannot_be_a_source_is_told(url: str, why: str) -> None:
    with pytest.raises(SourceUnusable, match=why):
        await Sources(()).collect({"video_urls": [url]})


async def test_a_source_that_is_not_there_or_is_too_large_is_told(
    source: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = source.serve("/gone", b"", status="404 Not Found")
    with pytest.raises(SourceUnusable, match="no longer good"):
        await at_home(source).collect({"audio_url": gone})
    monkeypatch.setattr(sources, "LARGEST", 4)
    large = source.serve("/large", b"12345")
    with pytest.raises(SourceUnusable, match="larger"):
        await at_home(source).collect({"audio_url": large})


@pytest.mark.parametrize(
    ("value", "urls"),
    [("a", ["a"]), (["a", 1, "b"], ["a", "b"]), (None, []), ({"url": "a"}, [])],
)
def test_a_field_holds_one_url_or_a_list(value: Any, urls: list[str]) -> None:
    assert named(value) == urls
