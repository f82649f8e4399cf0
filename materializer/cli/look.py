"""`stella-materializer status` and `watch`: what is going on."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import click

from materializer.cli import options
from materializer.config import Paths
from materializer.errors import DaemonUnreachable
from materializer.ipc.client import Client
from materializer.ipc.jsonlines import SHUTTING_DOWN, RpcError

_PATIENCE = 10.0


@click.command()
@options.state_dir
@options.config
@options.as_json
def status(as_json: bool, **flags: Any) -> None:
    """Tell what the daemon is doing; exit 1 when none runs."""
    paths = options.read(**flags).paths
    if as_json:
        click.echo(json.dumps(asyncio.run(_ask(paths, "daemon.status"))[0], indent=2))
        return
    told, newest, waiting = asyncio.run(
        _ask(paths, "daemon.status", "gallery.list", "job.list")
    )
    for name, words in _lines(told, newest["items"], waiting["jobs"]):
        click.echo(f"{name:<15}{words}")


_PARAMS: dict[str, dict[str, Any]] = {
    "gallery.list": {"limit": 1},
    "job.list": {"state": "pending", "limit": 5},
}


async def _ask(paths: Paths, *methods: str) -> list[dict[str, Any]]:
    async with Client(paths.state) as daemon:
        return [
            await daemon.call(method, _PARAMS.get(method), _PATIENCE)
            for method in methods
        ]


def _lines(
    told: dict[str, Any], newest: list[dict[str, Any]], waiting: list[dict[str, Any]]
) -> list[tuple[str, str]]:
    feed, jobs, disk = told["feed"], told["jobs"], told["disk"]
    state = feed["state"] + (f" ({feed['lastError']})" if feed["lastError"] else "")
    free = disk["freeBytes"]
    room = f"{free / 2**30:.1f} GiB free" if free is not None else "unreadable"
    if disk["paused"]:
        room += f", downloads paused: {disk.get('error', 'too little room')}"
    since, gap = told["since"], feed["gap"]
    return [
        ("version", f"{told['version']}, process {told['pid']}"),
        ("running for", _span(told["uptimeMs"])),
        ("state", told["stateDir"]),
        ("signed in as", told["owner"] or "nobody"),
        ("feed", f"{state}  {feed['url']}, {feed['reconnects']} reconnects"),
        *([("gap", f"jobs before {_moment(gap)} may be hidden")] if gap else []),
        ("jobs", ", ".join(f"{count} {name}" for name, count in jobs.items())),
        (
            "gallery",
            f"{told['gallery']['items']} items, {told['gallery']['bytes']:,} bytes",
        ),
        *[("last output", _output(item)) for item in newest],
        *[("waiting", _waiting(job, told)) for job in waiting],
        ("disk", room),
        ("settled until", _moment(since) if since is not None else "-"),
        ("notifications", told["notifications"] or "none so far"),
    ]


@click.command()
@options.state_dir
@options.config
@options.as_json
@click.option("--consumer", default="stella-materializer-watch", metavar="NAME")
@click.option("--after", type=int, metavar="SEQ", help="Begin after this number.")
def watch(as_json: bool, consumer: str, after: int | None, **flags: Any) -> None:
    """Print display updates as they come, one a line, until interrupted."""
    asyncio.run(_watch(options.read(**flags).paths, consumer, after, as_json=as_json))


async def _watch(
    paths: Paths, consumer: str, after: int | None, *, as_json: bool
) -> None:
    params: dict[str, Any] = {"consumer": consumer}
    if after is not None:
        params["after"] = after
    async with Client(paths.state) as daemon:
        await daemon.call("display.subscribe", params, timeout=10)
        async for sent in daemon.notifications():
            if sent.method != "display.update":
                continue
            click.echo(json.dumps(sent.params) if as_json else _update(sent.params))
            seq = {"consumer": consumer, "seq": sent.params["seq"]}
            try:
                await daemon.call("display.ack", seq, timeout=10)
            except DaemonUnreachable:
                break  # what it did not take will come again
            except RpcError as error:
                if error.rpc_code != SHUTTING_DOWN:
                    raise
                break
    click.echo("the daemon has stopped", err=True)


def _output(item: dict[str, Any]) -> str:
    gone = ", but the file is gone" if item["missing"] else ""
    return f"{item['fileName']}, saved {_moment(item['savedAt'])}{gone}"


def _waiting(job: dict[str, Any], told: dict[str, Any]) -> str:
    """Return which job waits, and why, as far as that is known."""
    why = job["error"]
    if told["owner"] is None:
        why = "nobody is signed in"
    elif told["disk"]["paused"]:
        why = "the disk"
    due = job["nextAttemptAt"]
    when = f", next attempt {_moment(due)}" if due else ""
    return f"{job['jobId']}: {why or 'its turn will come'}{when}"


def _update(update: dict[str, Any]) -> str:
    payload = update["payload"]
    asset = payload["asset"]
    what = asset.get("filePaths") or [asset.get("filePath") or asset.get("text", "")]
    head = f"{update['seq']:>5}  {update['action']:<8}  {asset['kind']:<8}"
    return f"{head}  {payload['jobId']}  {' '.join(what)}"


def _span(ms: int) -> str:
    seconds = ms // 1000
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s"


def _moment(ms: int) -> str:
    moment = datetime.fromtimestamp(ms / 1000, UTC).astimezone()
    return moment.isoformat(sep=" ", timespec="seconds")
