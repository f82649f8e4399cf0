"""Local clients that tell the person themselves.

Of everything, as the desktop app does, which can show notifications where we cannot;
or of the one job that they wait for, as `stella-media generate --wait` does.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable

from materializer.ipc.connection import Connection
from materializer.wording import Note

PATIENCE = 2.0
"""Seconds that a client has to say that it has shown a note."""

Key = tuple[str, str]


class Audience:
    """Who shows notifications, and who waits for which job.

    Attributes:
        on_change: called when somebody may have to be told now who was not before.
    """

    def __init__(self) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._presenters: list[Connection] = []
        self._asked: dict[int, tuple[Connection, asyncio.Future[bool]]] = {}
        self._numbers = itertools.count(1)
        self._awaited = Counter[Key]()

    async def present(self, connection: Connection) -> None:
        """Count a client among those that show notifications, until cancelled."""
        self._presenters.append(connection)
        try:
            await asyncio.Event().wait()
        finally:
            self._presenters.remove(connection)
            for asked, answer in self._asked.values():
                if asked is connection and not answer.done():
                    answer.set_result(False)

    async def show(self, note: Note, job_id: str | None) -> bool:
        """Have the client that came last show a note; return whether it has.

        Takes two seconds at most. The others are not asked: two would show it twice.
        """
        if not self._presenters:
            return False
        connection, number = self._presenters[-1], next(self._numbers)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked[number] = connection, answer
        data = {
            "jobId": job_id,
            "title": note.title,
            "body": note.body,
            "shown": False,
            "number": number,
        }
        at = time.time_ns() // 1_000_000
        event = {"topic": "notification", "type": "show", "at": at, "data": data}
        connection.notify("event", event)
        try:
            async with asyncio.timeout(PATIENCE):
                return await answer
        except TimeoutError:
            return False
        finally:
            del self._asked[number]

    def shown(self, connection: Connection, number: int) -> None:
        """Take a client's word that it has shown a note, if it still counts."""
        asked, answer = self._asked.get(number, (None, None))
        if answer is not None and asked is connection and not answer.done():
            answer.set_result(True)

    def expect(self, key: Key) -> None:
        """Note that somebody waits for the end of a job and will hear of it."""
        self._awaited[key] += 1

    def leave(self, key: Key) -> None:
        """Note that somebody no longer waits, having been told or not."""
        self._awaited[key] -= 1
        if not self._awaited[key]:
            del self._awaited[key]
            self.on_change()

    def expects(self, key: Key) -> bool:
        """Whether somebody waits for the end of a job: owner and id."""
        return key in self._awaited
