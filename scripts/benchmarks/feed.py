"""Our feed beside the official clients: the same bytes, side by side, interleaved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scripts.benchmarks import messages, session
from scripts.benchmarks.clients import (
    BenchmarkFailed,
    Client,
    clients,
    started,
    unsigned_token,
)
from scripts.benchmarks.messages import Phase
from scripts.benchmarks.session import Cost
from scripts.benchmarks.stage import staged


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: in each, every client runs once, each round another one first.
        sizes: jobs a message, messages sent at once, messages sent in turn, and the
            seconds from one of those to the next.
        alone: messages that the session alone hears.
    """

    rounds: int
    sizes: tuple[tuple[int, int, int, float], ...]
    alone: int


LONG = Plan(
    rounds=6,
    sizes=((1, 3000, 300, 0.004), (50, 400, 200, 0.010), (200, 120, 100, 0.040)),
    alone=300,
)
SHORT = Plan(
    rounds=1,
    sizes=((1, 40, 5, 0.002), (50, 10, 5, 0.005), (200, 5, 3, 0.010)),
    alone=10,
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One phase of one client; times in seconds.

    Attributes:
        mode: `flood`, all messages sent at once, or `turns`, each when the one before
            had been handed over.
        delivered: how many values the client handed to its caller.
        rows: how many rows they had together.
        digest: of the last value.
        seconds: from the first message sent to the last value handed over.
        cpu: of the client's process, all its threads, meanwhile.
        delays: from each message sent to its value handed over, where it was.
    """

    round: int
    client: str
    jobs: int
    mode: str
    messages: int
    delivered: int
    rows: int
    digest: str
    seconds: float
    cpu: float
    delays: list[float]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that was measured."""

    clients: list[Client]
    samples: list[Sample]
    alone: Cost


async def measure(plan: Plan, tell: Callable[[str], None]) -> Result:
    """Measure; `tell` hears how far it is.

    Raises:
        BenchmarkFailed: a client is missing, lost its connection, or the clients did
            not see the same values.
    """
    compared = await clients()
    phases = _phases(plan)
    samples: list[Sample] = []
    for number in range(plan.rounds):
        first = number % len(compared)
        for client in compared[first:] + compared[:first]:
            tell(f"round {number + 1} of {plan.rounds}: {client.name}")
            samples += await _run(client, phases, number)
    _compare(samples)
    tell("the session alone")
    jobs = plan.sizes[-1][0]
    return Result(compared, samples, session.cost(jobs, plan.alone, unsigned_token()))


def _phases(plan: Plan) -> list[Phase]:
    """Prepare all phases; the first only warms the clients up."""
    phases = []
    ts = messages.OPENING_TS
    warm = (plan.sizes[1][0], None, plan.sizes[1][1])
    floods = [(jobs, None, flood) for jobs, flood, _, _ in plan.sizes]
    turns = [(jobs, pace, count) for jobs, _, count, pace in plan.sizes]
    for jobs, pace, count in (warm, *floods, *turns):
        phases.append(messages.phase(jobs, pace, count, ts))
        ts += count + 1
    return phases


async def _run(client: Client, phases: list[Phase], number: int) -> list[Sample]:
    samples = []
    async with staged() as stage, started(client, stage.url) as talk:
        for phase in phases:
            await stage.begin(phase)
            await talk.hear()
            sent = await stage.play(phase, talk.hear)
            report = await talk.hear()
            if stage.connections != 1:
                raise BenchmarkFailed(f"{client.name} lost its connection")
            seen = report["seen"]
            samples.append(
                Sample(
                    round=number,
                    client=client.name,
                    jobs=phase.jobs,
                    mode="flood" if phase.pace is None else "turns",
                    messages=phase.messages,
                    delivered=len(seen),
                    rows=report["rows"],
                    digest=report["digest"],
                    seconds=(seen[-1][1] - sent[0]) / 1e9,
                    cpu=report["cpu"],
                    delays=[(at - sent[message - 1]) / 1e9 for message, at in seen],
                )
            )
    return samples[1:]


def _compare(samples: list[Sample]) -> None:
    """Fail unless the last value of each phase was the same for everybody."""
    for key in {(sample.jobs, sample.mode) for sample in samples}:
        same = [sample for sample in samples if (sample.jobs, sample.mode) == key]
        if len({sample.digest for sample in same}) != 1:
            raise BenchmarkFailed(f"the clients saw different values: {key}")
        if any(sample.rows != sample.delivered * sample.jobs for sample in same):
            raise BenchmarkFailed(f"a client missed rows of a value: {key}")
        if key[1] == "turns" and any(s.delivered != s.messages for s in same):
            raise BenchmarkFailed(f"a client missed a value: {key}")
