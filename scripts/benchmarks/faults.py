"""What goes wrong between an origin and a disk, and which tools withstand it.

Each fault is run against each tool as a real process, killed where the fault says so,
and judged by `verdicts` from what lies on the disk and what the origin was asked.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks import bodies, fault_origin, verdicts
from scripts.benchmarks.fault_origin import Body, Heard, origin
from scripts.benchmarks.fault_tools import Tool, tools
from scripts.benchmarks.trial import Plan, Trial, can_mount, peak_of, small_disk
from scripts.benchmarks.verdicts import RETRY_AFTER, Left, Verdict

LONG = Plan(kills=12, size=8 * 2**20, bomb=2**30, patience=12.0)
SHORT = Plan(kills=2, size=5 * 2**20, bomb=2**27, patience=5.0)


async def _kills(trial: Trial) -> Verdict:
    body, lefts = trial.picture, list[Left]()
    for number in range(1, trial.plan.kills + 1):
        count = len(body.data) * number // (trial.plan.kills + 1)
        lefts.append(await trial.kill_at(body, count))
    trial.source.answer = trial.source.serve(body)
    return verdicts.after_kills(lefts, await trial.run())


async def _changed(trial: Trial) -> Verdict:
    before = Body(bodies.png(trial.plan.size, 2), '"two"')
    await trial.kill_at(before, trial.plan.size // 2)
    trial.source.answer = trial.source.serve(trial.picture)
    return verdicts.unmixed(await trial.run())


async def _resumed(trial: Trial) -> Verdict:
    await trial.kill_at(trial.picture, trial.plan.size // 2)
    trial.source.heard.clear()
    trial.source.answer = trial.source.serve(trial.picture)
    end = await trial.run()
    return verdicts.resumed(end, sent=trial.source.sent, size=trial.plan.size)


def _cut(framing: str) -> Callable[[Trial], Awaitable[Verdict]]:
    async def stage(trial: Trial) -> Verdict:
        trial.source.answer = fault_origin.cut(trial.picture, framing=framing)
        return verdicts.noticed(await trial.run())

    return stage


async def _bomb(trial: Trial) -> Verdict:
    lines = ("Content-Type: image/png", "Content-Encoding: gzip")
    packed = await asyncio.to_thread(_packed, trial.plan.bomb)
    trial.source.answer = fault_origin.whole("200 OK", packed, *lines)
    peak = await peak_of(trial.folder, trial.run())
    return verdicts.contained(peak, limit=trial.plan.bomb // 16)


async def _inside(trial: Trial) -> Verdict:
    secret = fault_origin.whole("200 OK", trial.picture.data, "Content-Type: image/png")
    async with origin(secret) as service:
        trial.source.answer = fault_origin.whole(
            "302 Found", b"", f"Location: {service.url}"
        )
        end = await trial.run()
        return verdicts.kept_out(end, asked=len(service.heard))


async def _page(trial: Trial) -> Verdict:
    page = b"<!DOCTYPE html><html><title>Sign in</title><body>Please sign in.</html>"
    lines = ("Content-Type: text/html; charset=utf-8",)
    trial.source.answer = fault_origin.whole("200 OK", page, *lines)
    return verdicts.noticed(await trial.run())


def _busy(status: str) -> Callable[[Trial], Awaitable[Verdict]]:
    async def stage(trial: Trial) -> Verdict:
        asked = trial.source.heard
        busy = fault_origin.whole(status, b"later", f"Retry-After: {RETRY_AFTER}")
        good = trial.source.serve(trial.picture)

        async def answer(heard: Heard, writer: asyncio.StreamWriter) -> None:
            early = heard.at - asked[0].at < RETRY_AFTER - 0.05
            await (busy if early else good)(heard, writer)

        trial.source.answer = answer
        end = await trial.run()
        waits = [heard.at - asked[0].at for heard in asked[1:]]
        return verdicts.patient(end, waits)

    return stage


async def _full(trial: Trial) -> Verdict:
    trial.source.answer = trial.source.serve(trial.picture)
    async with small_disk(trial.folder):
        return verdicts.noticed(await trial.run())


async def _two(trial: Trial) -> Verdict:
    trial.source.answer = trial.source.serve(trial.picture)
    await trial.run_two()
    left, sent = trial.left(), trial.source.sent
    return verdicts.undisturbed(left, sent=sent, size=trial.plan.size)


@dataclass(frozen=True, slots=True)
class Fault:
    """One of them: what goes wrong, what passes, and how it is staged."""

    name: str
    passes: str
    stage: Callable[[Trial], Awaitable[Verdict]]


FAULTS = (
    Fault("kill -9, again and again", "nothing partial under the final name", _kills),
    Fault("content changed before the resume", "not mixed", _changed),
    Fault("killed at half", "resume refetches 60 % at most", _resumed),
    Fault("cut at half, with a length", "error, no final file", _cut("length")),
    Fault("cut at half, without a length", "error, no final file", _cut("close")),
    Fault("cut at half, chunked", "error, no final file", _cut("chunked")),
    Fault("gzip bomb", "not expanded", _bomb),
    Fault("redirect to a service on the loopback", "refused", _inside),
    Fault("a page to sign in instead of a PNG", "refused", _page),
    Fault("429 with Retry-After", "waits, then the file", _busy("429 Too Many")),
    Fault("503 with Retry-After", "waits, then the file", _busy("503 Unavailable")),
    Fault("disk full", "error, no final file", _full),
    Fault("two at once", "the right file", _two),
)


def needs_root(fault: Fault) -> bool:
    """Whether only root can stage it, for it mounts a small disk."""
    return fault.stage is _full


@dataclass(frozen=True, slots=True)
class Result:
    """Verdicts by fault and tool; None where a fault could not be staged here."""

    plan: Plan
    versions: dict[str, str]
    verdicts: dict[str, dict[str, Verdict | None]]


async def measure(plan: Plan, tell: Callable[[str], None]) -> Result:
    """Put every tool through every fault; `tell` hears how far it is.

    Raises:
        BenchmarkFailed: a tool is missing.
    """
    compared = await tools()
    found: dict[str, dict[str, Verdict | None]] = {fault.name: {} for fault in FAULTS}
    # Most of the time they wait.
    turn = asyncio.Semaphore(2 * (os.cpu_count() or 1))

    async def put_through(tool: Tool) -> None:
        async with turn:
            for fault in FAULTS:
                tell(f"{tool.name}: {fault.name}")
                found[fault.name][tool.name] = await verdict(plan, fault, tool)

    async with asyncio.TaskGroup() as tasks:
        for tool in compared:
            tasks.create_task(put_through(tool))
    return Result(plan, {tool.name: tool.version for tool in compared}, found)


async def verdict(plan: Plan, fault: Fault, tool: Tool) -> Verdict | None:
    """Put one tool through one fault; None where it cannot be staged here."""
    if needs_root(fault) and not can_mount():
        return None
    with tempfile.TemporaryDirectory(prefix="stella-faults-") as folder:
        async with origin(fault_origin.whole("404 Not Found", b"")) as source:
            return await fault.stage(Trial(plan, tool, source, Path(folder)))


def _packed(size: int) -> bytes:
    """Return zeros, gzipped."""
    packer = zlib.compressobj(9, wbits=31)
    block = bytes(2**20)
    packed = [packer.compress(block) for _ in range(size // len(block))]
    return b"".join([*packed, packer.flush()])
