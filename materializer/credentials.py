"""Credentials: where the token comes from and how long it is good.

A token handed over while running wins over a file, a command or a fixed value. File
and command give the bare token, or a JSON object with `token` and, where the giver
knows them, `convexUrl` and `siteUrl`; nothing at all means signed out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from materializer import address
from materializer.config import Settings
from materializer.convex.token import Token
from materializer.errors import SettingsInvalid

MAX_BYTES = 64 * 2**10
COMMAND_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Grant:
    """What a source gave: a bearer token, and perhaps where it is good.

    Attributes:
        bearer: the token as it came, or None when nobody is signed in. The gateway
            takes any; the feed needs one that names an account.
        source: words for where it came from.
    """

    bearer: str | None = field(default=None, repr=False)
    source: str = "nothing"
    convex_url: str | None = None
    site_url: str | None = None

    @property
    def token(self) -> Token | None:
        """The token, read; raises SettingsInvalid when it names no account."""
        if self.bearer is None:
            return None
        try:
            return Token.read(self.bearer)
        except SettingsInvalid as error:
            raise SettingsInvalid(f"{self.source}: {error}") from error

    @classmethod
    def read(cls, text: str, source: str) -> Grant:
        """Read what a source says; `source` names it in errors.

        Raises:
            SettingsInvalid: it is neither a token nor an object with one.
        """
        text = text.strip()
        if not text.startswith("{"):
            return cls(text or None, source)
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            # The cause would quote the text, and with it the token.
            raise SettingsInvalid(f"{source} holds broken JSON") from None
        values = [data.get(key) or None for key in ("token", "convexUrl", "siteUrl")]
        if not all(value is None or isinstance(value, str) for value in values):
            raise SettingsInvalid(
                f"{source}: token, convexUrl and siteUrl must be texts"
            )
        bearer, convex_url, site_url = values
        return cls(
            bearer,
            source,
            _address(f"{source}: convexUrl", convex_url, address.convex_url),
            _address(f"{source}: siteUrl", site_url, address.site_url),
        )


class Credentials:
    """The sign-in of this process.

    Args:
        file: holds the token.
        command: prints it; program and arguments.
        value: is it. The first of the three that is given counts.
        wall: tells the seconds since 1970.

    Attributes:
        grant: what was given last.
    """

    def __init__(
        self,
        *,
        file: Path | None = None,
        command: Sequence[str] | None = None,
        value: str | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.grant = Grant()
        self._file = file
        self._command = command
        self._value = value
        self._wall = wall
        self._override: Grant | None = None
        self._printed: Grant | None = None
        self._running = asyncio.Lock()
        self._changes = 0
        self._changed = asyncio.Event()

    @classmethod
    def of(cls, settings: Settings) -> Credentials:
        """Make the sign-in that the settings describe."""
        return cls(
            file=settings.token_file,
            command=settings.token_command,
            value=settings.token,
        )

    async def current(self, *, force: bool = False) -> Token | None:
        """Return the token, or None when nobody is signed in.

        Args:
            force: whether a token that was printed earlier will not do.

        Raises:
            SettingsInvalid: the source is unusable now; it may be mended later.
        """
        return (await self.ask(force=force)).token

    async def ask(self, *, force: bool = False) -> Grant:
        """Return what the source gives now, whether or not it names an account.

        Raises:
            SettingsInvalid: the source is unusable now; it may be mended later.
        """
        while True:
            asked = self._changes
            grant = self._override or await self._ask_source(force=force)
            if asked == self._changes:  # else the answer may be out of date
                self.grant = grant
                return grant

    def set(
        self, token: str, convex_url: str | None = None, site_url: str | None = None
    ) -> Token:
        """Let this token count until `clear`, and return it.

        Raises:
            SettingsInvalid: it is no token, or a URL is unusable.
        """
        read = Token.read(token)
        self._override = Grant(
            read.value,
            "the token that was handed over",
            _address("convexUrl", convex_url, address.convex_url),
            _address("siteUrl", site_url, address.site_url),
        )
        self.source_changed()
        return read

    def clear(self) -> None:
        """Forget the token that was `set`; the source counts again."""
        self._override = None
        self.source_changed()

    def source_changed(self) -> None:
        """Tell everybody to ask again."""
        self._printed = None
        self._changes += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def changes(self) -> AsyncIterator[None]:
        """Yield after each change from now on; several may be one."""
        return self._changes_since(self._changes)

    async def _changes_since(self, seen: int) -> AsyncIterator[None]:
        while True:
            if seen == self._changes:
                await self._changed.wait()
            seen = self._changes
            yield

    async def _ask_source(self, *, force: bool) -> Grant:
        if self._file is not None:
            text = await asyncio.to_thread(_read_file, self._file)
            return Grant.read(text, f"the token file {self._file}")
        if self._command is not None:
            async with self._running:
                return await self._ask_command(self._command, force=force)
        return Grant(self._value or None, "the token from the environment")

    async def _ask_command(self, command: Sequence[str], *, force: bool) -> Grant:
        known = self._printed
        token = known and known.token
        if known and token and not force and not token.expiring(self._wall()):
            return known
        output = await _run(command)
        self._printed = Grant.read(output, "the output of the token command")
        return self._printed


def _address(what: str, url: str | None, read: Callable[[object], str]) -> str | None:
    if url is None:
        return None
    try:
        return read(url)
    except ValueError as error:
        raise SettingsInvalid(f"{what} should be {error}") from error


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return _decode(file.read(MAX_BYTES + 1), f"the token file {path}")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise SettingsInvalid(
            f"the token file {path} cannot be read: {error.strerror}"
        ) from error


async def _run(command: Sequence[str]) -> str:
    """Return what the command prints; its errors are told without its output."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise SettingsInvalid(
            f"the token command cannot be started: {error}"
        ) from error
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            output = await _read_all(process)
            code = await process.wait()
    except TimeoutError as error:
        raise SettingsInvalid(
            f"the token command did not end within {COMMAND_SECONDS:g} s"
        ) from error
    finally:
        await _end(process)
    if code != 0:
        raise SettingsInvalid(f"the token command failed with exit code {code}")
    return _decode(output, "the output of the token command")


async def _read_all(process: asyncio.subprocess.Process) -> bytes:
    if process.stdout is None:
        return b""
    output = b""
    while piece := await process.stdout.read(MAX_BYTES):
        output += piece
        _check_length(output, "the output of the token command")
    return output


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave nothing running: neither the command nor what it started."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
    await process.communicate()


def _check_length(raw: bytes, source: str) -> None:
    if len(raw) > MAX_BYTES:
        raise SettingsInvalid(f"{source} is longer than {MAX_BYTES} bytes")


def _decode(raw: bytes, source: str) -> str:
    _check_length(raw, source)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise SettingsInvalid(f"{source} is no text") from None
