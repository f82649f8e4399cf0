"""`stella-media`: submit a job, wait for it, save what it made."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from materializer import __version__, wording
from materializer.cli import keeping, options
from materializer.cli.sign_in import SignIn
from materializer.errors import GatewayError, MaterializerError
from materializer.model import Job
from materializer.rows import read_job

if TYPE_CHECKING:
    from materializer.gateway import Gateway

TIMED_OUT = 124


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def media(context: click.Context) -> None:
    """Make images, videos, voices, music and 3D models with Stella.

    \b
    stella-media generate --request '{"capability": "text_to_image",
        "prompt": "a translucent blue desk lamp"}' --wait
    stella-media status --job-id ID --save
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@media.command()
@options.as_json
def capabilities(as_json: bool) -> None:
    """Print what can be made, as JSON."""
    del as_json  # it is JSON in any case
    sign_in = SignIn.now()

    async def ask() -> dict[str, Any]:
        async with sign_in.gateway() as gateway:
            return await gateway.capabilities()

    _print(asyncio.run(ask()))


@media.command()
@click.option("--request", "given", metavar="JSON", help="The request itself.")
@click.option("--request-file", metavar="FILE", help="Holds the request; - is stdin.")
@click.option("--wait", is_flag=True, help="Wait for the result and save it.")
@click.option("--timeout", metavar="S", help="How long to wait, in seconds [240].")
@click.option("--poll-interval", metavar="S", help="Between two looks [2].")
@options.as_json
def generate(
    given: str | None,
    request_file: str | None,
    wait: bool,
    timeout: str | None,
    poll_interval: str | None,
    as_json: bool,
) -> int:
    """Submit a job; with --wait also wait for it and save its files."""
    request = _request(given, request_file)
    sign_in = SignIn.now()
    accepted = asyncio.run(_submit(sign_in, request))
    _enter(sign_in, accepted.get("jobId"))
    if not wait:
        _print(accepted)
        return 0
    job_id = accepted.get("jobId")
    if not isinstance(job_id, str) or not job_id:
        raise GatewayError("Media gateway did not return a jobId.")
    watch = _Watch(sign_in, job_id, quiet=as_json)
    row = asyncio.run(
        watch.until_ended(
            _seconds(timeout, 240.0),
            _seconds(poll_interval, 2.0),
            str(accepted.get("capability") or ""),
        )
    )
    if row is None:
        slow = Job(job_id, "timeout", str(accepted.get("capability") or ""))
        click.echo(wording.too_slow(slow), err=True)
        return TIMED_OUT
    return _finish(sign_in, row, save=True, as_json=as_json)


@media.command()
@click.option("--job-id", metavar="ID")
@click.option("--save", is_flag=True, help="Save the files of a succeeded job.")
@options.as_json
def status(job_id: str | None, save: bool, as_json: bool) -> int:
    """Tell how a job is doing; with --save also save its files."""
    if not job_id:
        raise click.UsageError("status requires --job-id.")
    sign_in = SignIn.now()

    async def ask() -> dict[str, Any]:
        async with sign_in.gateway() as gateway:
            return await gateway.job(job_id)

    row = asyncio.run(ask())
    if not read_job(row).ended:
        _print(row)
        return 0
    return _finish(sign_in, row, save=save, as_json=as_json)


async def _submit(sign_in: SignIn, request: Any) -> dict[str, Any]:
    async with sign_in.gateway() as gateway:
        return await gateway.generate(request, idempotency_key=f"stella-{uuid.uuid4()}")


def _enter(sign_in: SignIn, job_id: object) -> None:
    """Have a job that was submitted looked after, whatever becomes of this command."""
    if not isinstance(job_id, str) or not job_id:
        return
    try:
        asyncio.run(keeping.enter(sign_in, job_id))
    except MaterializerError as error:
        click.echo(f"{job_id} is not looked after on this computer: {error}", err=True)


class _Watch:
    """Follows a job to its end, telling each change of its status."""

    def __init__(self, sign_in: SignIn, job_id: str, *, quiet: bool) -> None:
        self._sign_in = sign_in
        self._job_id = job_id
        self._quiet = quiet
        self._told: str | None = None

    async def until_ended(
        self, timeout: float, interval: float, capability: str
    ) -> dict[str, Any] | None:
        """Return the ended job's row, or None when that takes too long."""
        self._tell("submitted")
        deadline = time.monotonic() + timeout
        async with self._sign_in.gateway() as gateway:
            while (left := deadline - time.monotonic()) > 0:
                row = await self._look(gateway)
                if row is not None and read_job(row).ended:
                    return row
                await asyncio.sleep(min(interval, max(0.25, left)))
        return None

    async def _look(self, gateway: Gateway) -> dict[str, Any] | None:
        try:
            row = await gateway.job(self._job_id)
        except GatewayError as error:
            # A look that failed says nothing about the job; the next one may.
            if error.status is not None and error.status < 500 and error.status != 429:
                raise
            return None
        self._tell(str(row.get("status")))
        return row

    def _tell(self, status: str) -> None:
        if status != self._told and not self._quiet:
            click.echo(f"media job {self._job_id}: {status}", err=True)
        self._told = status


def _finish(sign_in: SignIn, row: dict[str, Any], *, save: bool, as_json: bool) -> int:
    """Tell how an ended job went, and save what it made; return the exit code."""
    job = read_job(row)
    if not job.succeeded:
        note = wording.failed(job)
        if as_json:
            _print({"job": row, "error": note.title})
        else:
            click.echo(note.title, err=True)
            if job.error is not None:
                click.echo(note.body, err=True)
        return 1
    saved = asyncio.run(_save(sign_in, job)) if save else ("done", None, [])
    state, error, files = saved
    if as_json:
        _print({"job": row, "files": files} | ({"error": error} if error else {}))
    else:
        click.echo(f"Media job {job.job_id} completed.")
        for file in files:
            click.echo(f"{file['kind']}: {file['path']}")
            if "text" in file:
                click.echo(file["text"])
        if error:
            click.echo(error, err=True)
    return 0 if state in {"done", "unrecognised"} else 1


async def _save(
    sign_in: SignIn, job: Job
) -> tuple[str, str | None, list[dict[str, Any]]]:
    """Have the job materialized.

    Returns its state, what went wrong if anything, and its files.
    """
    record = await keeping.save(sign_in, job)
    urls = _urls(job)
    files = [
        {
            "kind": "download" if item["kind"] == "model3d" else item["kind"],
            "url": urls.get(item["index"]),
            "path": item["path"],
        }
        | _text(item)
        for item in record["outputs"]
    ]
    return record["state"], record["error"], files


def _urls(job: Job) -> dict[int, str]:
    from materializer.model import Remote
    from materializer.outputs import extract

    return {
        out.index: out.source.url
        for out in extract(job.output).outputs
        if isinstance(out.source, Remote)
    }


def _text(item: dict[str, Any]) -> dict[str, str]:
    if item["kind"] != "text":
        return {}
    return {"text": Path(item["path"]).read_text(encoding="utf-8")}


def _request(given: str | None, request_file: str | None) -> Any:
    if given is None and request_file is None:
        raise click.UsageError("generate requires --request or --request-file.")
    if given is None:
        given = _read(request_file or "-")
    try:
        return json.loads(given)
    except ValueError as error:
        raise click.UsageError(f"The request is not valid JSON: {error}") from error


def _read(request_file: str) -> str:
    try:
        if request_file == "-":
            return sys.stdin.read()
        return Path(request_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{request_file} cannot be read: {error}") from error


def _seconds(text: str | None, default: float) -> float:
    """Read a duration as the reference does: what is unusable is the default."""
    try:
        seconds = float(text or "")
    except ValueError:
        return default
    return seconds if 0 < seconds < float("inf") else default


def _print(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
