"""Commands of the system that are not there, or must not be asked in earnest."""

from __future__ import annotations

import shlex
from pathlib import Path

SCRIPT = """#!/bin/sh
for word; do
  printf '%s\\t' "$word" >>"$0.calls"
  [ "$before" != /XML ] || cp "$word" "$0.xml"
  before=$word
done
echo >>"$0.calls"
[ ! -e "$0.answers" ] || . "$0.answers"
"""


class FakeTool:
    """A command that notes what it is asked, and says nothing or what it is told to.

    Args:
        place: a directory on the PATH of who asks.
    """

    def __init__(self, place: Path, name: str) -> None:
        self._path = place / name
        self._answers = ""
        place.mkdir(exist_ok=True)
        self._path.write_text(SCRIPT)
        self._path.chmod(0o755)

    def answer(self, word: str, out: str = "", *, err: str = "", code: int = 0) -> None:
        """Say this from now on when asked something with that word."""
        says = f"printf %s {shlex.quote(out)}; printf %s {shlex.quote(err)} >&2"
        case = f'case " $* " in *" {word} "*) {says}; exit {code};; esac\n'
        self._answers = case + self._answers
        self._path.with_name(f"{self._path.name}.answers").write_text(self._answers)

    def asked(self) -> list[list[str]]:
        """Return what it was asked since the last time, each time word by word."""
        path = self._path.with_name(f"{self._path.name}.calls")
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line.split("\t")[:-1] for line in lines]

    @property
    def taken(self) -> Path:
        """A copy of the last file that it was handed with /XML."""
        return self._path.with_name(f"{self._path.name}.xml")
