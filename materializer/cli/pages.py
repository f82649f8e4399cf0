"""`stella-media docs` and `completion`: what to type, to read and to complete."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from materializer.manual.pages import KINDS, page


@click.command()
@click.argument("kind", type=click.Choice(KINDS), required=False)
def docs(kind: str | None) -> None:
    """Print a page of the documentation: the overview, or that of one KIND."""
    click.echo(page(kind or ""), nl=False)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a SHELL complete these commands; put it where it starts.

    \b
    bash, in ~/.bashrc:    eval "$(stella-media completion bash)"
    zsh, in ~/.zshrc:      eval "$(stella-media completion zsh)"
    fish:  stella-media completion fish > ~/.config/fish/completions/stella-media.fish
    """
    complete = get_completion_class(shell)
    assert complete is not None  # noqa: S101 -- click knows each of the three
    door = context.find_root()
    name = door.info_name or ""
    variable = f"_{name}_COMPLETE".replace("-", "_").upper()
    click.echo(complete(door.command, {}, name, variable).source())
