"""`stella-materializer retry`: new attempts at jobs that did not arrive."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from materializer.cli import options
from materializer.errors import SignInNeeded
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import CONFLICT, NOT_FOUND, NOT_SIGNED_IN, RpcError


@click.command()
@options.state_dir
@options.config
@click.argument("job_ids", metavar="JOB_ID...", nargs=-1, required=True)
def retry(job_ids: tuple[str, ...], **flags: Any) -> int:
    """Let the running daemon try jobs again, at once and with new attempts.

    Prints where each stands then. Exit 1 when one is not known, or failed where it was
    made; the others are tried all the same.
    """
    return asyncio.run(_retry(options.read(**flags).paths.state, job_ids))


async def _retry(state: Path, job_ids: tuple[str, ...]) -> int:
    refused = 0
    async with Client(state) as daemon:
        for job_id in job_ids:
            try:
                job = await daemon.call("job.retry", {"jobId": job_id}, timeout=10)
            except RpcError as error:
                if error.rpc_code == NOT_SIGNED_IN:
                    raise SignInNeeded(str(error)) from error
                if error.rpc_code not in (NOT_FOUND, CONFLICT):
                    raise
                refused = 1
                click.echo(f"{job_id}: {error}", err=True)
            else:
                click.echo(f"{job_id}: {job['state']}")
    return refused
