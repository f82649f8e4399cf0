"""`stella-media`: what its commands are, each of them imported when it is called."""

from __future__ import annotations

import click

from materializer.cli.door import Door
from materializer.cli.overview import MEDIA
from materializer.errors import SettingsInvalid


class _Media(Door):
    """Tells of a wrong argument before a wrong command, as the app's own one does."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand."""
        if self.get_command(ctx, args[0]) is None and args[1:]:
            raise SettingsInvalid(f"Unknown argument: {args[1]}")
        return super().resolve_command(ctx, args)


media = _Media(MEDIA)
