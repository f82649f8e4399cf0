"""Our feed, as a client that is measured. Arguments: the deployment's URL, a token."""

from __future__ import annotations

import asyncio
import sys

from materializer import __version__
from materializer.credentials import Credentials
from materializer.feed import Feed
from scripts.benchmarks.tally import Tally


async def follow(feed: Feed) -> None:
    """Note every snapshot with jobs."""
    tally = Tally()
    async for snapshot in feed.snapshots():
        jobs = snapshot.succeeded
        if jobs and tally.note(jobs[0].job_id, jobs[0].profile, len(jobs)):
            tally.tell(
                (
                    job.job_id,
                    job.status,
                    job.completed_at or 0,
                    job.prompt or "",
                    job.output["images"][0]["url"],
                )
                for job in jobs
            )


async def main() -> None:
    """Follow until killed."""
    url, token = sys.argv[1:]
    feed = Feed(url, Credentials(value=token), __version__)
    feed.want(0, 0)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(feed.run())
        tasks.create_task(follow(feed))


asyncio.run(main())
