"""THREATS.md promises tests; here they are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_shows_a_defence_is_there() -> None:
    text = (ROOT / "THREATS.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) == text.count("::")
    assert len(named) > 30
    for path, name in named:
        found = (ROOT / path).read_text() if (ROOT / path).exists() else ""
        assert re.search(rf"def {name}\(", found), f"there is no {path}::{name}"


def test_every_row_names_a_test() -> None:
    rows = [
        line
        for line in (ROOT / "THREATS.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| attempt")
    ]
    assert rows
    for row in rows:
        assert "::test_" in row.split("|")[3], row
