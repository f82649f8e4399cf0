from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from desk import Desk, desk_at
from materializer.devserver.app import Backend
from materializer.ipc.client import Client
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


@pytest.fixture
async def open_desk(tmp_path: Path) -> AsyncIterator[tuple[Desk, Client]]:
    async with desk_at(tmp_path) as both:
        yield both


@pytest.fixture
def desk(open_desk: tuple[Desk, Client]) -> Desk:
    return open_desk[0]


@pytest.fixture
def client(open_desk: tuple[Desk, Client]) -> Client:
    return open_desk[1]
