from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from home import at_home
from materializer.config import Paths
from materializer.devserver.app import Backend
from materializer.display.app import DisplayPage
from need import need, packages
from screen import Screen
from scripts.browser.chromium import PROGRAMS, chromium, emulate

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def chrome() -> Iterator[Chrome]:
    need(*PROGRAMS)
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(chrome: Chrome) -> Iterator[Chrome]:
    """A browser that remembers nothing."""
    chrome.delete_all_cookies()
    emulate(chrome, prefers_reduced_motion="reduce")
    yield chrome
    chrome.get("about:blank")


@pytest.fixture
async def screen(
    browser: Chrome, state: Path, backend: Backend
) -> AsyncIterator[Screen]:
    """A daemon in front of which nobody sits yet, and a page without a fault."""
    async with (
        at_home(state, backend.token_file) as home,
        DisplayPage(Paths.of(state)) as page,
    ):
        await home.event("feed", "live")
        screen = Screen(browser, page.url, backend, home)
        yield screen
        assert screen.complaints() == []


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe, which finds what keeps people from using a page."""
    return (packages(HERE) / "node_modules/axe-core/axe.min.js").read_text("utf-8")
