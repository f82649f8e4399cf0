"""`stella-materializer auth`: hand the running daemon a token, or take it back."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from materializer.cli import options
from materializer.credentials import Credentials, Grant
from materializer.errors import SettingsInvalid
from materializer.ipc.client import Client


@click.group()
def auth() -> None:
    """Hand the running daemon a token, take it back, or ask who is signed in."""


@auth.command("set")
@options.state_dir
@options.config
@click.option("--token-file", metavar="FILE", help="Holds the token [standard input].")
def set_(token_file: str | None, **flags: Any) -> None:
    """Sign in with a token: bare, or as the JSON object of a token file.

    It counts until `auth clear`, before the token file, command or variable that the
    daemon was started with.
    """
    grant = _grant(token_file)
    if grant.bearer is None:
        raise SettingsInvalid(f"{grant.source} holds no token")
    params = {"token": grant.bearer}
    if grant.convex_url is not None:
        params["convexUrl"] = grant.convex_url
    if grant.site_url is not None:
        params["siteUrl"] = grant.site_url
    told = _ask(flags, "auth.set", params)
    click.echo(f"signed in as {told['owner']}")


@auth.command()
@options.state_dir
@options.config
def clear(**flags: Any) -> None:
    """Forget the token that was set; what the daemon was started with counts again."""
    _ask(flags, "auth.clear", {})


@auth.command()
@options.state_dir
@options.config
def status(**flags: Any) -> None:
    """Tell who is signed in, and whether the deployment agrees."""
    told = _ask(flags, "daemon.status", {})
    feed = told["feed"]
    click.echo(f"signed in as {told['owner'] or 'nobody'}")
    click.echo(f"feed: {feed['state']}")
    if feed["lastError"]:
        click.echo(feed["lastError"])


def _grant(token_file: str | None) -> Grant:
    if token_file is not None:
        return asyncio.run(Credentials(file=Path(token_file)).ask())
    if sys.stdin.isatty():  # which would show what is typed
        return Grant.read(click.prompt("Token", hide_input=True), "the answer")
    return Grant.read(sys.stdin.read(), "standard input")


def _ask(flags: dict[str, Any], method: str, params: dict[str, str]) -> Any:
    async def ask() -> Any:
        async with Client(options.read(**flags).paths.state) as daemon:
            return await daemon.call(method, params, timeout=10)

    return asyncio.run(ask())
