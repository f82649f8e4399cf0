"""Settings and paths: flags over environment over file over defaults.

Every setting is looked up once, at `load`: the strongest origin that has it wins, and
an error names that origin. An empty variable counts as unset. Tokens come from a
file, a command or a variable, never from a flag's value or the config file.

Read by hand and not by pydantic: they are needed before the socket can listen, and
pydantic takes longer to load than all that is needed until then.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from materializer import address, quantity
from materializer.errors import SettingsInvalid
from materializer.origins import Given, gather

AT_ONCE = frozenset(
    "open_policy fresh_window max_bytes min_free_space notifications log_level"
    " log_format".split()
)
"""What a running daemon can go by as soon as the settings are read again."""

Level = Literal["all", "failures", "off"]
"""Of what the person is told: of all, of failed jobs alone, or of nothing."""

_MIB, _GIB = 2**20, 2**30
_Reader = Callable[[object], Any]


@dataclass(frozen=True, slots=True)
class Paths:
    """Where everything is, all absolute.

    Attributes:
        logs: the directory of the rotated log.
    """

    state: Path
    outputs: Path
    partial: Path
    thumbnails: Path
    gallery_db: Path
    materializer: Path
    lock: Path
    logs: Path

    @classmethod
    def of(cls, state: Path) -> Paths:
        """Lay out an absolute state directory; nothing is created."""
        own = state / "materializer"
        return cls(
            state=state,
            outputs=state / "media" / "outputs",
            partial=state / "media" / "outputs" / ".partial",
            thumbnails=state / "media" / "thumbnails",
            gallery_db=state / "media" / "gallery.db",
            materializer=own,
            lock=own / "daemon.lock",
            logs=own / "logs",
        )


def _path(value: object) -> Path:
    try:
        path = Path(str(value)).expanduser()
    except RuntimeError as error:
        raise ValueError("an absolute path, as no home directory is known") from error
    if re.search(r"[\x00-\x1f]", str(path)) or not str(value):
        raise ValueError("a path without control characters")
    return Path(os.path.normpath(path.absolute()))


def _command(value: object) -> tuple[str, ...]:
    try:
        arguments = tuple(shlex.split(str(value)))
    except ValueError as error:
        raise ValueError("a command whose quotes are closed") from error
    if not arguments:
        raise ValueError("a command")
    return arguments


def _device_id(value: object) -> str:
    if re.fullmatch(r"[!-~]{1,200}", text := str(value).strip()):
        return text
    raise ValueError("up to 200 printable ASCII characters without spaces")


def _waiting_time(value: object) -> float:
    if (seconds := quantity.duration(value)) > 0:
        return seconds
    raise ValueError("longer than nothing")


def _level(value: object) -> str:
    """Read a level, and yes or no, which are `all` and `off`."""
    level = str(value).strip().lower()
    if level in get_args(Level):
        return level
    try:
        return "all" if quantity.switch(value) else "off"
    except ValueError as error:
        raise ValueError("all, failures or off") from error


def _choice(*words: str) -> _Reader:
    *others, last = map(repr, words)

    def read(value: object) -> str:
        if value in words:
            return str(value)
        raise ValueError(f"{', '.join(others)} or {last}")

    return read


def _key(read: _Reader, default: object) -> Any:
    """A setting that the config file may hold, too."""
    return field(default=default, metadata={"read": read, "in_file": True})


def _given(read: _Reader, *, shown: bool = True) -> Any:
    """A setting that only a flag or a variable gives."""
    return field(default=None, repr=shown, metadata={"read": read})


@dataclass(frozen=True, slots=True)
class MaxBytes:
    """The largest output of each kind, in bytes."""

    image: int = 256 * _MIB
    audio: int = 1 * _GIB
    video: int = 16 * _GIB
    model3d: int = 4 * _GIB
    download: int = 4 * _GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that is chosen from outside. Durations are seconds, sizes bytes.

    Attributes:
        max_bandwidth: bytes a second; 0 is no limit.
        transport: who does the downloads' HTTP, see `fetch.network`.
        token_file: holds the token; at most one of the three sources is set.
        token_command: program and arguments that print it.
        token: the bearer token itself.
        allow_private_hosts: (host, port) pairs; a port of None means any.
    """

    open_policy: Literal["open", "register", "never"] = _key(
        _choice("open", "register", "never"), "open"
    )
    first_run_lookback: float = _key(quantity.duration, 600.0)
    fresh_window: float = _key(quantity.duration, 600.0)
    max_concurrent_downloads: int = _key(quantity.count, 8)
    max_per_host: int = _key(quantity.count, 6)
    max_bytes: MaxBytes = MaxBytes()
    max_bandwidth: int = _key(quantity.size, 0)
    transport: Literal["direct", "httpx"] = _key(_choice("direct", "httpx"), "direct")
    idle_timeout: float = _key(_waiting_time, 30.0)
    min_free_space: int = _key(quantity.size, 512 * _MIB)
    notifications: Literal["all", "failures", "off"] = _key(_level, "all")
    thumbnails: bool = _key(quantity.switch, default=True)
    log_level: Literal["debug", "info", "warning", "error"] = _key(
        _choice("debug", "info", "warning", "error"), "info"
    )
    log_format: Literal["text", "json"] = _key(_choice("text", "json"), "text")

    state_dir: Path = field(metadata={"read": _path})
    convex_url: str | None = _given(address.convex_url)
    site_url: str | None = _given(address.site_url)
    token_file: Path | None = field(default=None, metadata={"read": _path})
    token_command: tuple[str, ...] | None = _given(_command, shown=False)
    token: str | None = _given(str, shown=False)
    device_id: str | None = _given(_device_id)
    allow_private_hosts: frozenset[tuple[str, int | None]] = field(
        default=frozenset(), metadata={"read": address.private_hosts}
    )

    @property
    def paths(self) -> Paths:
        """Where everything is under the state directory."""
        return Paths.of(self.state_dir)

    def renewed(self, newer: Settings) -> tuple[Settings, list[str]]:
        """Return what counts at once of newer settings, and which need a restart."""
        changed = [
            key
            for key in (one.name for one in fields(Settings))
            if getattr(self, key) != getattr(newer, key)
        ]
        update = {key: getattr(newer, key) for key in changed if key in AT_ONCE}
        return replace(self, **update), [key for key in changed if key not in AT_ONCE]


def load(flags: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """Read the settings; nothing is created.

    Args:
        flags: by name with underscores, such as `max_per_host`, and `config`; None
            stands for a flag that was not given.
        environ: the process's environment.

    Raises:
        SettingsInvalid: one line: which origin holds what, and what it should be.
    """
    given, readers = _given_now(flags, environ)
    values = {key: _read(key, readers[key], one) for key, one in given.items()}
    sizes = {
        kind.name: values.pop(f"max_bytes.{kind.name}")
        for kind in fields(MaxBytes)
        if f"max_bytes.{kind.name}" in values
    }
    return Settings(max_bytes=MaxBytes(**sizes), **values)


def origins(flags: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, str]:
    """Return, in words, where each setting that is not a default was written.

    Raises:
        SettingsInvalid: a name is unknown, or the config file cannot be read.
    """
    given, _ = _given_now(flags, environ)
    return {key: one.origin for key, one in given.items()}


def _given_now(
    flags: Mapping[str, object], environ: Mapping[str, str]
) -> tuple[dict[str, Given], dict[str, _Reader]]:
    known = {one.name: one.metadata for one in fields(Settings) if one.metadata}
    kinds = {f"max_bytes.{kind.name}": quantity.size for kind in fields(MaxBytes)}
    in_file = {name for name, told in known.items() if "in_file" in told}
    readers = {name: told["read"] for name, told in known.items()} | kinds
    return gather(in_file | kinds.keys(), flags, environ), readers


def _read(key: str, read: _Reader, given: Given) -> Any:
    origin, value = given
    try:
        return read(value)
    except ValueError as error:
        written = str(value)
        secret = key.startswith("token") or re.search(r"eyJ|[@?]", written)
        shown = "not usable" if secret else repr(written)[:100]
        raise SettingsInvalid(f"{origin} is {shown}; it should be {error}") from error
