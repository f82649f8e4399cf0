from __future__ import annotations

from pathlib import Path

import pytest

from materializer.place import Places


@pytest.fixture
def outputs(state: Path) -> Path:
    """An outputs directory as the daemon makes it."""
    outputs = state / "media" / "outputs"
    (outputs / ".partial").mkdir(parents=True)
    return outputs


@pytest.fixture
def places(outputs: Path) -> Places:
    return Places(outputs, outputs / ".partial")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A directory that is none of ours."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / ".partial").mkdir(parents=True)
    return elsewhere
