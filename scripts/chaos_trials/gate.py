"""A gate at a daemon's system calls, by seccomp: they wait to be let go on.

It counts the calls of all threads together, costs some microseconds a call, and needs
no right. Linux tells of a call before anything of it has been done.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FILES = {
    "read": 0,
    "write": 1,
    "lseek": 8,
    "pread64": 17,
    "pwrite64": 18,
    "flock": 73,
    "fsync": 74,
    "fdatasync": 75,
    "ftruncate": 77,
    "getdents64": 217,
}
_NAMES = {"rename": 82, "mkdir": 83, "link": 86, "unlink": 87}
_NAMES_IN = {
    "openat": 257,
    "newfstatat": 262,
    "unlinkat": 263,
    "renameat": 264,
    "linkat": 265,
    "renameat2": 316,
}
NUMBERS = _FILES | _NAMES | _NAMES_IN
"""The calls by number, of x86-64: by open file, by name, by name in a folder."""
CHANGES = (
    *("write", "pwrite64", "ftruncate", "fsync", "fdatasync", "mkdir", "openat"),
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat"),
)
"""The calls that change what is on the disk, or make it last."""

_X86_64 = 0xC000003E
_ALLOW, _ASK, _FAIL = 0x7FFF0000, 0x7FC00000, 0x00050000
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 317, 1
_NEW_LISTENER, _WAIT_KILLABLE = 8, 32
_RECEIVE, _SEND, _GO_ON = 0xC0502100, 0xC0182101, 1
_NOTICE = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Strike:
    """What happens at one call that concerns a folder.

    Attributes:
        calls: their names; the others are not counted.
        folder: what a call must concern.
        turn: at which of the calls it happens, from 1 on; 0 only counts.
        error: with which error number that one fails; 0 is SIGKILL.
    """

    calls: tuple[str, ...]
    folder: str
    turn: int
    error: int = 0


def lacking() -> str | None:
    """Return what this machine has not that a gate needs, if there is something."""
    if sys.platform == "linux" and platform.machine() == "x86_64":
        return None
    return "Linux on x86-64"


def shut(calls: Sequence[str]) -> int:
    """Shut the gate of this process; return the open file by which it is kept."""
    return _install(calls, _ASK, _NEW_LISTENER | _WAIT_KILLABLE)


def pretend(calls: Sequence[str]) -> None:
    """Let calls of this process succeed, and do nothing, from now on."""
    _install(calls, _FAIL, 0)


def _install(calls: Sequence[str], action: int, flags: int) -> int:
    tests = [
        instruction
        for name in calls
        for instruction in (
            (_IF_EQUAL, 0, 1, NUMBERS[name]),
            (_RETURN, 0, 0, action),
        )
    ]
    program = b"".join(
        _INSTRUCTION.pack(*instruction)
        for instruction in (
            (_LOAD, 0, 0, 4),
            (_IF_EQUAL, 1, 0, _X86_64),
            (_RETURN, 0, 0, _ALLOW),
            (_LOAD, 0, 0, 0),
            *tests,
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    code = ctypes.create_string_buffer(program, len(program))
    length = len(program) // _INSTRUCTION.size
    header = ctypes.create_string_buffer(
        struct.pack("@HP", length, ctypes.addressof(code))
    )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        kept = int(libc.syscall(_SECCOMP, _FILTER, flags, header))
        if kept >= 0:
            return kept
    number = ctypes.get_errno()
    raise OSError(number, f"seccomp: {os.strerror(number)}")


class Keeper:
    """Keeps the gate of a daemon, in the running event loop, until that is gone.

    Args:
        strike: what it does at one call.
        pid: the daemon's.
        sent: over which the daemon sends the open file that `shut` has returned.

    Attributes:
        calls: how many calls came, of those that count.
        struck: whether the strike has come.
    """

    def __init__(self, strike: Strike, pid: int, sent: socket.socket) -> None:
        self._strike = strike
        self._pid = pid
        self._loop = asyncio.get_running_loop()
        self._gate = -1
        self.calls = 0
        self.struck = False
        self._loop.add_reader(sent, self._begin, sent)

    def _begin(self, sent: socket.socket) -> None:
        self._loop.remove_reader(sent)
        with sent:
            _, files, _, _ = socket.recv_fds(sent, 1, 1)
        if files:  # or it was killed before
            self._gate = files[0]
            self._loop.add_reader(self._gate, self._answer)

    def _answer(self) -> None:
        asked = select.poll()
        asked.register(self._gate, select.POLLIN)
        events = dict(asked.poll(0)).get(self._gate, 0)
        if events & select.POLLHUP:
            self._loop.remove_reader(self._gate)
            os.close(self._gate)
        elif events & select.POLLIN:  # else a signal has taken the call back
            self._take()

    def _take(self) -> None:
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self._gate, _RECEIVE, notice)
            number, caller, _, call, _, _, *words = _NOTICE.unpack(notice)
            struck = self._counts(caller, call, words)
            if struck and not self._strike.error:
                os.kill(self._pid, signal.SIGKILL)
            else:
                answer = (-self._strike.error, 0) if struck else (0, _GO_ON)
                fcntl.ioctl(self._gate, _SEND, _ANSWER.pack(number, 0, *answer))
        except (FileNotFoundError, ProcessLookupError):
            return  # the caller was killed meanwhile
        self.struck = self.struck or struck

    def _counts(self, caller: int, call: int, words: Sequence[int]) -> bool:
        """Count a call, if it does; return whether it is the one to strike."""
        folder = self._strike.folder
        if not f"{_place(caller, call, words)}/".startswith(f"{folder}/"):
            return False
        self.calls += 1
        return self.calls == self._strike.turn


def _place(caller: int, call: int, words: Sequence[int]) -> str:
    """Return what a call concerns, as a path."""
    if call in _NAMES.values():
        return _text(caller, words[0])
    inside = call in _NAMES_IN.values()
    name = _text(caller, words[1]) if inside else ""
    if name.startswith("/"):
        return name
    try:
        folder = Path(f"/proc/{caller}/fd/{words[0] & 0xFFFFFFFF}").readlink()
    except FileNotFoundError:  # none is open under that number
        return ""
    return f"{folder}/{name}" if name else str(folder)


def _text(caller: int, address: int) -> str:
    """Read a text in the memory of a process."""
    text = b""
    memory = os.open(f"/proc/{caller}/mem", os.O_RDONLY)
    try:
        while b"\0" not in text:
            here = address + len(text)
            text += os.pread(memory, _PAGE - here % _PAGE, here)
    except OSError as error:
        if error.errno != errno.EIO:  # an address that leads nowhere
            raise
    finally:
        os.close(memory)
    return os.fsdecode(text.partition(b"\0")[0])
