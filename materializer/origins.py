"""Where a setting is written: a flag, a variable, or the config file.

Only finds and names; what a value means is decided in `config`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import platformdirs

from materializer.errors import SettingsInvalid

_PREFIX = "STELLA_MATERIALIZER_"
_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "config": (f"{_PREFIX}CONFIG",),
    "state_dir": ("STELLA_STATE_DIR", "STELLA_DATA_DIR"),
    "convex_url": ("STELLA_CONVEX_URL", "CONVEX_URL"),
    "site_url": (
        "STELLA_MEDIA_BASE_URL",
        "STELLA_SITE_URL",
        "STELLA_API",
        "STELLA_LLM_PROXY_URL",
    ),
    "token_file": ("STELLA_MEDIA_TOKEN_FILE",),
    "token_command": ("STELLA_MEDIA_TOKEN_COMMAND",),
    "token": (
        "STELLA_MEDIA_AUTH_TOKEN",
        "STELLA_AUTH_TOKEN",
        "STELLA_TOKEN",
        "STELLA_LLM_PROXY_TOKEN",
    ),
    "device_id": ("STELLA_DEVICE_ID",),
    "allow_private_hosts": ("STELLA_ALLOW_PRIVATE_HOSTS",),
}
_HOMES = ("STELLA_HOME", "STELLA_ROOT")
_TOKEN_SOURCES = ("token_file", "token_command", "token")
_FLAGLESS = {"token", "device_id", "allow_private_hosts"}


class Given(NamedTuple):
    """A value as it was written, and words for the place it was written in."""

    origin: str
    value: object


def gather(
    keys: Collection[str], flags: Mapping[str, object], environ: Mapping[str, str]
) -> dict[str, Given]:
    """Return the strongest origin of each setting; the defaults of keys are left out.

    Of the token's three sources only the strongest is returned.

    Args:
        keys: what the config file may hold, a table's entries as "table.entry";
            each is also a flag and a variable.
        flags: by name with underscores; None stands for one that was not given.
        environ: the process's environment.

    Raises:
        SettingsInvalid: a name is unknown, or the config file cannot be read.
    """
    names = {key: (_PREFIX + key.upper(),) for key in _heads(keys)} | dict(_VARIABLES)
    ours = [name for name in environ if name.startswith(_PREFIX)]
    _refuse_unknown("variable", ours, {one for many in names.values() for one in many})
    by_flag = _spread("flag", _flags(flags), {*keys, *_VARIABLES} - _FLAGLESS)
    by_variable = _spread("setting", _variables(names, environ), {*keys, *_VARIABLES})
    merged = by_variable | by_flag
    by_file = _spread("key of the config file", _file(merged.pop("config", None)), keys)
    for source in _weaker_tokens(by_flag, by_variable):
        merged.pop(source, None)
    return by_file | merged


def flagless(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that are set and that no option of `service` stands for."""
    known = {name for key in _FLAGLESS for name in _VARIABLES[key]}
    return sorted(
        name
        for name in environ
        if environ[name]
        and (name in known or name.startswith(_PREFIX))
        and name not in _VARIABLES["config"]
    )


def _weaker_tokens(*stages: Mapping[str, Given]) -> list[str]:
    sources = [
        source for stage in stages for source in _TOKEN_SOURCES if source in stage
    ]
    return [source for source in _TOKEN_SOURCES if source not in sources[:1]]


def _flags(flags: Mapping[str, object]) -> dict[str, Given]:
    return {
        key: Given(f"--{key.replace('_', '-')}", value)
        for key, value in flags.items()
        if value is not None
    }


def _variables(
    names: Mapping[str, Iterable[str]], environ: Mapping[str, str]
) -> dict[str, Given]:
    given = {"state_dir": Given("the default state directory", "~/.stella/state")}
    for name in reversed(_HOMES):
        if environ.get(name):
            given["state_dir"] = Given(name, f"{environ[name]}/state")
    for key, alternatives in names.items():
        for name in [name for name in alternatives if environ.get(name)][:1]:
            given[key] = Given(name, environ[name])
    return given


def _file(named: Given | None) -> dict[str, Given]:
    folder = platformdirs.user_config_path("stella-materializer", appauthor=False)
    path = Path(str(named.value)) if named else folder / "config.toml"
    try:
        held = tomllib.loads(path.expanduser().read_text("utf-8"))
    except FileNotFoundError as error:
        if named is None:
            return {}
        raise SettingsInvalid(f"{named.origin}: there is no {str(path)!r}") from error
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RuntimeError) as error:
        raise SettingsInvalid(f"{path} is not usable: {error}") from error
    return {key: Given(f"{path}: {key}", value) for key, value in held.items()}


def _heads(keys: Iterable[str]) -> list[str]:
    return [key.partition(".")[0] for key in keys]


def _spread(
    what: str, written: Mapping[str, Given], known: Collection[str]
) -> dict[str, Given]:
    """Give each entry of a table a name and an origin of its own."""
    tables = set(_heads(known)) - set(known)
    spread: dict[str, Given] = {}
    for key, given in written.items():
        entries = _entries(key, given) if key in tables else {key: given}
        _refuse_unknown(what, entries, known)
        spread |= entries
    return spread


def _entries(key: str, given: Given) -> dict[str, Given]:
    """Read a table: a mapping, or `image=20MiB,video=1GiB`."""
    if isinstance(given.value, Mapping):
        table = given.value
    else:
        parts = [entry.partition("=") for entry in str(given.value).split(",")]
        if not all(equals for _, equals, _ in parts):
            raise SettingsInvalid(
                f"{given.origin} should be like image=20MiB,audio=1GiB"
            )
        table = {name.strip(): value for name, _, value in parts}
    return {
        f"{key}.{name}": Given(f"{given.origin}: {name}", value)
        for name, value in table.items()
    }


def _refuse_unknown(what: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            # Loaded by who has mistyped, and by nobody else.
            from difflib import get_close_matches

            near = get_close_matches(name, sorted(known), n=1)
            hint = f"did you mean {near[0]}?" if near else "see the README for all"
            if "token" in name.lower():
                hint = "name the file that holds the token with STELLA_MEDIA_TOKEN_FILE"
            raise SettingsInvalid(f"{name!r} is no {what}; {hint}")
