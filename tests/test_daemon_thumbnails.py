from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from home import at_home
from materializer.devserver.app import Backend
from materializer.thumbnails.keeper import Thumbnails


@pytest.mark.parametrize("switch", ["yes", "no"])
async def test_thumbnails_are_made_unless_that_is_switched_off(
    backend: Backend, state: Path, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    works: list[str] = []

    async def work(_: Thumbnails) -> None:
        works.append("yes")
        await asyncio.Event().wait()

    monkeypatch.setattr(Thumbnails, "run", work)
    async with at_home(state, backend.token_file, thumbnails=switch) as home:
        await home.event("feed", "live")
    assert works == (["yes"] if switch == "yes" else [])
