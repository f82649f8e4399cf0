"""The Display page in a real browser, beside the daemon that it shows."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from home import Home
from materializer.devserver.app import Backend
from materializer.devserver.media import Made

PATIENCE = 15.0
# The page asks in vain while there is no daemon, and says so in words.
EXPECTED = "Failed to load resource"
TITLES = "[...document.querySelectorAll('.card .title')].map(it => it.textContent)"
R = TypeVar("R")


def data_url(made: Made) -> str:
    return f"data:{made.mime_type};base64,{base64.b64encode(made.data).decode()}"


@dataclass
class Screen:
    """What a person sees and does; the browser is driven in threads."""

    browser: Chrome
    url: str
    backend: Backend
    home: Home

    async def do(self, act: Callable[..., R], *arguments: Any) -> R:
        return await asyncio.to_thread(act, *arguments)

    async def run(self, script: str, *arguments: object) -> Any:
        """Return what a script returns, or what its promise comes to."""
        return await self.do(self.browser.execute_script, script, *arguments)

    def complaints(self) -> list[str]:
        """Return what the browser has complained of since this was last asked."""
        log: list[dict[str, str]] = self.browser.get_log("browser")  # type: ignore[no-untyped-call]
        return [
            line["message"]
            for line in log
            if line["level"] == "SEVERE" and EXPECTED not in line["message"]
        ]

    async def until(self, expression: str, *arguments: object) -> Any:
        """Return what an expression is once it is true."""
        wait = WebDriverWait(self.browser, PATIENCE, poll_frequency=0.05)
        script = f"return {expression}"
        return await self.do(
            wait.until,
            lambda browser: browser.execute_script(script, *arguments),
            f"never true: {expression} {arguments}",
        )

    async def open(self) -> None:
        """Open the page with its one-time key, and wait until it shows the gallery."""
        await self.do(self.browser.get, self.url)
        await self.shown()

    async def shown(self) -> None:
        await self.until("document.getElementById('count').textContent")

    async def find(self, css: str) -> WebElement:
        await self.until("document.querySelector(arguments[0])", css)
        return await self.do(self.browser.find_element, By.CSS_SELECTOR, css)

    async def text(self, css: str) -> str:
        return str(await self.do(lambda it: it.text, await self.find(css)))

    async def click(self, css: str) -> None:
        await self.do((await self.find(css)).click)

    async def press(self, *keys: str) -> None:
        """Press keys one after the other, wherever the focus is."""
        for key in keys:
            await self.do(ActionChains(self.browser).send_keys(key).perform)

    async def focus(self) -> str:
        """Return what has the focus: its name, or else its id."""
        script = "const it = document.activeElement; return it.ariaLabel ?? it.id"
        return str(await self.run(script))

    async def until_focus(self, beginning: str) -> None:
        """Wait until what has the focus is called something that begins so."""
        async with asyncio.timeout(PATIENCE):
            while not (await self.focus()).startswith(beginning):  # noqa: ASYNC110 -- a page rings no bell
                await asyncio.sleep(0.02)

    async def titles(self) -> list[str]:
        """Return the titles of the cards, first to last."""
        return list(await self.run(f"return {TITLES}"))

    async def until_titles(self, *titles: str) -> None:
        """Return when the cards are these, in this order."""
        wanted = "JSON.stringify(arguments[0])"
        await self.until(f"JSON.stringify({TITLES}) === {wanted}", list(titles))

    async def deliver(self, job_id: str, output: object, **request: object) -> None:
        """Let a job succeed, and return when the daemon has its files."""
        self.succeed(job_id, output, **request)
        await self.home.event("job", "done", jobId=job_id)

    def succeed(self, job_id: str, output: object, **request: object) -> None:
        now = self.submit(job_id, **request)
        self.backend.deployment.succeed(now, job_id, output)

    def submit(self, job_id: str, **request: object) -> int:
        """Queue a job; return when that was, in ns."""
        now = time.time_ns()
        self.backend.deployment.submit(
            now,
            owner=self.backend.owner(),
            job_id=job_id,
            capability="text_to_image",
            request=request,
        )
        return now
