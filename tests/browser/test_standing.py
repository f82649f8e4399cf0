"""The page says how things stand, to everyone, in light and dark, however many."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome

from home import IMAGE, at_home
from materializer.config import Paths
from materializer.devserver import media
from materializer.devserver.app import Backend
from materializer.display.app import DisplayPage
from materializer.model import Account
from screen import Screen, data_url
from scripts.browser import crowd
from scripts.browser.chromium import emulate

SHOWN = "document.querySelector('.shown > *')"
CARDS = "document.querySelectorAll('.card')"
DRAWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
BANNER = "document.getElementById('banner')"


async def test_the_page_says_that_the_daemon_is_away_and_catches_up_when_it_is_back(
    browser: Chrome, state: Path, backend: Backend
) -> None:
    async with AsyncExitStack() as first:
        home = await first.enter_async_context(at_home(state, backend.token_file))
        async with DisplayPage(Paths.of(state)) as page:
            screen = Screen(browser, page.url, backend, home)
            await screen.deliver("one", IMAGE, prompt="one")
            await screen.open()
            await screen.until_titles("one")
            await first.aclose()
            await screen.until(f"!{BANNER}.hidden")
            assert (await screen.text("#banner")).startswith(
                "The materializer is not running."
            )
            assert await screen.titles() == ["one"], "what was seen can still be seen"

            screen.succeed("two", IMAGE, prompt="two")
            async with at_home(state, backend.token_file):
                await screen.until_titles("two", "one")
                await screen.until(f"{BANNER}.hidden")


async def test_the_page_says_when_its_own_server_is_gone(
    browser: Chrome, state: Path, backend: Backend
) -> None:
    async with at_home(state, backend.token_file) as home:
        async with DisplayPage(Paths.of(state)) as page:
            screen = Screen(browser, page.url, backend, home)
            await screen.open()
        await screen.until(f"!{BANNER}.hidden")
        assert (await screen.text("#banner")).startswith(
            "This page has lost its server."
        )


async def test_signed_out_what_is_here_is_shown_and_the_page_says_what_is_missing(
    screen: Screen,
) -> None:
    await screen.deliver("one", IMAGE, prompt="one")
    await screen.open()
    screen.backend.token_file.unlink()
    await screen.until(f"!{BANNER}.hidden")
    assert (await screen.text("#banner")).startswith("You are signed out.")
    assert await screen.titles() == ["one"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_keeps_a_person_from_using_the_page(
    screen: Screen, axe: str, scheme: str
) -> None:
    """axe finds no violation, in the grid, the lightbox and the question."""
    emulate(
        screen.browser, prefers_color_scheme=scheme, prefers_reduced_motion="reduce"
    )
    await everything(screen)
    ground = await screen.run("return getComputedStyle(document.body).backgroundColor")
    assert (min(map(int, ground[4:-1].split(","))) < 100) is (scheme == "dark")
    await screen.run(axe)
    assert await violations(screen) == []
    for place in range(6):
        await screen.click(f".card:nth-child({place + 1}) .open")
        await screen.until(f"{SHOWN}?.matches('img, video, audio, :not(:empty)')")
        assert await violations(screen) == []
        await screen.click(".bar [aria-label=Close]")
    await screen.click(".card [aria-label^=Remove]")
    assert await violations(screen) == []


async def violations(screen: Screen) -> list[Any]:
    found: list[Any] = await screen.run(
        "return (await axe.run()).violations.map(it =>"
        " [it.id, it.nodes.map(node => node.html + node.failureSummary)])"
    )
    return found


async def everything(screen: Screen) -> None:
    """One output of every kind, and a job that failed."""
    glb = {"url": data_url(media.sculpture("p")), "file_name": "p.glb"}
    jobs: dict[str, object] = {
        "image": IMAGE,
        "video": {"video": {"url": data_url(media.film("a fox", (64, 64)))}},
        "audio": {"audio": {"url": data_url(media.music("a fox", 1))}},
        "model": {"model_mesh": glb},
        "text": {"text": "All is well."},
    }
    for job_id, output in jobs.items():
        await screen.deliver(job_id, output, prompt=f"the {job_id}")
    screen.succeed("odd", {"strange": True})
    now = screen.submit("lost")
    screen.backend.deployment.fail(now, "lost", "No foxes today.")
    await screen.open()
    await screen.until("document.querySelectorAll('.card').length === 6")
    await screen.until("document.querySelectorAll('.job').length === 2")


async def test_things_appear_without_moving_where_that_is_asked_for(
    screen: Screen,
) -> None:
    await screen.open()
    for motion, animation in (("no-preference", "arrive"), ("reduce", "none")):
        emulate(screen.browser, prefers_reduced_motion=motion)
        screen.succeed(motion, IMAGE, prompt=motion)
        await screen.until("document.querySelector('.card .new')")
        name = "getComputedStyle(document.querySelector('.card')).animationName"
        assert await screen.run(f"return {name}") == animation


async def test_of_5000_outputs_only_what_is_near_is_in_the_page(
    browser: Chrome, state: Path, backend: Backend
) -> None:
    account = Account(backend.convex_url, backend.owner())
    await crowd.fill(Paths.of(state), account, 5000, time.time_ns() // 1_000_000)
    async with (
        at_home(state, backend.token_file) as home,
        DisplayPage(Paths.of(state)) as page,
    ):
        await home.event("feed", "live")
        screen = Screen(browser, page.url, backend, home)
        await screen.open()
        assert await screen.text("#count") == "5,000 outputs"
        most = 0
        while True:
            await screen.run("scrollTo(0, document.documentElement.scrollHeight)")
            await screen.run(f"return {DRAWN}")
            most = max(most, await screen.run(f"return {CARDS}.length"))
            if "picture 4999" in await screen.titles():
                break
        assert most < 80
        assert await screen.run("return document.querySelectorAll('*').length") < 2000
        last = "[...document.querySelectorAll('.card')].at(-1)"
        assert await screen.run(f"return {last}.ariaPosInSet") == "5000"

        await screen.run("scrollTo(0, 0)")
        await screen.until(
            "document.querySelector('.card .title').textContent === 'picture 0'"
        )
