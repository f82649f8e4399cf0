"""`scripts/bench`, run in its short form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def bench(name: str, folder: Path) -> tuple[str, Any]:
    """Return what a benchmark printed, and the figures that it wrote."""
    written = folder / "figures.json"
    command = [sys.executable, "-m", "scripts.benchmarks", name, "--short"]
    done = subprocess.run(
        [*command, "--json", str(written)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(written.read_text("utf-8"))
