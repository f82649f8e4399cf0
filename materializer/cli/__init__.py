"""The doors: `stella-materializer` and `stella-media`.

Commands are imported when they are called, so that `--help` and `--version` answer at
once. What goes wrong becomes one line on standard error and an exit code, here alone.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from materializer import __version__
from materializer.errors import (
    AlreadyRunning,
    GalleryUnusable,
    MaterializerError,
    SettingsInvalid,
    SignInNeeded,
)

_EXIT_CODES: tuple[tuple[type[MaterializerError], int], ...] = (
    (SettingsInvalid, 2),
    (GalleryUnusable, 2),
    (AlreadyRunning, 3),
    (SignInNeeded, 77),
    (MaterializerError, 1),
)
_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 88}


class Door(click.Group):
    """A command whose subcommands are modules of this package, imported when called.

    Args:
        rooms: for each subcommand the module and, for the overview, one line.
    """

    def __init__(
        self, *args: Any, rooms: dict[str, tuple[str, str]], **kw: Any
    ) -> None:
        super().__init__(*args, **kw)
        self._rooms = rooms

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the subcommands in the order in which they are told of."""
        return list(self._rooms)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a subcommand."""
        if cmd_name not in self._rooms:
            return None
        module, _ = self._rooms[cmd_name]
        name = cmd_name.replace("-", "_")
        command = getattr(import_module(f"materializer.cli.{module}"), name)
        assert isinstance(command, click.Command)  # noqa: S101 -- for the type checker
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the overview without importing a single subcommand."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, say) for name, (_, say) in self._rooms.items()])


@click.group(
    cls=Door,
    context_settings=_HELP,
    rooms={
        "run": ("run", "The daemon, in the foreground."),
        "status": ("look", "What the daemon is doing."),
        "watch": ("look", "Print display updates as they come."),
        "gallery": ("gallery", "The index of what is on this disk."),
        "auth": ("auth", "Hand the running daemon a token, or take it back."),
        "dev": ("dev", "A whole Stella backend on this machine, without an account."),
        "demo": ("demo", "Backend and daemon together, with one job of every kind."),
    },
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def _materializer() -> None:
    """Make finished AI media be there: on disk, in the gallery, on the screen."""


def materializer() -> None:
    """Run `stella-materializer`."""
    sys.exit(enter(_materializer, "stella-materializer"))


def media() -> None:
    """Run `stella-media`."""
    from materializer.cli.media import media as command

    sys.exit(enter(command, "stella-media"))


def enter(command: click.Command, name: str) -> int:
    """Run a command with this process's arguments and return its exit code."""
    try:
        result = command.main(prog_name=name, standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.UsageError as error:
        click.echo(_usage(error, name), err=True)
        return 2
    except click.ClickException as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except MaterializerError as error:
        click.echo(f"{error}", err=True)
        if isinstance(error, SignInNeeded) and error.action:
            click.echo(error.action, err=True)
        return next(code for kind, code in _EXIT_CODES if isinstance(error, kind))
    except BrokenPipeError:
        # Whoever read our output has gone; that is no failure of ours.
        sys.stdout = None  # nor must the exit flush it
        return 0
    return result if isinstance(result, int) else 0


def _usage(error: click.UsageError, name: str) -> str:
    if isinstance(error, click.NoSuchOption):
        return f"Unknown argument: {error.option_name}"
    if error.message.startswith("No such command"):
        return f"Unknown command: {error.message.split(chr(39))[1]}"
    if error.ctx is None:  # a sentence of our own, which says it all
        return error.message
    return f"{error.format_message()} (see {name} --help)"
