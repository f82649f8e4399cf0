"""Our pipeline, as a process that is measured. Argument: a file with an `Order`.

It is built as the daemon builds it, with all that a daemon does for each file: hash,
fsync, index, announcement, log. Only the feed is left away: the jobs are handed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from materializer import config, delivery, host, logs
from materializer.announce import Announcer
from materializer.config import Settings
from materializer.gallery import Gallery, ledger
from materializer.model import Account, Job, Snapshot
from materializer.pipeline import Pipeline
from materializer.place import Places

_ME = Account("https://bench.test", "https://bench.test|ada")
_TICK = 0.001  # how often the loop is asked how late it is


@dataclass(frozen=True, slots=True)
class Order:
    """What our process is to do.

    Attributes:
        state: its state directory.
        allowed: the hosts that may be private.
        urls: what each job's one output is at, by the job's id; the oldest first.
        first: one that comes before them, so that all libraries are loaded.
        look_at_loop: whether to note how late the event loop is.
    """

    state: str
    allowed: str
    urls: dict[str, str]
    first: str | None = None
    look_at_loop: bool = False

    def write(self, path: Path) -> None:
        """Write it down for the process."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> Order:
        """Read what was written down."""
        return cls(**json.loads(path.read_text("utf-8")))


@dataclass(slots=True)
class House:
    """The rooms of one state directory, and what they told a consumer."""

    gallery: Gallery
    pipeline: Pipeline
    announcer: Announcer
    told: int = 0
    _heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def hear(self, listening: asyncio.Event) -> None:
        """Count the updates that a consumer is sent."""
        subscription = await self.announcer.subscribe("bench", None)
        listening.set()

        async def send(_: dict[str, Any]) -> None:
            self.told += 1
            self._heard.set()

        await subscription.run(send)

    async def all_told(self, count: int) -> int:
        """Return how often the consumer was told, having waited for `count`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                while self.told < count:
                    self._heard.clear()
                    await self._heard.wait()
        return self.told


@asynccontextmanager
async def built(settings: Settings) -> AsyncIterator[House]:
    """Build the rooms that an output passes, as `daemon.py` does."""
    paths = settings.paths
    async with AsyncExitStack() as process:
        host.prepare_directories(paths)
        process.enter_context(host.InstanceLock(paths.lock))
        gallery = Gallery.open(paths.gallery_db, paths.outputs)
        process.push_async_callback(gallery.close)
        logs.setup_logging("info", "text", paths.logs / "materializer.log")
        fetcher = delivery.fetcher(settings)
        process.push_async_callback(fetcher.close)
        announcer = Announcer(gallery, lambda: _ME.owner)
        pipeline = Pipeline(
            gallery,
            fetcher,
            Places(paths.outputs, paths.partial),
            settings,
            emit=lambda _owner, _topic, _type, _data: None,
            on_announced=announcer.wake,
            on_failed=lambda: None,
        )
        yield House(gallery, pipeline, announcer)


async def main(order: Order) -> int:
    """Materialize the order's jobs; print the cost; return 1 when one has failed."""
    settings = config.load(
        {"state_dir": order.state, "min_free_space": "0"},
        {"STELLA_ALLOW_PRIVATE_HOSTS": order.allowed},
    )
    async with built(settings) as house, asyncio.TaskGroup() as tasks:
        await house.gallery.write(ledger.signed_in, _ME.owner)
        listening = asyncio.Event()
        working = [
            tasks.create_task(house.hear(listening)),
            tasks.create_task(house.pipeline.run()),
        ]
        await listening.wait()
        if order.first is not None:
            await _materialize(house, _jobs({"first": order.first}))
        gc.collect()
        gc.freeze()  # as the daemon does
        jobs = _jobs(order.urls)
        done = await _measure(house, jobs, look_at_loop=order.look_at_loop)
        for task in working:
            task.cancel()
    return 0 if done else 1


async def _measure(house: House, jobs: tuple[Job, ...], *, look_at_loop: bool) -> bool:
    """Hand the jobs over, print what they cost; tell whether all are done."""
    lateness: list[float] = []
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(_look(lateness)) if look_at_loop else None
        _forget_peak()
        rss = _rss()
        told = house.told
        cpu, began = time.process_time(), time.perf_counter()
        await _materialize(house, jobs)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        if looking is not None:
            looking.cancel()
    known = await house.gallery.read(
        ledger.known, _ME.owner, [job.job_id for job in jobs]
    )
    done = sum(job.state == "done" for job in known.values())
    cost = {
        "seconds": seconds,
        "cpu": cpu,
        "rss_before": rss["VmRSS"],
        "rss_peak": _rss()["VmHWM"],
        "lateness": lateness,
        "told": await house.all_told(told + done) - told,
    }
    sys.stdout.write(json.dumps(cost) + "\n")
    return done == len(jobs)


async def _materialize(house: House, jobs: tuple[Job, ...]) -> None:
    house.pipeline.offer(_ME, Snapshot(_ME.owner, succeeded=jobs))
    await house.pipeline.caught_up()


async def _look(lateness: list[float]) -> None:
    """Note how much later than due the loop comes round, in seconds, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _TICK
        await asyncio.sleep(_TICK)
        lateness.append(loop.time() - due)


def _jobs(urls: dict[str, str]) -> tuple[Job, ...]:
    """Return a finished job for each output, newest first, as the feed lists them."""
    now = time.time_ns() // 1_000_000
    jobs = [
        Job(
            job_id,
            "succeeded",
            "text_to_video" if url.endswith(".mp4") else "text_to_image",
            output={"video": {"url": url}}
            if url.endswith(".mp4")
            else {"images": [{"url": url}]},
            completed_at=now - len(urls) + number,
        )
        for number, (job_id, url) in enumerate(urls.items())
    ]
    return tuple(reversed(jobs))


def _forget_peak() -> None:
    """Let VmHWM begin again: what the imports took is no part of what follows."""
    Path("/proc/self/clear_refs").write_text("5", "utf-8")


def _rss() -> dict[str, int]:
    """Return the memory held now (VmRSS) and at most so far (VmHWM), in bytes."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    fields = (line.split() for line in lines if line.startswith(("VmRSS:", "VmHWM:")))
    return {name.rstrip(":"): int(number) * 1024 for name, number, *_ in fields}


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Order.read(Path(sys.argv[1])))))
