"""Many clients of a daemon, a tenth of them consumers, in one process.

    python -m scripts.endurance.crowd STATE CLIENTS

The others follow what becomes of the jobs. It prints a line when all are connected. For
each number that it reads, it prints a line when every consumer was told of so many
updates. At the end of its input, it leaves.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from materializer.ipc import jsonlines
from materializer.ipc.endpoint import discover, endpoint_file

_CHUNK = 1 << 16


class _Crowd:
    """The clients, and how many updates each of the consumers has had."""

    def __init__(self, path: str, clients: int) -> None:
        self._path = path
        self._clients = clients
        self._told = [0] * (clients // 10)
        self._news = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            here = [asyncio.Event() for _ in range(self._clients)]
            clients = [
                tasks.create_task(self._client(number, event))
                for number, event in enumerate(here)
            ]
            for event in here:
                await event.wait()
            _say("here")
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                while min(self._told) < int(line):
                    self._news.clear()
                    await self._news.wait()
                _say("told")
            for client in clients:
                client.cancel()

    async def _client(self, number: int, here: asyncio.Event) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path)
        name = f"client-{number}"
        follows = number < len(self._told)
        if follows:
            what = {"consumer": name, "after": 0}
            writer.write(jsonlines.call(1, "display.subscribe", what))
        else:
            writer.write(jsonlines.call(1, "events.subscribe", {"topics": ["job"]}))
        await reader.readline()
        here.set()
        if follows:
            await self._follow(number, name, reader, writer)
        while await reader.read(_CHUNK):
            pass
        raise ConnectionError(f"the daemon has let {name} go")

    async def _follow(
        self,
        number: int,
        name: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Count updates, and acknowledge the newest of those that came together."""
        rest, newest = b"", 0
        while chunk := await reader.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            before = newest
            for line in lines:
                said = json.loads(line)
                if said.get("method") != "display.update":
                    continue
                seq = said["params"]["seq"]
                if seq <= newest:
                    raise ValueError(f"{name} was told {seq} after {newest}")
                newest = seq
                self._told[number] += 1
            if newest > before:
                place = {"consumer": name, "seq": newest}
                writer.write(jsonlines.call(2, "display.ack", place))
                self._news.set()


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    """Be there until the input ends."""
    state, clients = Path(sys.argv[1]), int(sys.argv[2])
    path = discover(endpoint_file(state)).path
    asyncio.run(_Crowd(path, clients).run())


main()
