"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from materializer.config import Settings, load

F = TypeVar("F", bound=Callable[..., Any])

state_dir = click.option(
    "--state-dir", metavar="DIR", help="Where everything is kept [~/.stella/state]."
)
config = click.option("--config", metavar="FILE", help="The config file to read.")
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for a program."
)


def backend(command: F) -> F:
    """Add the options that say which backend, and with what token."""
    for option in reversed(
        (
            state_dir,
            config,
            click.option("--convex-url", metavar="URL", help="The Convex deployment."),
            click.option("--site-url", metavar="URL", help="The gateway's site."),
            click.option("--token-file", metavar="FILE", help="Holds the token."),
            click.option("--token-command", metavar="CMD", help="Prints the token."),
        )
    ):
        command = option(command)
    return command


def keys(command: F) -> F:
    """Add a flag for every key of the config file."""
    for option in reversed(
        (
            click.option(
                "--open-policy",
                metavar="POLICY",
                help="open, register or never: what becomes of the sidebar [open].",
            ),
            click.option(
                "--first-run-lookback",
                metavar="AGO",
                help="How far the very first start looks back [10m].",
            ),
            click.option(
                "--fresh-window",
                metavar="AGO",
                help="How old a job may be to open the sidebar [10m].",
            ),
            click.option(
                "--max-concurrent-downloads", metavar="N", help="At once, in all [8]."
            ),
            click.option(
                "--max-per-host", metavar="N", help="At once, from one host [6]."
            ),
            click.option(
                "--max-bytes",
                metavar="SIZES",
                help="The largest output of each kind, as image=20MiB,video=1GiB.",
            ),
            click.option(
                "--max-bandwidth",
                metavar="SIZE",
                help="Bytes a second for all downloads, as 2MB; 0 is no limit [0].",
            ),
            click.option(
                "--transport",
                metavar="NAME",
                help="What does the HTTP of downloads: direct or httpx [direct].",
            ),
            click.option(
                "--idle-timeout",
                metavar="TIME",
                help="A source that is silent for so long is given up for now [30s].",
            ),
            click.option(
                "--min-free-space",
                metavar="SIZE",
                help="Downloads pause when less is free [512MiB].",
            ),
            click.option(
                "--notifications/--no-notifications",
                default=None,
                help="Show failures on the desktop [yes].",
            ),
            click.option(
                "--thumbnails/--no-thumbnails",
                default=None,
                help="Make small previews of pictures, with the extra of that name"
                " [yes].",
            ),
            click.option(
                "--log-level",
                metavar="LEVEL",
                help="debug, info, warning or error [info].",
            ),
            click.option("--log-format", metavar="FORMAT", help="text or json [text]."),
        )
    ):
        command = option(command)
    return command


def read(**flags: Any) -> Settings:
    """Read the settings of this process: flags, environment, file, defaults.

    Raises:
        SettingsInvalid: one of them is unusable.
    """
    return load(flags, os.environ)
