"""`stella-materializer service`: the daemon at every login."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from materializer import origins
from materializer.cli import options
from materializer.config import Settings
from materializer.errors import MaterializerError
from materializer.service.managers import Launchd, Manager, Systemd, TaskScheduler

_HERE = {"linux": "linux", "darwin": "macos", "win32": "windows"}


@click.command()
@click.argument(
    "action",
    type=click.Choice(["install", "uninstall", "start", "stop", "status"]),
    required=False,
)
@click.option("--print", "show", is_flag=True, help="Print the file; change nothing.")
@click.option(
    "--platform",
    type=click.Choice(sorted(_HERE.values())),
    help="With --print: the file of another system.",
)
@options.backend
def service(
    action: str | None, show: bool, platform: str | None, **flags: Any
) -> int | None:
    """Let the daemon start at every login: a systemd user unit, a launchd agent, or a
    Windows task.

    `install` takes the options, for the service to run with; it does not start it yet.
    `status` exits 1 when it does not run.
    """
    if action not in (None, "install") and (show or any(flags.values())):
        raise click.UsageError("Only `install` takes options.")
    if action is None and not show:
        raise click.UsageError("install, uninstall, start, stop or status?")
    if platform and not show:
        raise click.UsageError("--platform goes with --print.")
    manager = _manager(platform or _HERE.get(sys.platform, sys.platform))
    if show:
        click.echo(manager.text(_command(**flags)), nl=False)
        return None
    if action == "install":
        _install(manager, flags)
        return None
    return _do(manager, action)


def _install(manager: Manager, flags: dict[str, Any]) -> None:
    where = manager.install(manager.text(_command(**flags)))
    click.echo(f"Installed: {where}. Every login starts it from now on.")
    if manager.standing().running:
        click.echo("It runs as before until `service stop` and `service start`.")
    else:
        click.echo("To start it now: stella-materializer service start")
    if unseen := origins.flagless(os.environ):
        click.echo(f"It does not see this shell's {', '.join(unseen)}.", err=True)


def _do(manager: Manager, action: str | None) -> int:
    if action == "uninstall":
        manager.uninstall()
        click.echo("No login starts it from now on.")
        return 0
    standing = manager.standing()
    if action == "status":
        click.echo(standing.words)
        return 0 if standing.running else 1
    if not standing.installed:
        raise MaterializerError(
            "It is not installed; do so with: stella-materializer service install"
        )
    if action == "start":
        manager.start()
    else:
        manager.stop()
    return 0


def _manager(platform: str) -> Manager:
    home = Path.home()
    match platform:
        case "linux":
            return Systemd(os.environ, home)
        case "macos":
            return Launchd(home, os.getuid() if hasattr(os, "getuid") else 501)
        case "windows":
            domain = os.environ.get("USERDOMAIN")
            user = getpass.getuser()
            return TaskScheduler(f"{domain}\\{user}" if domain else user)
        case _:
            raise MaterializerError(f"There is no login service for {platform} here.")


def _command(**flags: Any) -> list[str]:
    """Return what a login has to run, for the settings of this very process."""
    settings = options.read(**flags)
    given = _given(settings, flags["config"])
    words = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return [*_program(), "run", *words]


def _given(settings: Settings, config: str | None) -> dict[str, object]:
    config = config or os.environ.get("STELLA_MATERIALIZER_CONFIG")
    command = settings.token_command
    return {
        "state-dir": settings.state_dir,
        "config": Path(config).expanduser().absolute() if config else None,
        "convex-url": settings.convex_url,
        "site-url": settings.site_url,
        "token-file": settings.token_file,
        "token-command": shlex.join(command) if command else None,
    }


def _program() -> list[str]:
    """Return what runs this program again, in the same environment."""
    if getattr(sys, "frozen", False):
        return [sys.executable]
    python = Path(sys.executable)
    if sys.platform == "win32":  # the one that opens no window
        python = python.with_name("pythonw.exe")
    # -P: the directory in which a login starts it lends it no modules.
    return [str(python), "-P", "-m", "materializer"]
