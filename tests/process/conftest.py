from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from process import house as houses
from process.house import House


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with houses.house(tmp_path) as built:
        yield built
