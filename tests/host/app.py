"""The desktop app of a test: a Node process round the host module."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from process.house import Ended, Running, started

SOON = 20.0
NAME = "desktop app"


class App:
    """Says what app.mjs says, and tells it what to do.

    `heard` is everything it has said so far, in order.
    """

    def __init__(self, running: Running) -> None:
        self._running = running
        self.heard: list[list[Any]] = []

    async def next(self) -> list[Any]:
        words: list[Any] = json.loads(await self._running.line())
        self.heard.append(words)
        return words

    async def hears(self, word: str) -> list[Any]:
        """Return what it says next that begins with `word`."""
        async with asyncio.timeout(SOON):
            while (words := await self.next())[0] != word:
                pass
        return words[1:]

    async def away(self) -> str:
        """Return why it says next that no daemon is there."""
        why, _ = await self.hears("away")
        return str(why)

    def tell(self, *words: object) -> None:
        stdin = self._running._process.stdin
        assert stdin is not None
        stdin.write(json.dumps(words).encode() + b"\n")

    async def ask(self, method: str, **params: object) -> Any:
        self.tell("ask", method, params)
        return (await self.hears("answer"))[0]

    async def killed(self) -> None:
        """Kill it; what it had said by then is heard."""
        self._running._process.kill()
        self._hear(await self._running.ended())

    async def disposed(self) -> None:
        """Let it dispose of the host, and see that it then ends, without a word."""
        ended = await self._running.ended()
        self._hear(ended)
        assert (ended.code, ended.err) == (0, ""), ended
        assert self.heard[-1] == ["disposed"]

    def sent(self) -> list[list[Any]]:
        """Return [seq, channel, payload, action] of each update that was shown."""
        return [words[1:] for words in self.heard if words[0] == "sent"]

    def _hear(self, ended: Ended) -> None:
        # A killed process may have been cut off in the middle of a word.
        *whole, _ = ended.out.split("\n")
        self.heard += [json.loads(line) for line in whole]


@asynccontextmanager
async def running(
    built: Path,
    state: Path,
    environ: Mapping[str, str] | None = None,
    **options: object,
) -> AsyncIterator[App]:
    """Run app.mjs from where the host module was built."""
    told = {"stateDir": str(state), "consumer": NAME, **options}
    command = ("node", str(built / "app.mjs"), json.dumps(told))
    environ = os.environ if environ is None else environ
    async with started(state.parent, environ, *command, stdin=PIPE) as process:
        yield App(process)
