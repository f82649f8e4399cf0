"""The command of `scripts/build-sidecar`: freezes, tries out, prints what it costs."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from pathlib import Path

from scripts.sidecar.freeze import freeze
from scripts.sidecar.trial import TrialFailed, tried


def main() -> None:
    """Build a folder anew; exit 1 when what is in it does not do what it should."""
    parser = argparse.ArgumentParser(prog="scripts/build-sidecar")
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path("dist/sidecar"),
        help="what is there is replaced [dist/sidecar]",
    )
    folder = parser.parse_args().folder.absolute()

    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    freeze(folder)
    _tell(f"frozen in {time.monotonic() - began:.0f} s, trying it out")
    try:
        trial = asyncio.run(tried(folder))
    except TrialFailed as error:
        sys.exit(f"build-sidecar: {error}")
    _tell(f"the trial's notification: {trial.notification}")
    megabytes = _size(folder) / 1e6
    sys.stdout.write(
        f"{folder}: {megabytes:.0f} MB, ready in {trial.start * 1000:.0f} ms\n"
    )


def _size(folder: Path) -> int:
    files = (path for path in folder.rglob("*") if not path.is_symlink())
    return sum(path.stat().st_size for path in files if path.is_file())


def _tell(line: str) -> None:
    sys.stderr.write(f"build-sidecar: {line}\n")


main()
