"""The demo with its page: what arrives is there to look at until it is interrupted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from materializer.gateway import Gateway
from process.house import SOON, Running, environment, posix, started, until

pytestmark = posix

IN_A_HURRY = (
    "from materializer.cli import demo, materializer; demo._PACE = 0.01; materializer()"
)


@asynccontextmanager
async def running(
    root: Path, *flags: str, **variables: str
) -> AsyncIterator[tuple[Running, str]]:
    """Run the demo, for which nobody has to wait; yield it and the page's address."""
    state = str(root / "state")
    command = (sys.executable, "-c", IN_A_HURRY, "demo", "--state-dir", state, *flags)
    async with started(root, environment(root) | variables, *command) as demo:
        told, _, url = (await demo.line()).strip().partition(" ")
        assert told == "page:"
        yield demo, url


async def leaves(demo: Running, root: Path) -> int | None:
    """Interrupt the demo and see that nothing of it stays; return its exit code."""
    endpoint = root / "state/materializer/endpoint.json"
    daemon = json.loads(endpoint.read_text())["pid"]
    os.kill(daemon, 0)
    demo.send(signal.SIGINT)
    end = await demo.ended()
    assert "Traceback" not in end.err
    await until(lambda: is_gone(daemon))
    assert not endpoint.exists()
    return end.code


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def ask(page: httpx.AsyncClient, path: str) -> Any:
    answer = await page.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def order(token_file: Path, prompt: str) -> None:
    told = json.loads(token_file.read_text())
    async with Gateway(told["siteUrl"], told["token"]) as gateway:
        request = {"capability": "text_to_image", "prompt": prompt}
        await gateway.generate(request, idempotency_key="mine")


def kinds(gallery: Mapping[str, Any]) -> list[str]:
    return sorted(item["kind"] for item in gallery["items"])


async def test_the_page_shows_every_kind_and_the_failure_and_stays(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, "--no-browser") as (demo, url):
        site = httpx.URL(url)
        async with httpx.AsyncClient(base_url=site.join("/")) as page:
            entered = await page.get(url, follow_redirects=True)
            assert entered.status_code == 200
            assert "text/html" in entered.headers["content-type"]
            while not (await demo.line()).startswith("files: "):
                pass
            assert kinds(await ask(page, "/api/gallery")) == [
                *["audio"] * 6,
                *["image"] * 6,
                *["model3d", "text"],
                *["video"] * 4,
            ]
            [failed] = (await ask(page, "/api/jobs?state=failed"))["jobs"]
            assert "This one fails on purpose." in failed["error"]
            assert (await ask(page, "/api/state"))["connected"] is True
            await order(tmp_path / "state/dev/token.json", "a red fox")
            async with asyncio.timeout(SOON):  # in which nothing may have ended
                while not (await ask(page, "/api/gallery?search=fox"))["items"]:  # noqa: ASYNC110 -- rings no bell
                    await asyncio.sleep(0.1)
            assert await leaves(demo, tmp_path) == 0
            with pytest.raises(httpx.ConnectError):
                await page.get("/")


async def test_the_page_is_opened_in_the_browser_and_an_early_interrupt_ends_all(
    tmp_path: Path,
) -> None:
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\necho "$1" > {opened}.new\nmv {opened}.new {opened}\n'
    )
    browser.chmod(0o700)
    async with running(tmp_path, BROWSER=f"{browser} %s") as (demo, url):
        await until(opened.exists)
        assert opened.read_text() == f"{url}\n"
        assert await leaves(demo, tmp_path) == 130
