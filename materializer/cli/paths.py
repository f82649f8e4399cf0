"""`stella-materializer paths` and `config`: where things are, and who said so."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, fields
from typing import Any

import click

from materializer import config as settings_room
from materializer import quantity
from materializer.cli import options
from materializer.config import Settings

_SIZES = ("max_bytes.", "max_bandwidth", "min_free_space")
_SECRET = {"token", "token_command"}


@click.command()
@options.state_dir
@options.config
@options.as_json
def paths(as_json: bool, **flags: Any) -> None:
    """Print where everything is; nothing is made."""
    told = {
        name: str(path) for name, path in asdict(options.read(**flags).paths).items()
    }
    _print(told, as_json=as_json)


@click.command()
@options.backend
@options.as_json
@click.option("--origins", is_flag=True, help="Tell where each setting was written.")
def config(as_json: bool, origins: bool, **flags: Any) -> None:
    """Print the settings as they count here; what is secret is only said to be set."""
    values = _values(options.read(**flags))
    if not origins:
        _print(values, as_json=as_json)
        return
    written = settings_room.origins(flags, os.environ)
    told = {
        key: {"value": value, "origin": written.get(key, "the default")}
        for key, value in values.items()
    }
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    for key, one in told.items():
        click.echo(f"{key:<26}{_words(key, one['value']):<26}  {one['origin']}")


def _values(settings: Settings) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for one in fields(settings):
        value = getattr(settings, one.name)
        if one.name == "max_bytes":
            values |= {
                f"max_bytes.{kind}": size for kind, size in asdict(value).items()
            }
        elif one.name == "allow_private_hosts":
            hosts = (f"{host}:{port}" if port else host for host, port in value)
            values[one.name] = ",".join(sorted(hosts))
        elif one.name in _SECRET:
            values[one.name] = "(set)" if value else None
        else:
            values[one.name] = (
                value if isinstance(value, int | float | None) else str(value)
            )
    return values


def _print(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    width = max(map(len, told))
    for name, value in told.items():
        click.echo(f"{name:<{width}}  {_words(name, value)}")


def _words(key: str, value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "true" if value else "false"
        case float():
            return quantity.written_duration(value)
        case int() if key.startswith(_SIZES):
            return quantity.written_size(value)
    return str(value)
