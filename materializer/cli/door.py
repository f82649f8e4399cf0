"""A program's front door: finds the subcommand, and tells how it ended.

Subcommands are imported when they are called. What goes wrong becomes one line on
standard error and an exit code, here alone.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from materializer import __version__
from materializer.cli.overview import Program
from materializer.errors import (
    AlreadyRunning,
    GalleryUnusable,
    GatewayError,
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
    """The command whose subcommands are modules of this package."""

    def __init__(self, program: Program) -> None:
        super().__init__(program.name, context_settings=_HELP)
        self._program = program
        click.version_option(__version__, message="%(prog)s %(version)s")(self)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the subcommands in the order in which they are told of."""
        return list(self._program.rooms)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a subcommand."""
        if cmd_name not in self._program.rooms:
            return None
        module, _ = self._program.rooms[cmd_name]
        name = cmd_name.replace("-", "_")
        command = getattr(import_module(f"materializer.cli.{module}"), name)
        assert isinstance(command, click.Command)  # noqa: S101 -- for the type checker
        return command

    def get_help(self, ctx: click.Context) -> str:
        """Return the overview, which imports no subcommand."""
        return self._program.overview()


def enter(door: Door) -> int:
    """Run a program with this process's arguments and return its exit code."""
    try:
        result = door.main(prog_name=door.name, standalone_mode=False)
    except click.exceptions.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0
    except click.UsageError as error:
        click.echo(_usage(error, door.name or ""), err=True)
        return 2
    except click.ClickException as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except MaterializerError as error:
        click.echo(f"{error}", err=True)
        if isinstance(error, SignInNeeded | GatewayError) and error.action:
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
    if error.message.startswith("Got unexpected extra argument"):
        if name != "stella-media":  # where it may be a token, which is not repeated
            return f"An argument too many (see {name} --help)"
        extra = error.message.partition("(")[2].removesuffix(")")
        return f"Unknown argument: {extra.partition(' ')[0]}"
    if error.ctx is None:  # a sentence of our own, which says it all
        return error.message
    return f"{error.format_message()} (see {name} --help)"
