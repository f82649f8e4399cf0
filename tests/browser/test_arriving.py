"""Outputs appear on the open page by themselves, and each kind is what it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from home import IMAGE
from materializer.devserver import media
from materializer.display.link import Link
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import Request
from screen import Screen, data_url

CARDS = "[...document.querySelectorAll('.card')]"
SVG = "http://www.w3.org/2000/svg"
PICTURES = {
    "images": [
        {"url": data_url(media.picture("a lamp", index, (64, 64), "png"))}
        for index in range(3)
    ]
}


async def test_a_job_appears_on_the_open_page_without_a_reload(screen: Screen) -> None:
    await screen.open()
    assert await screen.text("#empty .large") == "Nothing here yet"
    await screen.run("window.still_the_same = true")

    screen.succeed("j", IMAGE, prompt="a kite")

    await screen.until_titles("a kite")
    assert await screen.run("return window.still_the_same")
    assert await screen.text(".card .new") == "New"
    await screen.until("document.getElementById('heard').textContent")
    heard = await screen.run("return document.getElementById('heard').textContent")
    assert heard == "New image: a kite"
    assert await screen.text("#count") == "1 output"
    assert not await screen.run(
        "return document.getElementById('empty').checkVisibility()"
    )


async def test_what_is_seen_before_it_is_announced_is_marked_as_new_then(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, hand_on = asyncio.Event(), Link._hand_on

    async def late(link: Link, daemon: Client, sent: Request, shown: Any) -> None:
        if sent.method == "display.update":
            await told.wait()
        await hand_on(link, daemon, sent, shown)

    monkeypatch.setattr(Link, "_hand_on", late)
    await screen.open()
    screen.succeed("j", IMAGE, prompt="a kite")
    await screen.until_titles("a kite")
    assert await screen.run("return document.querySelector('.new')") is None
    told.set()
    await screen.until("document.querySelector('.new')")


async def test_the_newest_job_comes_first_and_its_pictures_are_one_group(
    screen: Screen,
) -> None:
    await screen.deliver("one", IMAGE, prompt="a kite")
    await screen.open()
    screen.succeed("two", PICTURES, prompt="a lamp")

    await screen.until_titles("a lamp", "a kite")
    assert await screen.text(".card:first-child .badge") == "3"
    pictures = "[...document.querySelectorAll('.card:first-child img')]"
    await screen.until(f"{pictures}.filter(it => it.naturalWidth).length === 3")
    assert await screen.text("#count") == "4 outputs"


async def test_what_arrives_above_does_not_move_what_the_person_looks_at(
    screen: Screen,
) -> None:
    for number in range(40):
        screen.succeed(f"j{number}", IMAGE, prompt=f"kite {number}")
    for number in range(40):
        await screen.home.event("job", "done", jobId=f"j{number}")
    await screen.open()
    await screen.until("document.documentElement.scrollHeight > 2000")
    await screen.run("scrollTo(0, 1000)")
    seen = await screen.until(
        "document.elementFromPoint(300, 400)?.closest('.card')"
        "?.querySelector('.title').textContent"
    )
    place = (
        f"{CARDS}.find(it => it.querySelector('.title').textContent === '{seen}')"
        ".getBoundingClientRect().top"
    )
    before = await screen.run(f"return {place}")

    for number in range(6):
        screen.succeed(f"late{number}", IMAGE, prompt="late")

    await screen.until("document.getElementById('count').textContent === '46 outputs'")
    assert await screen.until("document.getElementById('to-top').textContent") == (
        "6 new ↑"
    )
    assert abs(await screen.run(f"return {place}") - before) < 2
    await screen.click("#to-top")
    await screen.until("scrollY === 0 && document.getElementById('to-top').hidden")


async def test_a_transcript_can_be_read(screen: Screen) -> None:
    await screen.deliver("t", {"text": "All is well.\nSaid the fox."})
    await screen.open()
    await screen.until(
        "document.querySelector('.excerpt')?.textContent.includes('fox')"
    )
    await screen.click(".card .open")
    await screen.until("document.querySelector('.transcript')?.textContent")
    assert await screen.text(".transcript") == "All is well.\nSaid the fox."


async def test_a_download_is_a_card_with_its_name_size_and_type(screen: Screen) -> None:
    await screen.open()
    screen.succeed("odd", {"strange": True})
    await screen.until_titles("Unrecognised output")
    shown = await screen.text(".card .file")
    assert shown == "odd_0.json\napplication/json · 21 bytes"


async def test_what_svg_or_html_from_outside_wants_to_run_does_not(
    screen: Screen,
) -> None:
    script = "<script>document.documentElement.id = document.title = 'taken'</script>"
    svg = f'<svg xmlns="{SVG}" width="9" height="9">{script}</svg>'
    url = data_url(media.Made(svg.encode(), "image/svg+xml", "svg"))
    await screen.deliver(
        "svg",
        {"images": [{"url": url}]},
        prompt="<img src=x onerror=document.title='taken'>",
    )
    await screen.open()
    await screen.click(".card .open")
    await screen.until("document.querySelector('.shown img')?.naturalWidth === 9")
    assert await screen.run("return document.title") == "Display · Stella"
    assert await screen.run("return document.querySelectorAll('[onerror]').length") == 0

    await screen.do(screen.browser.get, screen.url.partition("?")[0] + "media/svg_0")
    assert await screen.run("return document.documentElement.tagName") == "svg"
    assert await screen.run("return document.documentElement.id") == ""
    assert await screen.run("return origin") == "null"
    [complaint] = screen.complaints()
    assert "script" in complaint
    assert "sandboxed" in complaint
