"""The soak: a day of jobs in minutes, with a feed that comes and goes.

Jobs are dated over the 24 hours that end with the run. All else is as fast as it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest import mock

from materializer.devserver.tokens import Identity, Tokens
from materializer.devserver.weather import CLEAR, Blow, HangUp, Refuse, Weather
from materializer.ipc.client import Client
from scripts.endurance import gauge, stage, verdicts
from scripts.endurance.consumer import Consumer
from scripts.endurance.gauge import Sample
from scripts.endurance.stage import SOON, Stage

_DAY = 86_400
_PERSON, _GUEST = "dev", "guest"
_TOKEN_SECONDS = 120.0
# As much as a page of the feed shows, less what may come until it is asked for.
_MOST_BEHIND = 150
_GUESTS, _FAILURES = 20, 100
# Then the last storm of failures is over, too, at the end.
_LAST_FAILURE = 0.6
_TURN = (*[_PERSON] * 11, None, _PERSON, _GUEST, _PERSON)
_STORMS = (
    Blow(does="drop", always=True),
    Blow(does="reset", always=True),
    HangUp(code=1012, reason="a new version", always=True),
    Blow(does="garbage", always=True),
    HangUp(code=1011, reason="InternalServerError", always=True),
)
# Coming back takes a second, half more or half less; and some are refused at first.
_AWAY = 1.8
_MOMENT = 0.5


@dataclass(frozen=True, slots=True)
class Day:
    """How much happens, and in how many seconds; so often all comes to rest."""

    seconds: float
    jobs: int
    reconnects: int
    tokens: int
    rests: int


LONG = Day(1080, 20_000, 200, 300, rests=5)
SHORT = Day(20, 300, 4, 8, rests=2)


@dataclass(slots=True)
class Result:
    """What was seen.

    Attributes:
        tokens: changes of the token file that the daemon has acted upon.
        behind: seconds for which jobs waited, as the feed's page was full.
        samples: through the day.
        rests: when all that had come was done.
        flaws: what was not as it must be, in sentences.
    """

    day: Day
    seconds: float = 0.0
    reconnects: int = 0
    tokens: int = 0
    told: int = 0
    removed: int = 0
    failed: int = 0
    behind: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    rests: list[Sample] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)


async def run(day: Day, root: Path, tell: Callable[[str], None]) -> Result:
    """Let a day pass.

    Raises:
        SoakFailed: the daemon did not start or has ended, or the rest of it is stuck.
    """
    async with stage.stage(root) as on:
        course = _Course(day, on, tell)
        on.sign_in(_GUEST)
        course.storm(0)
        with course.listening_to_tokens():
            async with (
                stage.daemon(on, "--first-run-lookback", "25h") as pid,
                course.consumer_of(_GUEST),
            ):
                await course.pass_by(pid)
        result = course.result
        result.flaws += await asyncio.to_thread(verdicts.at_end, on, course.consumer)
        result.flaws += await asyncio.to_thread(verdicts.of_previews, on)
    return result


class _Course:
    """One day as it goes by."""

    def __init__(self, day: Day, on: Stage, tell: Callable[[str], None]) -> None:
        self._day = day
        self._on = on
        self._tell = tell
        self._seen: set[str] = set()
        self._asked = asyncio.Event()
        self._jobs = 0
        self.consumer = Consumer(on.owners)
        self.result = Result(day)

    @contextmanager
    def listening_to_tokens(self) -> Iterator[None]:
        """Note within the block each token that the feed hands over."""
        verify = Tokens.verify

        def note(tokens: Tokens, token: str, now: float) -> Identity:
            self._seen.add(token)
            self._asked.set()
            return verify(tokens, token, now)

        with mock.patch.object(Tokens, "verify", note):
            yield

    @asynccontextmanager
    async def consumer_of(self, account: str) -> AsyncIterator[None]:
        """Keep the consumer listening within the block, which begins when it does."""
        async with asyncio.TaskGroup() as tasks:
            await self._token_is_taken(self._on.token.read_text("utf-8"))
            listening = tasks.create_task(self.consumer.run(self._on.state))
            await self._owner_is(account)
            yield
            listening.cancel()

    async def pass_by(self, pid: int) -> None:
        """Let all happen, and wait until all has settled."""
        await self._sign_in(_PERSON)
        self._began = time.monotonic()
        self._midnight = time.time() + self._day.seconds - _DAY
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch(pid))
            passing = [
                tasks.create_task(part)
                for part in (self._arrivals(pid), self._storms(), self._tokens())
            ]
            await asyncio.wait(passing)
            watching.cancel()
        for account in (_GUEST, _PERSON):
            await self._sign_in(account)
            await self._rest(pid, account)
        await stage.until(partial(verdicts.settled, self._on), "not all has settled")
        result, consumer = self.result, self.consumer
        result.seconds = time.monotonic() - self._began
        result.told, result.removed = consumer.told.total(), len(consumer.removed)
        result.failed = len(self._on.failed)
        async with Client(self._on.state) as client:
            status = await client.call("daemon.status", timeout=SOON)
        result.reconnects = status["feed"]["reconnects"]
        if result.reconnects < self._day.reconnects:
            result.flaws.append(f"there were {result.reconnects} reconnects only")

    async def _until(self, share: float) -> None:
        """Wait until so much of the day is over."""
        at = self._began + share * self._day.seconds
        await asyncio.sleep(max(0.0, at - time.monotonic()))

    async def _arrivals(self, pid: int) -> None:
        for number in range(self._day.jobs):
            share = number / self._day.jobs
            await self._until(share)
            await self._keep_up()
            if number and number % (self._day.jobs // self._day.rests) == 0:
                await self._rest(pid, _PERSON)
            account = _PERSON if number % _GUESTS else _GUEST
            at = self._midnight + share * _DAY
            if number % _FAILURES == 1 and share < _LAST_FAILURE:
                self._on.fail(f"bad-{number:05}", account, at)
            else:
                self._on.succeed(f"job-{number:05}", account, at)
            self._jobs = number + 1

    async def _keep_up(self) -> None:
        """Wait while more may be new than a page of the feed can show."""
        began = time.monotonic()
        while len(self._on.outputs) - len(self.consumer.told) >= _MOST_BEHIND:
            await stage.next_of(self.consumer.news, "the consumer is told of nothing")
        self.result.behind += time.monotonic() - began

    async def _storms(self) -> None:
        for number in range(self._day.reconnects):
            await self._until(number / self._day.reconnects)
            self.storm(number)
        await self._until(1)
        self._on.backend.weather = CLEAR

    def storm(self, number: int) -> None:
        """Let each connection from now on end in this way."""
        every = self._day.seconds / self._day.reconnects
        blow = _STORMS[number % len(_STORMS)].model_copy(
            update={"after_seconds": max(0.2, every - _AWAY)}
        )
        refusal = [Refuse()] if number % 10 == 9 else []
        self._on.backend.weather = Weather(trouble=(*refusal, blow))

    async def _tokens(self) -> None:
        for number in range(self._day.tokens):
            await self._until((number + 1) / (self._day.tokens + 1))
            await self._sign_in(_TURN[number % len(_TURN)])
            self.result.tokens += 1
            if number % 30 == 0:
                self._tell(
                    f"{self._jobs} jobs have come, {len(self.consumer.told)} were"
                    f" told, {self.result.tokens} tokens were taken"
                )
        await self._sign_in(_PERSON)

    async def _sign_in(self, account: str | None) -> None:
        token = self._on.sign_in(account, _TOKEN_SECONDS)
        if token:
            await self._token_is_taken(token)
        await self._owner_is(account)

    async def _token_is_taken(self, token: str) -> None:
        while token not in self._seen:
            await stage.next_of(self._asked, "a new token is not taken")

    async def _owner_is(self, account: str | None) -> None:
        owner = self._on.backend.owner(account) if account else None
        while self.consumer.owner != owner:
            await stage.next_of(self.consumer.news, f"{owner} is not signed in")

    async def _watch(self, pid: int) -> None:
        while True:
            sample = gauge.look(pid, self._on.state, self._jobs)
            self.result.samples.append(sample)
            await asyncio.sleep(self._day.seconds / 400)

    async def _rest(self, pid: int, account: str) -> None:
        """Wait until all of an account is told and has its preview; take a sample."""
        owner = self._on.backend.owner(account)

        def rests() -> bool:
            sample = gauge.look(pid, self._on.state, self._jobs)
            is_done = not self._due(owner) and verdicts.previewed(self._on)
            return is_done and not sample.helpers

        await stage.until(rests, "the daemon does not come to rest")
        await asyncio.sleep(_MOMENT)
        self.result.rests.append(gauge.look(pid, self._on.state, self._jobs))

    def _due(self, owner: str) -> set[str]:
        consumer = self.consumer
        due = (self._on.outputs.keys() - consumer.told.keys()) | (
            consumer.removed - consumer.withdrawn.keys()
        )
        return {job_id for job_id in due if self._on.owners[job_id] == owner}


def table(result: Result) -> list[str]:
    """Return what happened as a table."""
    rows = {
        "seconds": f"{result.seconds:.0f}",
        "outputs, each told once": result.told,
        "of them removed by the person": result.removed,
        "failures": result.failed,
        "reconnects": result.reconnects,
        "token changes, each acted upon": result.tokens,
        "seconds in which jobs waited, as a page was full": f"{result.behind:.1f}",
    }
    lines = [f"| {what} | {figure} |" for what, figure in rows.items()]
    return ["| a day | |", "|---|--:|", *lines]
