from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from origin import Origin, origin
from process import house as houses
from process.house import House


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with houses.house(tmp_path) as built:
        yield built


@pytest.fixture
async def source() -> AsyncIterator[Origin]:
    async with origin() as served:
        yield served
