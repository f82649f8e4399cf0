"""Where to listen: what a person chose, or what a state directory has."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from materializer.errors import SettingsInvalid

Transport = Literal["unix", "pipe", "stdio"]

HERE: Transport = "pipe" if sys.platform == "win32" else "unix"
"""The transport of this system."""

# sockaddr_un holds 104 bytes on macOS and 108 on Linux, the closing zero included.
_LONGEST_SOCKET_PATH = 103
_PIPES = "\\\\.\\pipe\\"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen.

    Attributes:
        path: of the socket, or the name of the pipe; empty with `stdio`.
        chosen: whether a person chose it, so that daemons of other state directories
            may want it too.
    """

    transport: Transport
    path: str = ""
    chosen: bool = True

    @classmethod
    def read(cls, listen: str) -> Address:
        """Read `unix://PATH`, `pipe://NAME` or `stdio://`.

        Raises:
            SettingsInvalid: it is none of them, or none for this system.
        """
        transport, _, path = listen.partition("://")
        if listen == "stdio://":
            return STDIO
        if transport != HERE or not path:
            usual = "pipe://NAME" if HERE == "pipe" else "unix://PATH"
            raise SettingsInvalid(
                f"--listen is {listen!r}; it should be {usual} or stdio://"
            )
        if transport == "pipe":
            return cls("pipe", _PIPES + path.removeprefix(_PIPES))
        return cls("unix", str(Path(path).absolute()))

    @classmethod
    def usual(cls, state: Path) -> Address:
        """Return the address of a state directory.

        A socket's directory is made, so that only we can enter it. It lies with the
        temporary files where the state directory's path is too long for a socket.

        Raises:
            SettingsInvalid: that directory is not ours, or is none.
        """
        if HERE == "pipe":
            return cls("pipe", f"{_PIPES}{_name(state)}", chosen=False)
        path = state / "materializer" / "materializer.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            path = _spare(state) / "ipc.sock"
        make_private(path.parent)
        return cls("unix", str(path), chosen=False)


STDIO = Address("stdio")
"""The process's own standard input and output."""


def tidy(state: Path) -> None:
    """Remove the directory that `usual` made with the temporary files, if it did."""
    with suppress(OSError):
        _spare(state).rmdir()


def make_private(directory: Path) -> None:
    """Make sure that there is a directory which only we can enter.

    Raises:
        SettingsInvalid: it is not ours, or cannot be made.
    """
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


def _name(state: Path) -> str:
    digest = hashlib.sha256(os.fsencode(state.absolute())).hexdigest()
    return f"stella-materializer-{digest[:16]}"


def _spare(state: Path) -> Path:
    return Path(tempfile.gettempdir(), _name(state))
