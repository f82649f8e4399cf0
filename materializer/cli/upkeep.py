"""`stella-materializer gallery remove`, `verify`, `rebuild`: keep it in order."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click

from materializer.cli import options
from materializer.cli.shelf import ask, everything, looking
from materializer.config import Paths, Settings
from materializer.errors import DaemonUnreachable, MaterializerError
from materializer.inspection import digest
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import NOT_FOUND, RpcError
from materializer.place import Places

UNKNOWN = "Nothing in the gallery is called {}."


@click.command()
@options.state_dir
@options.config
@click.option("--delete-file", is_flag=True, help="Delete its file as well.")
@click.argument("item_id", metavar="ID")
def remove(item_id: str, delete_file: bool, **flags: Any) -> None:
    """Take an item out of the gallery for ever; its file stays unless told."""
    settings = options.read(**flags)
    if not asyncio.run(_remove(settings, item_id, delete_file=delete_file)):
        raise MaterializerError(UNKNOWN.format(item_id))
    click.echo(f"removed {item_id}" + (" and its file" if delete_file else ""))


@click.command()
@options.state_dir
@options.config
def verify(**flags: Any) -> int:
    """Read every file again; exit 1 and name each that is not as it was saved.

    One that is meant to be away is no longer asked for once it is removed from the
    gallery.
    """
    return asyncio.run(_verify(options.read(**flags).paths))


@click.command()
@options.state_dir
@options.config
def rebuild(**flags: Any) -> int:
    """Enter the files in the outputs directory that the gallery does not know.

    What was removed from it stays removed. Exit 1 when a file is not whole.
    """
    told = asyncio.run(_rebuild(options.read(**flags)))
    for name in told["damaged"]:
        click.echo(f"not whole, left out: {name}")
    click.echo(f"{_files(told['added'])} entered")
    return 1 if told["damaged"] else 0


async def _remove(settings: Settings, item_id: str, *, delete_file: bool) -> bool:
    params = {"id": item_id, "deleteFile": delete_file}
    try:
        async with Client(settings.paths.state) as daemon:
            await ask(daemon, "gallery.remove", params)
    except DaemonUnreachable:
        from materializer import errand

        return await errand.remove(settings, item_id, delete_file=delete_file)
    except RpcError as error:
        if error.rpc_code == NOT_FOUND:
            return False
        raise
    return True


async def _rebuild(settings: Settings) -> dict[str, Any]:
    try:
        async with Client(settings.paths.state) as daemon:
            return await ask(daemon, "gallery.rebuild", {}, timeout=None)
    except DaemonUnreachable:
        from materializer import errand

        rebuilt = await errand.rebuild(settings)
        return {"added": rebuilt.added, "damaged": rebuilt.damaged}


async def _verify(paths: Paths) -> int:
    places = Places(paths.outputs, paths.partial)
    seen = damaged = 0
    async with looking(paths) as shelf:
        async for item, total in everything(shelf):
            seen += 1
            _progress(f"{seen} of {_files(total)}")
            flaw = _flaw(places, item)
            if flaw is not None:
                damaged += 1
                _progress("")
                click.echo(f"{flaw}: {item['path']}")
    _progress("")
    if damaged:
        click.echo(f"{damaged} of {_files(seen)} not as saved")
        return 1
    click.echo(f"{_files(seen)}, as saved")
    return 0


def _flaw(places: Places, item: dict[str, Any]) -> str | None:
    """Return what is wrong with an item's file, in a word or two, or None.

    Raises:
        DiskTrouble: the outputs directory is not there.
    """
    path = places.outputs / item["fileName"]
    try:
        with open(path, "rb", opener=places.opener) as file:
            return None if digest(file) == item["sha256"] else "damaged"
    except FileNotFoundError:
        places.free()  # the disk itself may be away
        return "missing"
    except OSError as error:
        return f"unreadable ({error.strerror})"


def _progress(words: str) -> None:
    """Show how far it is, on a terminal, in place of what was shown before."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[2K{words}", err=True, nl=False)


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"
