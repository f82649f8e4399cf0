"""What a test needs of the machine: there, or a loud reason why it is skipped."""

from __future__ import annotations

import os
import shutil

import pytest


def need(*programs: str) -> None:
    """Skip the test when a program is missing; fail it where nothing may be missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    reason = f"NOT TESTED HERE: this machine has no {', '.join(missing)}"
    if os.environ.get("STELLA_TESTS_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
