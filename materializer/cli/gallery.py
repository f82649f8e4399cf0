"""`stella-materializer gallery`: the index, with and without a daemon."""

from __future__ import annotations

import asyncio
import csv
import json
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

import click

from materializer import wording
from materializer.cli import options, upkeep
from materializer.cli.shelf import everything, looking
from materializer.config import Paths
from materializer.errors import MaterializerError
from materializer.model import GalleryItem, camel
from materializer.opener import open_on_desktop

_FIELDS = [camel(field.name) for field in fields(GalleryItem)]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def gallery() -> None:
    """Look at the index of what is on this disk, and keep it in order."""


for command in (upkeep.remove, upkeep.verify, upkeep.rebuild):
    gallery.add_command(command)


@gallery.command("list")
@options.state_dir
@options.config
@options.as_json
@click.option("--limit", default=50, type=click.IntRange(1, 500), show_default=True)
@click.option("--cursor", help="Where the page before ended.")
@click.option("--kind", help="image, video, audio, model3d, download or text.")
@click.option("--capability")
@click.option("--job-id")
@click.option("--search", help="In prompt, capability and file name.")
def list_(as_json: bool, **given: Any) -> None:
    """List the newest items first."""
    flags = {name: given.pop(name) for name in ("state_dir", "config")}
    wanted = {camel(name): value for name, value in given.items() if value is not None}
    page = asyncio.run(_page(options.read(**flags).paths, wanted))
    if as_json:
        click.echo(json.dumps(page, indent=2))
        return
    for item in page["items"]:
        size = f"{item['bytes']:>12,}"
        gone = "  (missing)" if item["missing"] else ""
        click.echo(f"{item['kind']:<9} {size}  {item['path']}{gone}")
    if page["nextCursor"]:
        click.echo(f"more: --cursor {page['nextCursor']}", err=True)


@gallery.command()
@options.state_dir
@options.config
@options.as_json
@click.argument("item_id", metavar="ID")
def show(item_id: str, as_json: bool, **flags: Any) -> None:
    """Tell all that is known of one item; an unknown one exits 1."""
    item = asyncio.run(_item(options.read(**flags).paths, item_id))
    if as_json:
        click.echo(json.dumps(item, indent=2))
        return
    for name in _FIELDS:
        if name in item:
            click.echo(f"{name:<14}{wording.shown(str(item[name]))}")


@gallery.command("open")
@options.state_dir
@options.config
@click.option("--folder", is_flag=True, help="Open the folder it is in instead.")
@click.argument("item_id", metavar="ID")
def open_(item_id: str, folder: bool, **flags: Any) -> None:
    """Open an item's file with the program that this desktop has for it."""
    item = asyncio.run(_item(options.read(**flags).paths, item_id))
    path = Path(item["path"])
    if folder:
        path = path.parent
    elif item["missing"]:
        raise MaterializerError(f"The file of {item_id} is missing: {path}")
    open_on_desktop(path)


@gallery.command()
@options.state_dir
@options.config
@click.option(
    "--format",
    "form",
    default="jsonl",
    type=click.Choice(["jsonl", "json", "csv"]),
    help="One JSON object a line, one JSON array, or a table.",
    show_default=True,
)
@click.option(
    "--output",
    "to",
    default="-",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="The file to write, instead of standard output.",
)
def export(form: str, to: str, **flags: Any) -> None:
    """Write out every item of the gallery, newest first."""
    paths = options.read(**flags).paths
    try:
        with click.open_file(to, "w", encoding="utf-8", atomic=True) as file:
            asyncio.run(_export(paths, form, file))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise MaterializerError(f"cannot write {to}: {error.strerror}") from error


async def _page(paths: Paths, wanted: dict[str, Any]) -> dict[str, Any]:
    async with looking(paths) as shelf:
        return await shelf.page(wanted)


async def _item(paths: Paths, item_id: str) -> dict[str, Any]:
    async with looking(paths) as shelf:
        item = await shelf.get(item_id)
    if item is None:
        raise MaterializerError(upkeep.UNKNOWN.format(item_id))
    return item


async def _export(paths: Paths, form: str, to: IO[Any]) -> None:
    async with looking(paths) as shelf:
        items = (item async for item, _ in everything(shelf))
        if form == "json":
            json.dump([item async for item in items], to, indent=2)
            to.write("\n")
        elif form == "csv":
            table = csv.DictWriter(to, _FIELDS, lineterminator="\n")
            table.writeheader()
            async for item in items:
                table.writerow(item)
        else:
            async for item in items:
                to.write(json.dumps(item) + "\n")
