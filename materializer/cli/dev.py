"""`stella-materializer dev`: a whole Stella backend on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from materializer import host, logs
from materializer.errors import SettingsInvalid

if TYPE_CHECKING:
    from materializer.devserver.app import Backend
    from materializer.devserver.weather import Weather


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 is any free.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keeps the keys, so that tokens and links outlive a restart [temporary].",
)
@click.option(
    "--allow-remote",
    is_flag=True,
    help="Listen for other machines too. Mind the token.",
)
@click.option(
    "--weather",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Troubles for the clients of feed and storage, as TOML; see below.",
)
def dev(
    port: int, state: Path | None, allow_remote: bool, weather: Path | None
) -> None:
    """Serve feed, gateway, sign-in and storage on one loopback port.

    The first line on stdout is JSON with convexUrl, siteUrl, token and tokenFile.

    A weather file has a table [[trouble]] for each trouble of the feed. `does` is drop,
    reset, close (with `code` and `reason`), delay (by `seconds`), refuse (with `status`
    and `body`), garbage, wrong_version, expire, duplicate or half_open.
    `connection = 2`, `after_messages` and `after_seconds` say when, `always = true`
    each time and not just the first.

    A table [[storage]] is a trouble of a download. `does` is cut, reset, stall (with
    `after_bytes` and `framing`), slow (with `rate`), refuse (with `status`, `body`,
    `retry_after` and `as_date`), redirect (with `to` and `status`), lie_length (with
    `by`), page, endless, encode, wrong_digest, changed, no_ranges or bad_range.
    `request = 2` says when, `always = true` each time.
    """
    logs.setup_logging("warning", "text")
    with contextlib.ExitStack() as stack:
        if state is None:
            made = tempfile.TemporaryDirectory(prefix="stella-dev-")
            state = Path(stack.enter_context(made))
        backend = embedded_backend(state.absolute(), port, allow_remote=allow_remote)
        if weather:
            backend.weather = _read_weather(weather)
        asyncio.run(_serve(backend))


def _read_weather(file: Path) -> Weather:
    from materializer.devserver import weather

    try:
        return weather.parse(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsInvalid(f"--weather: {file}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsInvalid(f"--weather: {file}: {error}") from error


async def _serve(unstarted: Backend) -> None:
    stop = asyncio.Event()
    with host.stop_on_signals(asyncio.get_running_loop(), stop):
        async with unstarted as backend:
            told = {
                "ready": True,
                "convexUrl": backend.convex_url,
                "siteUrl": backend.site_url,
                "token": backend.token(),
                "tokenFile": str(backend.token_file),
            }
            click.echo(json.dumps(told))
            await stop.wait()


def embedded_backend(
    state: Path, port: int = 0, *, allow_remote: bool = False
) -> Backend:
    """Return the backend, to be used as an async context manager.

    Raises:
        SettingsInvalid: its libraries are not installed.
    """
    try:
        from materializer.devserver.app import Backend
    except ImportError as error:
        raise SettingsInvalid(
            "`dev` and `demo` need the extra `dev`:"
            " pip install 'stella-materializer[dev]'"
        ) from error
    listen = "0.0.0.0" if allow_remote else "127.0.0.1"  # noqa: S104 -- asked for
    return Backend(state, port, host=listen, allow_remote=allow_remote)
