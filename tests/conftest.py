from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from materializer.devserver.app import Backend
from origin import Origin, origin


@pytest.fixture
async def source() -> AsyncIterator[Origin]:
    async with origin() as served:
        yield served


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    async with Backend(tmp_path / "backend", speed=100) as backend:
        yield backend


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every retry is due soon, and there are many."""
    monkeypatch.setattr("materializer.retry._CALENDAR", (0.05,) * 99)
