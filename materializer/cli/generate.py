"""`stella-media generate`: submit a job, wait for it, save what it made."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from materializer import wording
from materializer.cli import keeping, options
from materializer.cli.asking import Asking
from materializer.cli.result import End, show
from materializer.cli.sign_in import SignIn
from materializer.cli.ticker import Ticker, beside
from materializer.errors import GatewayError, MaterializerError, SettingsInvalid
from materializer.model import Job
from materializer.rows import read_job

TIMED_OUT = 124


@click.command()
@click.option("--request", "given", metavar="JSON", help="The request itself.")
@click.option("--request-file", metavar="FILE", help="Holds the request; - is stdin.")
@click.option("--wait", is_flag=True, help="Wait for the result and save it.")
@click.option("--timeout", metavar="S", help="How long to wait, in seconds [240].")
@click.option("--poll-interval", metavar="S", help="Between two looks [2].")
@click.option("--no-progress", is_flag=True, help="Do not tell how it fares.")
@options.as_json
def generate(
    given: str | None,
    request_file: str | None,
    wait: bool,
    timeout: str | None,
    poll_interval: str | None,
    no_progress: bool,
    as_json: bool,
) -> int:
    """Submit a job; with --wait also wait for it and save its files.

    \b
    cat > request.json <<'JSON'
    {
      "capability": "text_to_image",
      "prompt": "a clean product render of a translucent blue desk lamp",
      "aspectRatio": "1:1"
    }
    JSON
    stella-media generate --request-file request.json --wait --timeout 240

    \b
    stella-media generate --wait --request '{"capability": "text_to_dialogue",
      "prompt": "Welcome to Stella. How can I help today?"}'

    A running daemon tells when the job has ended, and saves it; without one the
    gateway is asked every so often, and the files are saved here.

    Exit codes: 0 done, 1 failed, 2 called wrongly, 77 sign-in needed, 124 took too
    long, 130 interrupted.
    """
    request = _request(given, request_file)
    waiting = _Waiting(
        _seconds(timeout, 240.0), _seconds(poll_interval, 2.0), as_json=as_json
    )
    silent = as_json or no_progress
    return asyncio.run(_generate(request, waiting if wait else None, silent=silent))


async def _generate(request: Any, waiting: _Waiting | None, *, silent: bool) -> int:
    sign_in = await SignIn.now()
    async with sign_in.gateway() as gateway:
        key = f"stella-{uuid.uuid4()}"
        accepted = await gateway.generate(request, idempotency_key=key)
        job_id = accepted.get("jobId")
        if not isinstance(job_id, str) or not job_id:
            job_id = None
        if waiting is None:
            if job_id is not None:
                await _enter(sign_in, job_id, partial(click.echo, err=True))
            show(accepted)
            return 0
        if job_id is None:
            raise GatewayError("Media gateway did not return a jobId.")
        ticker = Ticker(job_id, silent=silent)
        ticker.tell("submitted")
        asking = Asking(sign_in, gateway, job_id, waiting.interval, ticker.tell)
        end = await beside(
            waiting.until_saved(sign_in, job_id, asking, ticker), ticker.run()
        )
    if end is not None:
        code = end.show(job_id, as_json=waiting.as_json)
        if end.record is None and end.row is not None:
            await keeping.note_told(sign_in, read_job(end.row))
        return code
    capability = accepted.get("capability")
    _show_too_slow(Job(job_id, "", str(capability or "")), asking.trouble)
    return TIMED_OUT


@dataclass(frozen=True, slots=True)
class _Waiting:
    """How long a person waits, how often the gateway is asked, and for what."""

    timeout: float
    interval: float
    as_json: bool

    async def until_saved(
        self, sign_in: SignIn, job_id: str, asking: Asking, ticker: Ticker
    ) -> End | None:
        """Return how the job ended, once it is saved; None when that takes too long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout
        try:
            record = await keeping.settled(sign_in, job_id, self.timeout, ticker.tell)
        except TimeoutError:
            return None
        if record is None:
            await _enter(sign_in, job_id, ticker.say)
        elif record["status"] == "succeeded" and not self.as_json:
            return End(None, record)
        # The gateway alone has the row as a program expects it, and the error's code.
        row = await asking.until_ended(deadline - loop.time())
        if row is None:
            return None
        job = read_job(row)
        if record is None and job.succeeded:
            record = await keeping.save(sign_in, job)
        return End(row, record)


async def _enter(sign_in: SignIn, job_id: str, say: Callable[[str], None]) -> None:
    """Have a job that was submitted looked after, whatever becomes of this command."""
    try:
        await keeping.enter(sign_in, job_id)
    except MaterializerError as error:
        say(f"{wording.shown(job_id)} is not looked after on this computer: {error}")


def _show_too_slow(job: Job, trouble: GatewayError | None) -> None:
    click.echo(wording.too_slow(job), err=True)
    if trouble is not None:
        click.echo(f"{trouble}", err=True)
        if trouble.action:
            click.echo(trouble.action, err=True)


def _request(given: str | None, request_file: str | None) -> Any:
    if given is None and request_file is None:
        raise SettingsInvalid("generate requires --request or --request-file.")
    if given is None:
        given = _read(request_file or "-")
    try:
        return json.loads(given)
    except (ValueError, RecursionError) as error:
        raise SettingsInvalid(f"The request is not valid JSON: {error}") from error


def _read(request_file: str) -> str:
    try:
        if request_file == "-":
            return sys.stdin.read()
        return Path(request_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{request_file} cannot be read: {error}") from error


def _seconds(text: str | None, default: float) -> float:
    """Read a duration as the app's command does: what is unusable is the default."""
    try:
        seconds = float(text or "")
    except ValueError:
        return default
    return seconds if 0 < seconds < float("inf") else default
