"""Standard input and output as the one connection.

Threads carry the bytes to and from a pair of sockets, because an event loop can wait
for some kinds of standard input only, and would make those of a terminal non-blocking
for everybody who shares it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from materializer.errors import SettingsInvalid

_CHUNK = 1 << 16
# How long the last lines may take to be read.
_FAREWELL = 2.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def streams() -> AsyncIterator[Streams]:
    """Take standard input and output over, until the process ends.

    What else reads or prints gets nothing, and goes to standard error. Close the
    writer within the block; leaving waits a moment until what was written is out.

    Raises:
        SettingsInvalid: one of the two is closed.
    """
    source, sink = _take_over()
    ours, theirs = socket.socketpair()
    incoming = _carrier(
        lambda: os.read(source, _CHUNK),
        theirs.sendall,
        lambda: theirs.shutdown(socket.SHUT_WR),
    )
    outgoing = _carrier(
        lambda: theirs.recv(_CHUNK),
        lambda data: _write(sink, data),
        lambda: theirs.shutdown(socket.SHUT_RDWR),
    )
    reader, writer = await asyncio.open_connection(sock=ours)
    incoming.start()
    outgoing.start()
    try:
        yield reader, writer
    finally:
        await asyncio.to_thread(outgoing.join, _FAREWELL)


def _take_over() -> tuple[int, int]:
    if None in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        raise SettingsInvalid(
            "--listen stdio:// needs standard input, output and error; one is closed"
        )
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return source, sink


def _carrier(
    read: Callable[[], bytes],
    write: Callable[[bytes], None],
    end: Callable[[], None],
) -> threading.Thread:
    def carry() -> None:
        with suppress(OSError):  # either side may go at any time
            while data := read():
                write(data)
        with suppress(OSError):
            end()

    # Nothing can wake a thread that waits for input, so it may not hold up the exit.
    return threading.Thread(target=carry, name="stdio", daemon=True)


def _write(sink: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(sink, rest) :]
