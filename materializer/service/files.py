"""What a login service is described by: three templates, filled in.

A command is a program and its arguments; each is quoted as its file wants it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from xml.sax.saxutils import escape

from materializer.errors import SettingsInvalid

UNIT = "stella-materializer.service"
AGENT = "sh.stella.materializer.plist"
TASK = "stella-materializer.xml"


def unit(command: Sequence[str]) -> str:
    """Return the systemd user unit that runs a command.

    Raises:
        SettingsInvalid: no such file can hold the command; so with the other two.
    """
    return _filled(
        UNIT, COMMAND=" ".join(_systemd_word(word) for word in _line(command))
    )


def agent(command: Sequence[str], errors: Path) -> str:
    """Return the launchd agent that runs a command; `errors` takes standard error."""
    words = (f"    <string>{escape(word)}</string>" for word in _line(command))
    return _filled(AGENT, ARGUMENTS="\n".join(words), ERRORS=escape(str(errors)))


def task(command: Sequence[str], user: str) -> str:
    """Return the Windows task that runs a command when `user` logs in."""
    program, *arguments = _line(command)
    return _filled(
        TASK,
        PROGRAM=escape(program),
        ARGUMENTS=escape(subprocess.list2cmdline(arguments)),
        USER=escape(user),
    )


def _filled(template: str, **values: str) -> str:
    there = resources.files("materializer.service") / "templates" / template
    # In one go: what is filled in may look like a place to be filled in.
    return re.sub(r"@([A-Z]+)@", lambda m: values[m[1]], there.read_text("utf-8"))


def _line(command: Sequence[str]) -> Sequence[str]:
    for word in command:
        if not word.isprintable():
            raise SettingsInvalid(f"a login service cannot be told {word!r}")
    return command


def _systemd_word(word: str) -> str:
    escaped = word.replace("\\", r"\\").replace('"', r"\"").replace("%", "%%")
    return f'"{escaped}"'
