from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from materializer.gallery import Gallery


@pytest.fixture
async def gallery(tmp_path: Path) -> AsyncIterator[Gallery]:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    gallery = Gallery.open(tmp_path / "gallery.db", outputs)
    yield gallery
    await gallery.close()
