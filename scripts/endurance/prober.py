"""Asks a daemon how it is, at set times, and notes how long each answer takes.

    python -m scripts.endurance.prober STATE

It does nothing else, so that it waits for nobody but the daemon, and asks when it is
time, answered or not. When its input ends, it prints a JSON list of (when it asked, how
long it waited), in seconds of the monotonic clock.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from materializer.ipc import jsonlines
from materializer.ipc.endpoint import discover, endpoint_file

EVERY = 0.05  # seconds
_CHUNK = 1 << 16


def main() -> None:
    """Ask until the input ends."""
    told = discover(endpoint_file(Path(sys.argv[1])))
    asked: list[float] = []
    waits: list[tuple[float, float]] = []
    rest = b""
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.connect(told.path)
        due = time.monotonic()
        while True:
            wait = max(0.0, due - time.monotonic())
            ready, _, _ = select.select([sys.stdin, daemon], [], [], wait)
            now = time.monotonic()
            if sys.stdin in ready:
                break
            if daemon in ready:
                *lines, rest = (rest + daemon.recv(_CHUNK)).split(b"\n")
                waits += [(at, now - at) for at in map(asked.__getitem__, _ids(lines))]
            if now >= due:
                daemon.sendall(jsonlines.call(len(asked), "daemon.status", {}))
                asked.append(due)
                due += EVERY
    json.dump(waits, sys.stdout)


def _ids(lines: list[bytes]) -> Iterator[int]:
    for line in lines:
        answer = json.loads(line)
        if "result" not in answer:
            sys.exit(f"the daemon does not say how it is: {answer['error']}")
        yield answer["id"]


main()
