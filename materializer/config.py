"""Settings and paths: flags over environment over file over defaults.

Every setting is looked up once, at `load`: the strongest origin that has it wins, and
an error names that origin. An empty variable counts as unset. Tokens come from a
file, a command or a variable, never from a flag's value or the config file.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from materializer import address, quantity
from materializer.errors import SettingsInvalid
from materializer.origins import Given, gather

_MIB, _GIB = 2**20, 2**30


@dataclass(frozen=True, slots=True)
class Paths:
    """Where everything is, all absolute.

    Attributes:
        logs: the directory of the rotated log.
    """

    state: Path
    outputs: Path
    partial: Path
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


def _above_zero(value: float) -> float:
    if value > 0:
        return value
    raise ValueError("longer than nothing")


_Duration = Annotated[float, BeforeValidator(quantity.duration)]
_Size = Annotated[int, BeforeValidator(quantity.size)]
_Count = Annotated[int, BeforeValidator(quantity.count)]
_Hosts = frozenset[tuple[str, int | None]]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class MaxBytes(_Frozen):
    """The largest output of each kind, in bytes."""

    image: _Size = 256 * _MIB
    audio: _Size = 1 * _GIB
    video: _Size = 16 * _GIB
    model3d: _Size = 4 * _GIB
    download: _Size = 4 * _GIB


class _Keys(_Frozen):
    open_policy: Literal["open", "register", "never"] = "open"
    first_run_lookback: _Duration = 600.0
    fresh_window: _Duration = 600.0
    max_concurrent_downloads: _Count = 8
    max_per_host: _Count = 6
    max_bytes: MaxBytes = MaxBytes()
    max_bandwidth: _Size = 0
    transport: Literal["direct", "httpx"] = "direct"
    idle_timeout: Annotated[_Duration, AfterValidator(_above_zero)] = 30.0
    min_free_space: _Size = 512 * _MIB
    notifications: Annotated[bool, BeforeValidator(quantity.switch)] = True
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"


class Settings(_Keys):
    """Everything that is chosen from outside. Durations are seconds, sizes bytes.

    Attributes:
        max_bandwidth: bytes a second; 0 is no limit.
        transport: who does the downloads' HTTP, see `fetch.network`.
        token_file: holds the token; at most one of the three sources is set.
        token_command: program and arguments that print it.
        token: the bearer token itself.
        allow_private_hosts: (host, port) pairs; a port of None means any.
    """

    state_dir: Annotated[Path, BeforeValidator(_path)]
    convex_url: Annotated[str | None, BeforeValidator(address.convex_url)] = None
    site_url: Annotated[str | None, BeforeValidator(address.site_url)] = None
    token_file: Annotated[Path | None, BeforeValidator(_path)] = None
    token_command: Annotated[
        tuple[str, ...] | None, BeforeValidator(_command), Field(repr=False)
    ] = None
    token: SecretStr | None = None
    device_id: Annotated[str | None, BeforeValidator(_device_id)] = None
    allow_private_hosts: Annotated[_Hosts, BeforeValidator(address.private_hosts)] = (
        frozenset()
    )

    @property
    def paths(self) -> Paths:
        """Where everything is under the state directory."""
        return Paths.of(self.state_dir)


def load(flags: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """Read the settings; nothing is created.

    Args:
        flags: by name with underscores, such as `max_per_host`, and `config`; None
            stands for a flag that was not given.
        environ: the process's environment.

    Raises:
        SettingsInvalid: one line: which origin holds what, and what it should be.
    """
    keys = _Keys.model_fields.keys() - {"max_bytes"}
    kinds = {f"max_bytes.{kind}" for kind in MaxBytes.model_fields}
    given = gather(keys | kinds, flags, environ)
    tree: dict[str, Any] = {"max_bytes": {}}
    for key, (_, value) in given.items():
        table, _, name = key.rpartition(".")
        (tree[table] if table else tree)[name] = value
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise SettingsInvalid(_sentence(error, given)) from error


def _sentence(error: ValidationError, given: Mapping[str, Given]) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    origin, value = given[key]
    written = str(value)
    secret = key.startswith("token") or re.search(r"eyJ|[@?]", written)
    shown = "not usable" if secret else repr(written)[:100]
    context = first["ctx"]
    want = context.get("expected") or context["error"]
    return f"{origin} is {shown}; it should be {want}"
