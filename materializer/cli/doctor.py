"""`stella-materializer doctor`: looks at everything the daemon needs, changes nothing.

Each check says what is so and, where that is wrong, what to do about it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import click

from materializer import __version__
from materializer.cli import options
from materializer.config import Settings
from materializer.convex.token import Token
from materializer.credentials import Credentials
from materializer.errors import MaterializerError, SettingsInvalid
from materializer.ipc.client import Client
from materializer.model import Snapshot

_PATIENCE = 10.0
_START = "start it: stella-materializer run, or at every login: service install"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found.

    Attributes:
        ok: None where it could not be looked at.
        do: what would mend it.
    """

    check: str
    ok: bool | None
    says: str
    do: str | None = None


@click.command()
@options.backend
@options.as_json
def doctor(as_json: bool, **flags: Any) -> int:
    """Check what the daemon needs, and say what to do; exit 1 when something is wrong.

    Nothing is made or changed.
    """
    found = asyncio.run(_examine(flags))
    well = all(one.ok is not False for one in found)
    if as_json:
        told = {"ok": well, "checks": [asdict(one) for one in found]}
        click.echo(json.dumps(told, indent=2))
    else:
        for one in found:
            mark = {True: "ok", False: "WRONG", None: "?"}[one.ok]
            click.echo(f"{mark:<6} {one.check:<14} {one.says}")
            if one.do:
                click.echo(f"{'':<21} -> {one.do}")
    return 0 if well else 1


async def _examine(flags: dict[str, Any]) -> list[Finding]:
    try:
        settings = options.read(**flags)
    except SettingsInvalid as error:
        return [Finding("config", False, str(error), "correct it, and ask me again")]
    status = await _status(settings)
    return [
        Finding("config", True, "every setting is usable"),
        _directories(settings),
        _permissions(settings),
        _disk(settings),
        _ipc(status),
        await _token(settings, status),
        await _feed(settings, status),
        await asyncio.to_thread(_notifications, settings),
    ]


async def _status(settings: Settings) -> dict[str, Any] | str:
    """Return what the daemon says of itself, or why it does not."""
    try:
        async with Client(settings.paths.state) as daemon:
            told: dict[str, Any] = await daemon.call("daemon.status", timeout=_PATIENCE)
            return told
    except MaterializerError as error:
        return str(error)
    except TimeoutError:
        return "the daemon does not answer"


def _directories(settings: Settings) -> Finding:
    paths = settings.paths
    for path in (paths.outputs, paths.logs):
        there = next(one for one in (path, *path.parents) if os.path.lexists(one))
        if not there.is_dir():
            return Finding(
                "directories",
                False,
                f"{there} is no directory",
                "move it out of the way",
            )
        if not os.access(there, os.W_OK | os.X_OK):
            return Finding(
                "directories",
                False,
                f"nothing can be written to {there}",
                f"make it yours: chown {_me()} '{there}', or choose --state-dir",
            )
    return Finding("directories", True, f"{paths.state} can hold the state")


def _permissions(settings: Settings) -> Finding:
    private = {settings.paths.materializer: 0o022}
    if settings.token_file:
        private[settings.token_file] = 0o077
    for path, others in private.items():
        if sys.platform != "win32" and path.exists():
            held = path.stat()
            if held.st_uid != os.geteuid():
                return Finding(
                    "permissions",
                    False,
                    f"{path} belongs to user {held.st_uid}",
                    f"make it yours: chown {_me()} '{path}'",
                )
            if stat.S_IMODE(held.st_mode) & others:
                way = "go-w" if path.is_dir() else "600"
                return Finding(
                    "permissions",
                    False,
                    f"other users can get at {path}",
                    f"run: chmod {way} '{path}'",
                )
    return Finding("permissions", True, "nobody else can get at what is private")


def _disk(settings: Settings) -> Finding:
    path = settings.paths.outputs
    there = next(one for one in (path, *path.parents) if one.exists())
    free, keep = shutil.disk_usage(there).free, settings.min_free_space
    says = f"{free / 2**30:.1f} GiB are free, {keep / 2**30:.1f} GiB are kept so"
    if free > keep:
        return Finding("disk", True, says)
    return Finding("disk", False, says, "free some space, or lower min_free_space")


def _ipc(status: dict[str, Any] | str) -> Finding:
    if isinstance(status, str):
        return Finding("ipc", False, status, _START)
    version, pid = status["version"], status["pid"]
    if version != __version__:
        return Finding(
            "ipc",
            False,
            f"the daemon is version {version}, and this is {__version__}",
            "take over from it: stella-materializer run --if-not-running",
        )
    return Finding("ipc", True, f"the daemon answers, process {pid}")


async def _token(settings: Settings, status: dict[str, Any] | str) -> Finding:
    if not isinstance(status, str) and status["owner"]:
        return Finding("token", True, f"the daemon is signed in as {status['owner']}")
    sign_in = "sign in: name a file with STELLA_MEDIA_TOKEN_FILE, or auth set"
    try:
        token = await Credentials.of(settings).current()
    except SettingsInvalid as error:
        return Finding("token", False, str(error), sign_in)
    if token is None:
        return Finding("token", False, "nobody is signed in", sign_in)
    if _expired(token):
        return Finding("token", False, f"the token of {token.owner} is over", sign_in)
    return Finding("token", True, f"it is the token of {token.owner}")


def _expired(token: Token) -> bool:
    return token.expires_at is not None and token.expires_at <= time.time()


async def _feed(settings: Settings, status: dict[str, Any] | str) -> Finding:
    do = "check the network, the sign-in and STELLA_CONVEX_URL"
    if not isinstance(status, str):
        feed = status["feed"]
        words = f"{feed['state']}: {feed['lastError'] or feed['url']}"
        return Finding("feed", feed["state"] == "live", words, _unless_live(feed, do))
    return await _try_feed(settings, do)


def _unless_live(feed: dict[str, Any], do: str) -> str | None:
    return None if feed["state"] == "live" else do


async def _try_feed(settings: Settings, do: str) -> Finding:
    """Connect once, as the daemon would."""
    from materializer.feed import Feed, FeedStatus

    credentials = Credentials.of(settings)
    try:
        grant = await credentials.ask()
        url = settings.convex_url or grant.convex_url
        if url is None:
            return Finding("feed", False, "no Convex deployment is known", do)
        if grant.token is None:
            return Finding("feed", None, "not asked, as nobody is signed in")
    except SettingsInvalid:
        return Finding("feed", None, "not asked, as the token is unusable")
    end: asyncio.Future[FeedStatus] = asyncio.get_running_loop().create_future()

    def note(status: FeedStatus) -> None:
        if status.state in ("live", "signed_out", "backoff") and not end.done():
            end.set_result(status)

    feed = Feed(url, credentials, __version__, on_snapshot=_ignore, on_status=note)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(feed.run())
        feed.want(int(time.time() * 1000), int(time.time() * 1000))
        try:
            async with asyncio.timeout(_PATIENCE):
                status = await end
        except TimeoutError:
            status = feed.status
        running.cancel()
    live = status.state == "live"
    words = f"{status.state}: {status.last_error or url}"
    return Finding("feed", live, words, None if live else do)


def _ignore(_: Snapshot) -> None:
    pass


def _notifications(settings: Settings) -> Finding:
    if settings.notifications == "off":
        return Finding("notifications", True, "they are switched off")
    if sys.platform != "linux":
        return Finding("notifications", None, "only a note shows whether one is seen")
    from materializer.notify import obstacle

    if (why := obstacle()) is None:
        return Finding("notifications", True, "the desktop shows them")
    do = "log in to a desktop that has a notification service, and notify-send"
    return Finding("notifications", False, why, do)


def _me() -> str:
    return str(os.geteuid()) if sys.platform != "win32" else ""
