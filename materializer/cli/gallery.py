"""`stella-materializer gallery`: the index, with and without a daemon."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import click

from materializer.cli import options
from materializer.config import Paths
from materializer.errors import DaemonUnreachable
from materializer.ipc.client import Client


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def gallery() -> None:
    """Look at the index of what is on this disk."""


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
    wanted = {name: value for name, value in given.items() if value is not None}
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


async def _page(paths: Paths, wanted: dict[str, Any]) -> dict[str, Any]:
    params = {"jobId" if name == "job_id" else name: v for name, v in wanted.items()}
    try:
        async with Client(paths.state) as daemon:
            page: dict[str, Any] = await daemon.call("gallery.list", params, timeout=10)
            return page
    except DaemonUnreachable:
        return await _page_from_disk(paths, wanted)


async def _page_from_disk(paths: Paths, wanted: dict[str, Any]) -> dict[str, Any]:
    from materializer.gallery import Gallery, items, ledger

    if not paths.gallery_db.exists():
        return {"items": [], "nextCursor": None, "total": 0}
    opened = Gallery.open(paths.gallery_db, paths.outputs)
    try:
        owner = await opened.read(ledger.last_owner)
        page = await opened.read(items.page, owner, items.Wanted(**wanted))
    except ValueError as error:
        raise click.UsageError("--cursor is not one that was given") from error
    finally:
        await opened.close()
    return page.wire()
