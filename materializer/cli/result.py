"""How a job ended: its files and texts on standard output, or why there are none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from materializer import wording
from materializer.cli.keeping import Record
from materializer.model import Job, Remote
from materializer.outputs import extract
from materializer.rows import read_job

_WHOLE = ("done", "unrecognised")


@dataclass(frozen=True, slots=True)
class End:
    """A job that has ended.

    Attributes:
        row: what the gateway says of it; None where a daemon said enough, which is
            when it has succeeded.
        record: what became of its files, or None when none were to be saved.
    """

    row: dict[str, Any] | None
    record: Record | None

    def show(self, job_id: str, *, as_json: bool) -> int:
        """Print it and return the exit code."""
        if self.row is not None:
            job = read_job(self.row)
            if not job.succeeded:
                return _show_failure(job, self.row, as_json=as_json)
        record = self.record or {"state": "done", "error": None, "outputs": []}
        if as_json and self.row is not None:
            _show_object(self.row, record)
        else:
            _show_files(job_id, record)
        return 0 if record["state"] in _WHOLE else 1


def show(value: object) -> None:
    """Print JSON for a program: UTF-8 whatever the terminal takes."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # Half a surrogate pair can only be written as JSON spells it.
    click.echo(text.encode(errors="backslashreplace"))


def _show_failure(job: Job, row: dict[str, Any], *, as_json: bool) -> int:
    note = wording.failed(job)
    if as_json:
        show({"job": row, "error": note.title})
        return 1
    click.echo(note.title, err=True)
    if job.error is not None:
        if job.error.message:
            click.echo(note.body, err=True)
        advice = wording.advice(job.error.message, job.error.code)
        if advice:
            click.echo(advice, err=True)
    return 1


def _show_object(row: dict[str, Any], record: Record) -> None:
    urls = _urls(row)
    files = [
        {
            "kind": _kind(item),
            "url": urls.get(item["index"]),
            "path": item["path"],
        }
        | ({"text": _text(item)} if item["kind"] == "text" else {})
        for item in record["outputs"]
    ]
    error = {"error": record["error"]} if record["error"] else {}
    show({"job": row, "files": files} | error)


def _show_files(job_id: str, record: Record) -> None:
    items, whole = record["outputs"], record["state"] in _WHOLE
    if whole or items:
        click.echo(f"Media job {wording.shown(job_id)} completed.")
    for item in items:
        click.echo(f"{_kind(item)}: {item['path']}")
        if item["kind"] == "text":
            click.echo(wording.printed(_text(item)))
    if record["error"]:
        what = "" if whole else "Failed to download media output: "
        click.echo(f"{what}{record['error']}", err=True)


def _kind(item: dict[str, Any]) -> str:
    """Return the kind as the app's own command says it."""
    return "download" if item["kind"] == "model3d" else str(item["kind"])


def _text(item: dict[str, Any]) -> str:
    return Path(item["path"]).read_text(encoding="utf-8")


def _urls(row: dict[str, Any]) -> dict[int, str]:
    return {
        out.index: out.source.url
        for out in extract(read_job(row).output).outputs
        if isinstance(out.source, Remote)
    }
