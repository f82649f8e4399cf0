from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from materializer.gallery import Gallery, items, ledger
from materializer.gallery.items import Wanted
from materializer.model import Account, Job, Kind, Placed, Settlement
from materializer.plan import Work

ME = Account("https://happy.example", "iss|me")


async def fill(
    gallery: Gallery, name: str, at: int, *files: Placed, **fields: Any
) -> None:
    job = Job(name, "succeeded", **({"capability": "icon"} | fields), completed_at=at)
    await gallery.write(ledger.remember, ME, [Work(job, "register")])
    await gallery.write(ledger.settle, ME, Settlement(job, "done", files), at + 1, {})


def file(name: str, index: int = 0, kind: Kind = "image", **fields: Any) -> Placed:
    return Placed(
        index, kind, f"/o/{name}_{index}.png", 10, "ab", "image/png", **fields
    )


async def listed(gallery: Gallery, wanted: Wanted) -> list[str]:
    page = await gallery.read(items.page, ME.owner, wanted)
    return [item.id for item in page.items]


async def test_the_newest_comes_first_then_the_id(gallery: Gallery) -> None:
    await fill(gallery, "old", 1, file("old"))
    await fill(gallery, "new", 2, file("new", 1), file("new", 0))
    assert await listed(gallery, Wanted()) == ["new_0", "new_1", "old_0"]


async def test_pages_join_without_a_gap_or_a_repetition(gallery: Gallery) -> None:
    for n in range(7):
        await fill(gallery, f"j{n}", n // 3, file(f"j{n}"))
    seen: list[str] = []
    cursor = None
    while True:
        page = await gallery.read(items.page, ME.owner, Wanted(limit=2, cursor=cursor))
        seen += [item.id for item in page.items]
        assert page.total == 7
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == await listed(gallery, Wanted(limit=500))
    assert len(seen) == 7


async def test_a_cursor_that_nobody_gave_is_refused(gallery: Gallery) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await gallery.read(items.page, ME.owner, Wanted(cursor="nonsense"))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(kind="video"), ["b_0"]),
        (Wanted(capability="icon"), ["a_0"]),
        (Wanted(job_id="b"), ["b_0"]),
        (Wanted(search="FOX"), ["a_0"]),
        (Wanted(search="b_0.png"), ["b_0"]),
        (Wanted(search="%"), []),
        (Wanted(kind="video", capability="icon"), []),
    ],
)
async def test_filters_narrow_it(
    gallery: Gallery, wanted: Wanted, found: list[str]
) -> None:
    await fill(gallery, "a", 1, file("a"), prompt="a red fox")
    await fill(gallery, "b", 2, file("b", kind="video"), capability="image_to_video")
    assert await listed(gallery, wanted) == found
    page = await gallery.read(items.page, ME.owner, wanted)
    assert page.total == len(found)


async def test_nobody_sees_the_items_of_another(gallery: Gallery) -> None:
    await fill(gallery, "a", 1, file("a"))
    for owner in ("iss|you", None):
        page = await gallery.read(items.page, owner, Wanted())
        assert (page.items, page.total) == ((), 0)


async def test_a_companion_is_a_file_of_its_job_but_no_item(gallery: Gallery) -> None:
    await fill(
        gallery, "t", 1, file("t", kind="text", text="hi"), file("t", 1, companion=True)
    )
    assert await listed(gallery, Wanted()) == ["t_0"]
    record = await gallery.read(items.record, ME.owner, "t")
    assert record is not None
    assert [Path(path).name for path in record.files] == ["t_0.png", "t_1.png"]
    placed = await gallery.read(items.placed, ME.owner, "t")
    assert [(one.text, one.companion) for one in placed] == [
        ("hi", False),
        (None, True),
    ]


async def test_an_item_whose_file_is_gone_says_so(
    gallery: Gallery, tmp_path: Path
) -> None:
    await fill(gallery, "a", 1, file("a"))
    path = tmp_path / "outputs" / "a_0.png"
    for there in (False, True):
        if there:
            path.touch()
        page = await gallery.read(items.page, ME.owner, Wanted())
        assert page.items[0].missing is not there


async def test_counts_tell_jobs_by_state_and_the_gallery(gallery: Gallery) -> None:
    await fill(gallery, "a", 1, file("a"), file("a", 1))
    await gallery.write(ledger.fail, ME, [(Job("f", "failed"), True)])
    counts = await gallery.read(items.counts, ME.owner)
    assert counts == {"done": 1, "failed": 1, "items": 2, "bytes": 20}
