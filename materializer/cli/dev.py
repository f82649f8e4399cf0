"""`stella-materializer dev`: a whole Stella backend on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from materializer import address, host, logs, quantity
from materializer.errors import SettingsInvalid

if TYPE_CHECKING:
    from materializer.devserver.app import Backend
    from materializer.devserver.weather import Weather


_STATE = click.Path(path_type=Path, file_okay=False)


@click.group(invoke_without_command=True)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="Where to listen [where --state was served last, else any free port].",
)
@click.option(
    "--state",
    type=_STATE,
    metavar="DIR",
    help="Keeps jobs, media and keys over a restart [temporary].",
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
@click.option(
    "--rule",
    "rules",
    type=click.Choice(["paid-plan", "rate-limit", "first-words"]),
    multiple=True,
    help="A rule of the hosted gateway that is to hold; see below. Repeatable.",
)
@click.pass_context
def dev(
    context: click.Context,
    port: int,
    state: Path | None,
    allow_remote: bool,
    weather: Path | None,
    rules: tuple[str, ...],
) -> None:
    """Serve feed, gateway, sign-in and storage on one loopback port.

    With --state, a restart goes on where the last run ended.

    The first line on stdout is JSON with convexUrl, siteUrl, token and tokenFile.

    `--rule paid-plan` refuses every order for want of a plan (402), `rate-limit` takes
    20 orders an owner in five minutes (429), `first-words` says in_progress, processing
    and cancelled, as the first documentation did.

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
    if context.invoked_subcommand is not None:
        return
    logs.setup_logging("warning", "text")
    with contextlib.ExitStack() as stack:
        if state is None:
            made = tempfile.TemporaryDirectory(prefix="stella-dev-")
            state = Path(stack.enter_context(made))
        backend = embedded_backend(
            state.absolute(), port, rules, allow_remote=allow_remote
        )
        if weather:
            backend.weather = _read_weather(weather)
        asyncio.run(_serve(backend))


@dev.command()
@click.option(
    "--owner", default="dev", metavar="NAME", help="Whose token; any name will do."
)
@click.option("--expires", default="5m", metavar="IN", help="How long it is good [5m].")
@click.option(
    "--state",
    type=_STATE,
    metavar="DIR",
    help="The backend's [where STELLA_MEDIA_TOKEN_FILE is].",
)
@click.pass_context
def token(context: click.Context, owner: str, expires: str, state: Path | None) -> None:
    """Print a token for an account of a backend, whether it runs or not.

    Each account has its own jobs, and there is one for every name.
    """
    try:
        lifetime = quantity.duration(expires)
    except ValueError as error:
        raise click.BadParameter(
            f"it should be {error}.", param_hint="--expires"
        ) from error
    assert context.parent is not None  # noqa: S101 -- for the type checker
    state = state or context.parent.params["state"] or _state_told()
    with _extra():
        from materializer.devserver.accounts import token_of
    click.echo(token_of(state, owner, lifetime))


def _state_told() -> Path:
    file = os.environ.get("STELLA_MEDIA_TOKEN_FILE")
    if not file:
        raise click.UsageError("token requires --state or STELLA_MEDIA_TOKEN_FILE.")
    return Path(file).expanduser().parent


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
    state: Path,
    port: int = 0,
    rules: Iterable[str] = (),
    *,
    allow_remote: bool = False,
) -> Backend:
    """Return the backend, to be used as an async context manager.

    Args:
        rules: the names of those that hold, as `--rule` takes them.

    Raises:
        SettingsInvalid: its libraries are not installed, or the hosts from which it may
            fetch sources (STELLA_ALLOW_PRIVATE_HOSTS) are none.
    """
    with _extra():
        from materializer.devserver.app import Backend
        from materializer.devserver.rules import Rules
    holding = Rules(**{name.replace("-", "_"): True for name in rules})
    listen = "0.0.0.0" if allow_remote else "127.0.0.1"  # noqa: S104 -- asked for
    return Backend(
        state,
        port,
        host=listen,
        allow_remote=allow_remote,
        rules=holding,
        private_hosts=_private_hosts(),
    )


def _private_hosts() -> frozenset[tuple[str, int | None]]:
    name = "STELLA_ALLOW_PRIVATE_HOSTS"
    try:
        return address.private_hosts(os.environ.get(name, ""))
    except ValueError as error:
        raise SettingsInvalid(f"{name}: it should be {error}") from error


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise SettingsInvalid(
            "`dev` and `demo` need the extra `dev`:"
            " pip install 'stella-materializer[dev]'"
        ) from error
