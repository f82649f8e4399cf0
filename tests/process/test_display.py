"""`stella-materializer display`, as a process beside a real daemon's."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from process.house import MATERIALIZER, App, House, posix, started, until


async def test_without_a_daemon_it_says_how_to_start_one(house: House) -> None:
    ended = await house.command(*MATERIALIZER, "display", "--no-browser")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == (
        "no daemon runs here: start it with `stella-materializer run`\n"
    )


async def test_without_its_extra_it_says_which_one_to_install(house: House) -> None:
    for library in ("starlette", "uvicorn"):
        blocked = (
            f"import sys; sys.modules[{library!r}] = None;"
            "from materializer.cli import materializer; materializer()"
        )
        ended = await house.command(sys.executable, "-c", blocked, "display")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == (
            "`display` needs the extra `display`:"
            " pip install 'stella-materializer[display]'\n"
        )


async def test_a_wrong_port_is_a_usage_error(house: House) -> None:
    ended = await house.command(*MATERIALIZER, "display", "--port", "65536")
    assert (ended.code, ended.out) == (2, "")


@posix
async def test_it_serves_what_the_daemon_has_until_it_is_interrupted(
    house: House,
) -> None:
    async with house.daemon(), App(house.state) as app:
        await app.feed("live")
        house.finish_picture("a")
        await app.event("gallery", id="a_0")
        command = (*MATERIALIZER, "display", "--no-browser")
        for number in (signal.SIGINT, signal.SIGTERM):
            async with started(house.root, house.environ, *command) as display:
                url = (await display.line()).rstrip("\n")
                async with httpx.AsyncClient(trust_env=False) as browser:
                    entered = await browser.get(url, follow_redirects=True)
                    assert entered.status_code == 200
                    assert "<title>" in entered.text
                    media = await browser.get(f"{url.partition('?')[0]}media/a_0")
                    assert media.content == (house.outputs / "a_0.png").read_bytes()
                    display.send(number)
                    ended = await display.ended(within=5)
                assert (ended.code, ended.out, ended.err) == (0, "", "")


@posix
async def test_it_opens_the_browser_at_the_address_it_prints(
    house: House, tmp_path: Path
) -> None:
    browser, opened, left = (tmp_path / name for name in ("browser", "opened", "left"))
    # One that stays until it is left, as those in a terminal do.
    browser.write_text(
        f'#!/bin/sh\nprintf %s "$1" >"{opened}.new"; mv "{opened}.new" "{opened}"\n'
        f'exec >&-; until [ -e "{left}" ]; do sleep 0.05; done\n'
    )
    browser.chmod(0o700)
    environ = house.environ | {"BROWSER": f"{browser} %s"}
    async with (
        house.daemon(),
        started(house.root, environ, *MATERIALIZER, "display") as display,
    ):
        url = (await display.line()).rstrip("\n")
        await until(opened.exists)
        assert opened.read_text() == url
        display.send(signal.SIGTERM)
        assert (await display.ended(within=5)).code == 0
        left.touch()


async def standing(events: httpx.Response) -> AsyncIterator[bool]:
    """Yield whether there is a daemon, each time that the page is told."""
    state = False
    async for line in events.aiter_lines():
        if state:
            yield json.loads(line.removeprefix("data: "))["connected"]
        state = line == "event: state"


async def test_a_page_outlives_its_daemon(house: House) -> None:
    command = (*MATERIALIZER, "display", "--no-browser")
    async with (
        house.daemon() as daemon,
        started(house.root, house.environ, *command) as display,
        httpx.AsyncClient(trust_env=False) as browser,
    ):
        url = (await display.line()).rstrip("\n")
        await browser.get(url)
        same = {"Sec-Fetch-Site": "same-origin"}
        stream = f"{url.partition('?')[0]}api/events"
        async with browser.stream("GET", stream, headers=same) as events:
            told = standing(events)
            assert await anext(told) is True
            await daemon.killed()
            assert await anext(told) is False
            async with house.daemon():
                assert await anext(told) is True
