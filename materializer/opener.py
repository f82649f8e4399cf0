"""The person's desktop opens a file, folder or page, with what opens such things."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from materializer.errors import MaterializerError

_PATIENCE = 2.0


def open_on_desktop(place: Path | str) -> None:
    """Open an absolute path, or a page by its URL; returns within about two seconds.

    Raises:
        MaterializerError: nothing here can open it.
    """
    try:
        if sys.platform == "win32":
            os.startfile(place)  # noqa: S606 -- that is the way to do it there
            return
        program = ["open"] if sys.platform == "darwin" else [*_outside(), "xdg-open"]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(  # noqa: S603 -- no shell, and no place is an option
            [*program, place],
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            start_new_session=True,
        )
    except OSError as error:
        raise MaterializerError(f"Nothing on this computer opens {place}.") from error
    try:
        code = process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        # Some openers run for as long as what they opened.
        threading.Thread(target=process.wait, daemon=True).start()
        return
    if code != 0:
        raise MaterializerError(f"The desktop could not open {place}.")


def _outside() -> list[str]:
    """Return what starts a program outside of a systemd service of ours.

    Within, it would be as restricted as we are, and end when we do.
    """
    if os.environ.get("INVOCATION_ID") and shutil.which("systemd-run"):
        return ["systemd-run", "--user", "--collect", "--quiet"]
    return []
