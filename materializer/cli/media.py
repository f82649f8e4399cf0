"""`stella-media`: what its commands are, each of them imported when it is called."""

from __future__ import annotations

import click

from materializer.cli.door import Door
from materializer.cli.overview import MEDIA
from materializer.errors import SettingsInvalid

_HELP = {"-h", "--help"}


class _Media(Door):
    """Tells of a wrong argument before a wrong command, as the app's own one does.

    It also answers who asks for help, wherever they do, whatever else is wrong.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the arguments of the whole line."""
        if _HELP & {*args}:
            args = [name for name in args[:1] if name in MEDIA.rooms] + ["--help"]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand."""
        if self.get_command(ctx, args[0]) is None and args[1:]:
            raise SettingsInvalid(f"Unknown argument: {args[1]}")
        return super().resolve_command(ctx, args)


media = _Media(MEDIA)
