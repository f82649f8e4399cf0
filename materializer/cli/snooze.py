"""`stella-materializer snooze`: no notifications for a while."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import click

from materializer import quantity
from materializer.cli import options
from materializer.ipc.client import Client


@click.command()
@options.state_dir
@options.config
@click.argument("span", metavar="TIME|off")
def snooze(span: str, **flags: Any) -> None:
    """Have the running daemon show nothing for a while, such as 2h; off ends that.

    What fails meanwhile is told afterwards.
    """
    try:
        seconds = 0.0 if span == "off" else quantity.duration(span)
    except ValueError as error:
        raise click.UsageError(f"{span!r} should be off, or {error}") from error
    until = asyncio.run(_snooze(options.read(**flags).paths.state, seconds))
    if until is None:
        click.echo("notifications are shown")
    else:
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(until / 1000))
        click.echo(f"no notifications until {at}")


async def _snooze(state: Path, seconds: float) -> int | None:
    params = {"forMs": int(seconds * 1000)}
    async with Client(state) as daemon:
        answer = await daemon.call("notification.snooze", params, timeout=10)
    until: int | None = answer["snoozedUntil"]
    return until
