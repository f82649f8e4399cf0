from __future__ import annotations

from materializer.gallery import Gallery, ledger, wishes
from materializer.gallery.standing import Standing, standing
from materializer.model import Account, Job
from materializer.plan import Work

ME = Account("https://a.test", "iss|me")


async def test_one_look_tells_of_items_jobs_cursor_and_snooze(gallery: Gallery) -> None:
    await gallery.write(ledger.remember, ME, [Work(Job("j", "succeeded"), "open")])
    await gallery.write(ledger.cursors, ME, first=7)
    await gallery.write(wishes.snooze, 8)
    counts = {"items": 0, "bytes": 0, "pending": 1}
    found = await gallery.read(standing, ME.owner, ME)
    assert found == Standing(counts, since=7, snoozed_until=8)
    assert (await gallery.read(standing, ME.owner, None)).since is None
    assert (await gallery.read(standing, None, None)).counts.get("pending") is None
