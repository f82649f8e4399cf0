from __future__ import annotations

from typing import Any

import pytest

from materializer import naming
from materializer.gallery import Gallery, files, items, ledger, outbox
from materializer.gallery.files import Found
from materializer.gallery.items import Wanted
from materializer.model import FOUND, Account, Job, JobState, Placed, Settlement
from materializer.plan import Work

ME = Account("https://happy.example", "iss|me")
YOU = Account("https://happy.example", "iss|you")


def file(job_id: str, index: int = 0, **fields: Any) -> Placed:
    name = naming.file_name(naming.stem(job_id), index, "png")
    given: dict[str, Any] = {
        "kind": "image",
        "bytes": 10,
        "sha256": "ab",
        "mime_type": "image/png",
    }
    return Placed(index=index, path=f"/o/{name}", **(given | fields))


def transcript(job_id: str) -> tuple[Placed, Placed]:
    return (
        file(job_id, kind="text", text="hi"),
        file(job_id, 1, kind="text", companion=True),
    )


def found(name: str, at: int = 7, **fields: Any) -> Found:
    place = naming.read(name)
    assert place is not None
    stem, index = place
    given: dict[str, Any] = {
        "kind": "image",
        "bytes": 3,
        "sha256": "cd",
        "mime_type": "image/png",
    }
    return Found(stem, Placed(index=index, path=f"/o/{name}", **(given | fields)), at)


async def fill(
    gallery: Gallery,
    job_id: str,
    *placed: Placed,
    account: Account = ME,
    state: JobState = "done",
    tell: bool = False,
) -> None:
    job = Job(job_id, "succeeded", "icon", prompt="a fox", completed_at=5)
    await gallery.write(ledger.remember, account, [Work(job, "register")])
    settled = Settlement(job, state, placed, tell=tell)
    await gallery.write(ledger.settle, account, settled, 6, {})


async def ids(gallery: Gallery, account: Account = ME) -> list[str]:
    page = await gallery.read(items.page, account.owner, Wanted())
    return [item.id for item in page.items]


async def names(gallery: Gallery, *asked: str) -> set[str]:
    return {entry.file_name for entry in await gallery.read(files.named, asked)}


async def test_files_are_found_by_their_names_whoever_they_belong_to(
    gallery: Gallery,
) -> None:
    await fill(gallery, "a", file("a"), file("a", 1))
    await fill(gallery, "b/../c", file("b/../c"), account=YOU)
    odd = naming.file_name(naming.stem("b/../c"), 0, "png")
    asked = ("a_0.png", "a_1.jpg", "a_2.png", "A_1.png", "x_0.png", "a.png", odd)
    assert await names(gallery, *asked) == {"a_0.png", odd}
    [entry] = await gallery.read(files.named, [odd])
    assert (entry.owner, entry.id, entry.index) == (YOU.owner, "b/../c_0", 0)
    assert (entry.bytes, entry.sha256, entry.saved_at) == (10, "ab", 6)


async def test_all_files_come_page_by_page_companions_included(
    gallery: Gallery,
) -> None:
    await fill(gallery, "t", *transcript("t"))
    await fill(gallery, "a", file("a"))
    await fill(gallery, "b", file("b"))
    await gallery.write(files.remove, ME.owner, "b_0", 9)
    first = await gallery.read(files.after, 0, 2)
    rest = await gallery.read(files.after, first[-1].n, 2)
    assert [(one.id, one.companion) for one in first] == [("t_0", False), ("t_1", True)]
    assert [one.id for one in rest] == ["a_0"]


async def test_what_is_removed_is_gone_announced_and_never_fetched_again(
    gallery: Gallery,
) -> None:
    await fill(gallery, "a", file("a"), file("a", 1))
    assert await gallery.write(files.remove, ME.owner, "a_0", 9)
    assert await ids(gallery) == ["a_1"]
    assert await gallery.read(items.get, ME.owner, "a_0") is None
    assert await names(gallery, "a_0.png", "a_1.png") == {"a_1.png"}
    record = await gallery.read(items.record, ME.owner, "a")
    assert record is not None
    assert [item.id for item in record.items] == ["a_1"]
    assert len(record.files) == 1
    counts = await gallery.read(items.counts, ME.owner)
    assert (counts["items"], counts["bytes"]) == (1, 10)
    known = await gallery.read(ledger.known, ME.owner, ["a"])
    assert known["a"].have == {0, 1}
    [update] = await gallery.read(outbox.after, ME.owner, 0, 9)
    assert update.action == "remove"
    assert (update.payload["jobId"], update.payload["prompt"]) == ("a", "a fox")
    assert len(update.payload["asset"]["filePaths"]) == 1
    assert update.payload["asset"]["filePaths"][0].endswith("/a_0.png")


async def test_it_is_removed_once_and_by_its_owner_alone(gallery: Gallery) -> None:
    await fill(gallery, "a", file("a"))
    assert not await gallery.write(files.remove, YOU.owner, "a_0", 9)
    assert not await gallery.write(files.remove, ME.owner, "a_1", 9)
    assert await gallery.write(files.remove, ME.owner, "a_0", 9)
    assert not await gallery.write(files.remove, ME.owner, "a_0", 9)
    assert len(await gallery.read(outbox.after, ME.owner, 0, 9)) == 1


async def test_a_removed_file_that_is_placed_again_stays_removed(
    gallery: Gallery,
) -> None:
    await fill(gallery, "a", file("a"))
    await gallery.write(files.remove, ME.owner, "a_0", 9)
    await fill(gallery, "a", file("a"))
    assert await gallery.write(files.enter, ME.owner, [found("a_0.png")]) == 0
    assert await ids(gallery) == []


async def test_a_transcript_goes_with_its_companion(gallery: Gallery) -> None:
    await fill(gallery, "t", *transcript("t"))
    assert not await gallery.write(files.remove, ME.owner, "t_1", 9)
    mine = await gallery.read(files.of_item, ME.owner, "t_0")
    assert mine == ["t_0.png", "t_1.png"]
    assert await gallery.write(files.remove, ME.owner, "t_0", 9)
    assert await names(gallery, "t_0.png", "t_1.png") == set()
    [update] = await gallery.read(outbox.after, ME.owner, 0, 9)
    assert update.payload["asset"] == {"kind": "text", "text": "hi"}


async def test_who_removes_what_was_not_recognised_is_not_told_of_it(
    gallery: Gallery,
) -> None:
    await fill(gallery, "u", file("u"), state="unrecognised", tell=True)
    assert len(await gallery.read(items.to_tell, ME.owner)) == 1
    await gallery.write(files.remove, ME.owner, "u_0", 9)
    assert await gallery.read(items.to_tell, ME.owner) == []


async def test_a_file_of_no_known_job_is_entered_once(gallery: Gallery) -> None:
    two = [found("n_0.png"), found("n_1.png", at=9)]
    assert await gallery.write(files.enter, ME.owner, two) == 2
    assert await gallery.write(files.enter, ME.owner, two) == 0
    assert await ids(gallery) == ["n_0", "n_1"]
    item = await gallery.read(items.get, ME.owner, "n_1")
    assert item is not None
    assert (item.job_id, item.bytes, item.sha256) == ("n", 3, "cd")
    assert (item.created_at, item.saved_at) == (7, 9)
    known = await gallery.read(ledger.known, ME.owner, ["n"])
    assert (known["n"].state, known["n"].status) == ("done", FOUND)
    assert known["n"].have == {0, 1}
    standing = await gallery.read(ledger.standing, ME)
    assert standing.open_jobs == frozenset()


async def test_a_file_of_a_known_job_is_its_owner_s(gallery: Gallery) -> None:
    await fill(gallery, "a", file("a"), account=YOU)
    assert await gallery.write(files.enter, ME.owner, [found("a_1.png")]) == 1
    assert (await ids(gallery), await ids(gallery, YOU)) == ([], ["a_0", "a_1"])
    item = await gallery.read(items.get, YOU.owner, "a_1")
    assert item is not None
    assert (item.prompt, item.created_at) == ("a fox", 5)


async def test_what_a_job_is_still_to_bring_is_left_to_it(gallery: Gallery) -> None:
    await fill(gallery, "a", file("a"), state="pending")
    assert await gallery.write(files.enter, ME.owner, [found("a_1.png")]) == 0
    assert await ids(gallery) == ["a_0"]


@pytest.mark.parametrize("job_id", ["nul", "a b", "x" * 101])
async def test_a_name_that_does_not_tell_the_job_is_passed_over_until_it_is_known(
    gallery: Gallery, job_id: str
) -> None:
    name = naming.file_name(naming.stem(job_id), 1, "png")
    assert await gallery.write(files.enter, ME.owner, [found(name)]) == 0
    await fill(gallery, job_id, file(job_id))
    assert await gallery.write(files.enter, ME.owner, [found(name)]) == 1
    assert await ids(gallery) == [f"{job_id}_0", f"{job_id}_1"]


async def test_another_job_s_name_in_other_letters_is_passed_over(
    gallery: Gallery,
) -> None:
    await fill(gallery, "Fox", file("Fox"))
    assert await gallery.write(files.enter, ME.owner, [found("fox_1.png")]) == 0
    assert await ids(gallery) == ["Fox_0"]


async def test_a_changed_file_is_told_as_it_is_now(gallery: Gallery) -> None:
    await fill(gallery, "t", *transcript("t"))
    [entry] = await gallery.read(files.named, ["t_0.png"])
    now = file("t", kind="text", bytes=4, sha256="ef", text="ho", width=1, height=2)
    await gallery.write(files.change, entry, now, 99)
    item = await gallery.read(items.get, ME.owner, "t_0")
    assert item is not None
    assert (item.bytes, item.sha256, item.saved_at) == (4, "ef", 99)
    assert (item.width, item.height, item.created_at) == (1, 2, 5)
    [text, _] = await gallery.read(items.placed, ME.owner, "t")
    assert text.text == "ho"
    counts = await gallery.read(items.counts, ME.owner)
    assert counts["bytes"] == 4


async def test_what_was_found_for_nobody_is_the_first_s_who_signs_in(
    gallery: Gallery,
) -> None:
    await gallery.write(files.enter, "", [found("n_0.png"), found("m_0.png")])
    await gallery.write(files.remove, "", "m_0", 9)
    await gallery.write(ledger.signed_in, ME.owner)
    await gallery.write(ledger.signed_in, YOU.owner)
    assert (await ids(gallery), await ids(gallery, YOU)) == (["n_0"], [])
    assert [u.action for u in await gallery.read(outbox.after, ME.owner, 0, 9)] == [
        "remove"
    ]
    page = await gallery.read(items.page, ME.owner, Wanted(search="n_0"))
    assert (len(page.items), page.total) == (1, 1)
    known = await gallery.read(ledger.known, ME.owner, ["n"])
    assert known["n"].have == {0}
