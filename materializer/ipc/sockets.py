"""Unix sockets: made, taken over from the dead, removed; and whose a peer is."""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from materializer.errors import AlreadyRunning, SettingsInvalid
from materializer.ipc.address import Address

if sys.platform != "win32":
    import fcntl

_QUEUED_CLIENTS = 128


def listening(address: Address) -> socket.socket:
    """Return a socket that listens, for this user alone. Hold the instance lock.

    Raises:
        AlreadyRunning: another program answers there.
        SettingsInvalid: there can be none.
    """
    path = Path(address.path)
    made = socket.socket(socket.AF_UNIX)
    try:
        # Nobody else comes where the instance lock was asked for.
        with _turn(path.parent) if address.chosen else nullcontext():
            _free(path)
            made.bind(str(path))
            path.chmod(0o600)
            made.listen(_QUEUED_CLIENTS)
    except OSError as error:
        made.close()
        raise SettingsInvalid(f"no socket can be made at {path}: {error}") from error
    except BaseException:
        made.close()
        raise
    return made


def vacate(path: Path) -> None:
    """Remove our own socket, while it still answers.

    So nobody finds it dead, puts another in its place, and then loses that to us.
    """
    with suppress(OSError):  # what stays is replaced at the next start
        path.unlink()


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


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """Be the only daemon that makes a socket in a directory that a person chose."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = os.open(directory, os.O_RDONLY)
    try:
        found = os.fstat(held)
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise SettingsInvalid(
                f"{directory} can be changed by other users: choose a directory of"
                " your own for the socket"
            )
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _free(path: Path) -> None:
    """Remove a socket that a dead daemon left behind."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SettingsInvalid(f"{path} is in the way: move it elsewhere")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # more callers than it can take: it is alive
    raise AlreadyRunning(f"another program answers on {path}", pid=None)
