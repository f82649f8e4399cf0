"""How the jobs of the demo fare: lines that move, and a table at the end."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click


@dataclass(slots=True)
class Row:
    """One job, from its submission to its files."""

    job_id: str
    capability: str
    should_fail: bool = False
    state: str = "submitted"
    announced: int = 0
    told: str | None = None
    wrong: str | None = "it has not arrived"
    files: list[tuple[str, int]] = field(default_factory=list)
    seconds: float | None = None
    submitted: float = field(default_factory=time.monotonic)
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    reported: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self, state: str) -> None:
        """Note that the daemon has nothing more to do for this job."""
        if not self.finished.is_set():
            self.seconds = time.monotonic() - self.submitted
            self.state = state
            self.finished.set()

    def check(self, record: dict[str, Any], listed: list[dict[str, Any]]) -> None:
        """Compare what the daemon says with what is on disk."""
        self.files = [
            (path, Path(path).stat().st_size if Path(path).exists() else 0)
            for path in record["files"]
        ]
        self.wrong = (
            self._failure(record)
            if self.should_fail
            else (self._success(record, listed))
        )

    def _failure(self, record: dict[str, Any]) -> str | None:
        if record["state"] != "failed":
            return f"it should have failed, but its state is {record['state']}"
        return None if self.told else "its failure was not reported"

    def _success(
        self, record: dict[str, Any], listed: list[dict[str, Any]]
    ) -> str | None:
        if record["state"] != "done":
            return f"its state is {record['state']}: {record['error']}"
        if not listed:
            return "it is not in the gallery"
        for item in listed:
            path = Path(item["path"])
            if not path.exists():
                return f"{path.name} is missing"
            if hashlib.sha256(path.read_bytes()).hexdigest() != item["sha256"]:
                return f"{path.name} is not what the gallery says"
        return None if self.announced else "it was not announced"


class Progress:
    """Shows rows as they change: in place on a terminal, else a line a change."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows
        self._told: dict[str, str] = {}
        self._drawn = 0

    def show(self) -> None:
        """Show what has changed since the last time."""
        changed = [row for row in self._rows if self._told.get(row.job_id) != row.state]
        if not changed:
            return
        self._told |= {row.job_id: row.state for row in changed}
        if not sys.stderr.isatty():
            for row in changed:
                click.echo(_line(row), err=True)
            return
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        lines = "".join(f"\x1b[2K{_line(row)}\n" for row in self._rows)
        click.echo(up + lines, err=True, nl=False)
        self._drawn = len(self._rows)


def table(rows: list[Row]) -> str:
    """Return one line a file, with the job's time; what went wrong is said."""
    lines = [f"{'job':<36}  {'capability':<21} {'time':>7}  {'bytes':>10}  file"]
    for row in rows:
        took = f"{row.seconds:.2f} s" if row.seconds is not None else "-"
        head = f"{row.job_id:<36}  {row.capability:<21} {took:>7}"
        if row.wrong:
            lines.append(f"{head}  {'':>10}  WRONG: {row.wrong}")
        elif row.should_fail:
            lines.append(f"{head}  {'':>10}  failed as it should, told: {row.told}")
        for path, size in row.files:
            lines.append(f"{head}  {size:>10,}  {Path(path).name}")
    return "\n".join(lines)


def _line(row: Row) -> str:
    return f"  {row.capability:<21} {row.job_id}  {row.state}"
