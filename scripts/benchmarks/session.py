"""What the session costs without a socket, in seconds of CPU a message."""

from __future__ import annotations

import time
from dataclasses import dataclass

from materializer.convex.events import (
    Deliver,
    Moment,
    Opened,
    QueriesWanted,
    Received,
    Started,
    TokenChanged,
)
from materializer.convex.session import Session
from materializer.convex.token import Token
from materializer.media_jobs import read_snapshot, wanted
from scripts.benchmarks import messages

_NOW = Moment(1_790_000_000, 100)


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of CPU for each message.

    Attributes:
        session: from its text to its results, validated.
        reading: from the results to a snapshot of jobs.
    """

    session: list[float]
    reading: list[float]


def cost(jobs: int, count: int, token: str) -> Cost:
    """Let a session of its own hear as many messages of so many rows."""
    session = Session("00000000-0000-4000-8000-000000000000", lambda: 0.0)
    for event in (
        QueriesWanted(wanted(0, 0, ())),
        Started(),
        TokenChanged(Token.read(token)),
        Opened(),
        Received(messages.opening([0, 1])),
    ):
        session.receive(event, _NOW)
    costs = Cost([], [])
    for text in messages.phase(jobs, None, count, messages.OPENING_TS).texts:
        before = time.process_time()
        effects = session.receive(Received(text), _NOW)
        heard = time.process_time()
        [delivered] = [effect for effect in effects if isinstance(effect, Deliver)]
        read_snapshot(delivered)
        costs.session.append(heard - before)
        costs.reading.append(time.process_time() - heard)
    return costs
