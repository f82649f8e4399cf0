from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from home import Home, at_home
from materializer.config import Paths
from materializer.devserver.app import Backend
from materializer.display.app import DisplayPage


class Visit:
    """The page of a real daemon, and a browser that was let in.

    Attributes:
        address: of the page, as browsers write an Origin.
    """

    def __init__(self, page: DisplayPage, home: Home, paths: Paths) -> None:
        self.page = page
        self.home = home
        self.paths = paths
        self.address = page.url.partition("/?")[0]
        self.port = int(self.address.rpartition(":")[2])
        self.browser = self.stranger()

    def stranger(self) -> httpx.AsyncClient:
        """Return a browser that was not let in."""
        return httpx.AsyncClient(base_url=self.address, trust_env=False)

    async def post(self, path: str, **body: object) -> httpx.Response:
        """Post as the page does."""
        origin = {"Origin": self.address}
        return await self.browser.post(path, json=body, headers=origin)


@pytest.fixture
async def visit(state: Path, backend: Backend) -> AsyncIterator[Visit]:
    paths = Paths.of(state)
    async with AsyncExitStack() as open_:
        home = await open_.enter_async_context(
            at_home(state, backend.token_file, thumbnails="yes")
        )
        page = await open_.enter_async_context(DisplayPage(paths))
        visit = Visit(page, home, paths)
        await open_.enter_async_context(visit.browser)
        entered = await visit.browser.get(page.url)
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        yield visit
