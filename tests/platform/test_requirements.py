"""What CI installs is what is asked for, pinned, each file by its hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PINNED = ROOT / "requirements"


def pins(name: str) -> dict[str, set[str]]:
    """Return the versions to which a file pins each package."""
    found: dict[str, set[str]] = {}
    for line in (PINNED / name).read_text().splitlines():
        if pin := re.match(r"([\w.-]+)==([^\s;]+)", line):
            found.setdefault(canonicalize_name(pin[1]), set()).add(pin[2])
    return found


def wanted() -> list[Requirement]:
    """Return what the project, its extras and its groups for CI ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    groups = project["dependency-groups"]
    lists = (
        project["project"]["dependencies"],
        *(extras[name] for name in ("dev", "thumbnails")),
        *(groups[name] for name in ("lint", "test")),
    )
    return [Requirement(one) for some in lists for one in some]


def test_all_that_is_asked_for_is_pinned_to_a_version_that_will_do() -> None:
    pinned = pins("ci.txt")
    for one in wanted():
        versions = pinned.get(canonicalize_name(one.name), set())
        assert versions, f"{one.name} is not pinned: run scripts/lock"
        assert all(version in one.specifier for version in versions), (
            f"{one} is pinned to {versions}: run scripts/lock"
        )


@pytest.mark.parametrize("name", ["ci.txt", "audit.txt", "fuzz.txt"])
def test_every_pin_has_hashes_and_nothing_else_is_named(name: str) -> None:
    text = (PINNED / name).read_text()
    parts = [part for part in text.replace("\\\n", "").splitlines() if part]
    assert parts
    for part in parts:
        assert re.match(r"[\w.\[\]-]+==\S+", part), part
        assert re.search(r" --hash=sha256:[0-9a-f]{64}\b", part), part
        assert "://" not in part
