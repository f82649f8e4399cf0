"""`endpoint.json`: how clients learn where the daemon of a directory listens."""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from materializer.errors import DaemonUnreachable, SettingsInvalid
from materializer.ipc.address import HERE, make_private

PROTOCOL = 1


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What `endpoint.json` says; `started_at` is in ms since 1970."""

    path: str
    pid: int
    version: str
    started_at: int
    transport: str = HERE
    protocol: int = PROTOCOL

    def wire(self) -> dict[str, Any]:
        """Return the endpoint as JSON."""
        return {
            "protocol": self.protocol,
            "transport": self.transport,
            "path": self.path,
            "pid": self.pid,
            "version": self.version,
            "startedAt": self.started_at,
        }


def endpoint_file(state: Path) -> Path:
    """Return where the endpoint of a state directory is told."""
    return state / "materializer" / "endpoint.json"


def publish(state: Path, endpoint: Endpoint) -> None:
    """Write `endpoint.json`, all of it or nothing of it, for our eyes only.

    Raises:
        SettingsInvalid: it cannot be written.
    """
    path = endpoint_file(state)
    make_private(path.parent)
    draft = path.with_suffix(".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, flags, 0o600), "w", encoding="utf-8") as file:
            json.dump(endpoint.wire(), file)
        draft.replace(path)
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be written: {error}") from error


def withdraw(state: Path) -> None:
    """Remove `endpoint.json`; one that stays leads to nobody."""
    with suppress(OSError):
        endpoint_file(state).unlink(missing_ok=True)


def discover(path: Path) -> Endpoint:
    """Read an `endpoint.json`.

    Raises:
        DaemonUnreachable: there is none, it is not ours, or it cannot be read.
    """
    try:
        if not _only_ours(path.lstat()):
            raise DaemonUnreachable(f"{path} is not trusted: others can write it")
        told = json.loads(path.read_bytes())
        if told["protocol"] != PROTOCOL:
            raise DaemonUnreachable(
                f"the daemon that runs here, version {told['version']}, speaks"
                f" protocol {told['protocol']} and this program {PROTOCOL}: update the"
                " older of the two"
            )
        return Endpoint(
            path=str(told["path"]),
            pid=int(told["pid"]),
            version=str(told["version"]),
            started_at=int(told["startedAt"]),
            transport=str(told["transport"]),
        )
    except FileNotFoundError as error:
        raise DaemonUnreachable(
            "no daemon runs here: start it with `stella-materializer run`"
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DaemonUnreachable(f"{path} cannot be read: {error!r}") from error


def _only_ours(found: os.stat_result) -> bool:
    if sys.platform == "win32":
        return True
    ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
    return ours and not stat.S_IMODE(found.st_mode) & 0o022
