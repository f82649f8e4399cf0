"""Our feed, as a client that is measured. Arguments: the deployment's URL, a token."""

from __future__ import annotations

import asyncio
import gc
import sys

from materializer import __version__
from materializer.credentials import Credentials
from materializer.feed import Feed
from materializer.model import Snapshot
from scripts.benchmarks.tally import Tally


async def main() -> None:
    """Note every snapshot with jobs, until killed."""
    tally = Tally()

    def note(snapshot: Snapshot) -> None:
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

    url, token = sys.argv[1:]
    feed = Feed(url, Credentials(value=token), __version__, on_snapshot=note)
    feed.want(0, 0)
    gc.collect()
    gc.freeze()  # as the daemon does
    await feed.run()


asyncio.run(main())
