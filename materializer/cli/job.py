"""`stella-media status` and `capabilities`: what the gateway says just now."""

from __future__ import annotations

import asyncio

import click

from materializer.cli import keeping, options
from materializer.cli.result import End, show
from materializer.cli.sign_in import SignIn
from materializer.errors import SettingsInvalid
from materializer.rows import read_job


@click.command()
@options.as_json
def capabilities(as_json: bool) -> None:
    """Print what can be made, as JSON."""
    del as_json  # it is JSON in any case
    asyncio.run(_capabilities())


async def _capabilities() -> None:
    sign_in = await SignIn.now()
    async with sign_in.gateway() as gateway:
        show(await gateway.capabilities())


@click.command()
@click.option("--job-id", metavar="ID", help="The job, as `generate` told it.")
@click.option("--save", is_flag=True, help="Save the files of a succeeded job.")
@options.as_json
def status(job_id: str | None, save: bool, as_json: bool) -> int:
    """Tell how a job is doing; with --save also save its files.

    \b
    stella-media status --job-id ID --save
    """
    if not job_id:
        raise SettingsInvalid("status requires --job-id.")
    return asyncio.run(_status(job_id, save=save, as_json=as_json))


async def _status(job_id: str, *, save: bool, as_json: bool) -> int:
    sign_in = await SignIn.now()
    async with sign_in.gateway() as gateway:
        row = await gateway.job(job_id)
    job = read_job(row)
    if not job.ended:
        show(row)
        return 0
    wanted = save and job.succeeded
    record = await keeping.save(sign_in, job) if wanted else None
    return End(row, record).show(job.job_id, as_json=as_json)
