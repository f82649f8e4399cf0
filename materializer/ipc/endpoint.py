"""Where the daemon of a state directory listens, and how clients learn of it."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from materializer.errors import AlreadyRunning, DaemonUnreachable, SettingsInvalid

PROTOCOL = 1

# sockaddr_un holds 104 bytes on macOS and 108 on Linux, the closing zero included.
_LONGEST_SOCKET_PATH = 103
_PEER_ANSWER_TIME = 1.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What `endpoint.json` says; `started_at` is in ms since 1970."""

    path: str
    pid: int
    version: str
    started_at: int
    transport: str = "pipe" if sys.platform == "win32" else "unix"
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


def pipe_name(state: Path) -> str:
    """Return the named pipe of a state directory."""
    return rf"\\.\pipe\stella-materializer-{_digest(state)}"


def socket_path(state: Path) -> Path:
    """Return the socket of a state directory, in a directory that only we can enter.

    It lies with the temporary files where the state directory's path is too long for
    a socket.

    Raises:
        SettingsInvalid: that directory is not ours, or is none.
    """
    path = endpoint_file(state).with_name("materializer.sock")
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        path = Path(tempfile.gettempdir(), f"stella-{_digest(state)}", "ipc.sock")
    _make_private(path.parent)
    return path


def free(path: Path) -> None:
    """Remove a socket that a dead daemon left behind. Hold the instance lock.

    Raises:
        AlreadyRunning: somebody answers on it.
        SettingsInvalid: it is no socket, so it is not ours to remove.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SettingsInvalid(f"{path} is in the way: move it elsewhere")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PEER_ANSWER_TIME)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise AlreadyRunning(f"another program answers on {path}", pid=None)


def vacate(state: Path, path: Path) -> None:
    """Remove our own socket, and its directory where that was made for it."""
    path.unlink(missing_ok=True)
    if path.parent != endpoint_file(state).parent:
        path.parent.rmdir()


def publish(state: Path, endpoint: Endpoint) -> None:
    """Write `endpoint.json`, all of it or nothing of it, for our eyes only.

    Raises:
        SettingsInvalid: it cannot be written.
    """
    path = endpoint_file(state)
    _make_private(path.parent)
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
    """Remove `endpoint.json`."""
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
        return Endpoint(
            path=str(told["path"]),
            pid=int(told["pid"]),
            version=str(told["version"]),
            started_at=int(told["startedAt"]),
            transport=str(told["transport"]),
            protocol=int(told["protocol"]),
        )
    except FileNotFoundError as error:
        raise DaemonUnreachable(
            "no daemon runs here: start it with `stella-materializer run`"
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DaemonUnreachable(f"{path} cannot be read: {error!r}") from error


def peer_is_us(peer: socket.socket) -> bool:
    """Return whether the other end of a Unix socket belongs to the same user."""
    if sys.platform == "win32":
        return True  # pipes have no such question
    if sys.platform == "linux":
        ucred = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, uid, _ = struct.unpack("3i", ucred)
    else:
        # LOCAL_PEERCRED of <sys/un.h>: the version and uid of a struct xucred.
        _, uid = struct.unpack_from("2I", peer.getsockopt(0, 1, 76))
    return bool(uid == os.getuid())


def _digest(state: Path) -> str:
    return hashlib.sha256(os.fsencode(state.absolute())).hexdigest()[:16]


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
        if sys.platform == "win32":
            return
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise SettingsInvalid(f"{directory} is no directory of yours")
        if stat.S_IMODE(found.st_mode) != 0o700:
            directory.chmod(0o700)
    except OSError as error:
        raise SettingsInvalid(f"{directory} cannot be made: {error}") from error


def _only_ours(found: os.stat_result) -> bool:
    if sys.platform == "win32":
        return True
    ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid()
    return ours and not stat.S_IMODE(found.st_mode) & 0o022
