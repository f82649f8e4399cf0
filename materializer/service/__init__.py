"""The login service: its files, and the system's program that runs it."""

from __future__ import annotations

from collections.abc import Mapping

LABEL = "sh.stella.materializer"
"""What launchd calls our agent."""


def by_launchd(environ: Mapping[str, str]) -> bool:
    """Whether launchd started this process as our agent."""
    return environ.get("XPC_SERVICE_NAME") == LABEL
