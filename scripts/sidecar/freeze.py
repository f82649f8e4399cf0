"""Freezes the programs into a folder, from an environment that has nothing more."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2]
_SPEC = Path(__file__).with_name("sidecar.spec")


def freeze(folder: Path) -> None:
    """Put the programs, and all that they need, where nothing is yet.

    It is what `pip install '.[display]'` installs: nothing of the environment that
    builds it comes along.

    Raises:
        subprocess.CalledProcessError: pip or PyInstaller failed, and said why.
    """
    with tempfile.TemporaryDirectory(prefix="sidecar-") as made:
        work = Path(made)
        python = _environment(work / "environment")
        _run(
            *(python, "-m", "PyInstaller", "--log-level=WARN"),
            *(f"--distpath={work}", f"--workpath={work / 'work'}", _SPEC),
        )
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(work / "sidecar", folder)


def _environment(place: Path) -> Path:
    """Make an environment with what is to be frozen; return its Python."""
    windows = os.name == "nt"
    venv.create(place, symlinks=not windows)
    python = place / ("Scripts/python.exe" if windows else "bin/python")
    pip = (sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet")
    _run(*pip, "--disable-pip-version-check", ".[display]", "--group=sidecar")
    return python


def _run(*command: str | Path) -> None:
    subprocess.run(  # noqa: S603 - the commands are the ones above
        command, cwd=_PROJECT, stdout=sys.stderr, check=True
    )
