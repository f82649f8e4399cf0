"""What a test needs of the machine: there, or a loud reason why it is skipped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import pytest


def need(*programs: str) -> None:
    """Skip the test when a program is missing; fail it where nothing may be missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        _lacks(f"this machine has no {', '.join(missing)}")


def need_package(name: str) -> None:
    """As `need`, for a Python package."""
    if find_spec(name) is None:
        _lacks(f"{name} is not installed")


def need_root() -> None:
    """As `need`, for the right to mount a disk or to own a network."""
    if sys.platform != "linux" or os.geteuid() != 0:
        _lacks("only root, on Linux, can do this")


def _lacks(what: str) -> None:
    reason = f"NOT TESTED HERE: {what}"
    if os.environ.get("STELLA_TESTS_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def packages(home: Path) -> Path:
    """Return the folder with the npm packages that `home`/package.json pins."""
    need("node", "npm")
    folder = Path(os.environ.get("STELLA_TEST_CACHE", home.parent), home.name)
    if folder != home:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(home / "package.json", folder)
    with (folder / "package.json").open() as package:
        _alone(package)
        pinned = json.load(package)["dependencies"]
        if any(_installed(folder, name) != pinned[name] for name in pinned):
            quiet = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
            subprocess.run(["npm", "install", *quiet], cwd=folder, check=True)
    return folder


def _alone(file: IO[str]) -> None:
    """Wait until no other test process does the same; the file's end lets it go."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def _installed(folder: Path, package: str) -> str | None:
    path = folder / "node_modules" / package / "package.json"
    return json.loads(path.read_text())["version"] if path.exists() else None
