from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from materializer.gallery import Gallery, files, items, ledger, search
from materializer.gallery.items import Wanted
from materializer.model import Account, Job, Placed, Settlement
from materializer.plan import Work

ME = Account("https://happy.example", "iss|me")
YOU = Account("https://happy.example", "iss|you")


@pytest.fixture(params=["with an index", "SQLite without FTS5"])
def indexed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "SQLite without FTS5":
        monkeypatch.setattr(search, "_has_fts5", lambda _: False)
        return False
    return True


@pytest.fixture
async def shelf(indexed: bool, tmp_path: Path) -> AsyncIterator[Gallery]:
    """Some items that are found by words."""
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    assert await gallery.read(search._is_kept) is indexed
    await add(gallery, "a", "A red fox, jumping over the café's roof")
    await add(gallery, "b", "the sea at night", capability="image_to_video")
    await add(gallery, "c", "赤い狐が走る 🦊")
    await add(gallery, "d", 'say "NOT 50% red_fox" AND (stop)')
    await add(gallery, "e", None)
    await add(gallery, "f", "a red fox of another", account=YOU)
    yield gallery
    await gallery.close()


async def add(
    gallery: Gallery,
    name: str,
    prompt: str | None,
    account: Account = ME,
    capability: str = "icon",
) -> None:
    job = Job(name, "succeeded", capability, prompt=prompt, completed_at=ord(name))
    placed = Placed(0, "image", f"/o/{name}_0.png", 10, "ab", "image/png")
    await gallery.write(ledger.remember, account, [Work(job, "register")])
    settlement = Settlement(job, "done", (placed,))
    await gallery.write(ledger.settle, account, settlement, 1, {})


async def found(gallery: Gallery, text: str, owner: str = ME.owner) -> str:
    page = await gallery.read(items.page, owner, Wanted(search=text))
    assert page.total == len(page.items)
    return "".join(sorted(item.job_id for item in page.items))


@pytest.mark.parametrize(
    ("text", "jobs"),
    [
        ("", "abcde"),
        (" \t", "abcde"),
        ("red", "ad"),
        ("jump", "a"),
        ("FOX RED", "ad"),
        ("fox sea", ""),
        ("b_0.png", "b"),
        ("c_0", "c"),
        ("image_to_video", "b"),
        ("png", "abcde"),
        ("狐", "c"),
        ("い狐が", "c"),
        ("🦊", "c"),
        ('"not', "d"),
        ("NOT 50%", "d"),
        ("AND (stop)", "d"),
        ("red_fox", "d"),
        ("zzz", ""),
    ],
)
async def test_every_word_is_found_as_a_person_types_it(
    shelf: Gallery, text: str, jobs: str, indexed: bool
) -> None:
    if indexed and text == "red_fox":
        jobs = "ad"  # to the index it is two words that follow each other
    assert await found(shelf, text) == jobs


@pytest.mark.parametrize(
    "text",
    [
        *('"', "'", '""', "*", "^red", "red*", "-red", "NEAR(", "a:b", "{prompt} : x"),
        *("(", "%", "_", "!", "\\", "red OR", "AND", "NOT", "\0red\0", "\ud800", "+"),
    ],
)
async def test_nothing_that_is_typed_is_an_operator_or_an_error(
    shelf: Gallery, text: str
) -> None:
    assert await found(shelf, text) in {"", "a", "d", "ad", "abcde"}


async def test_accents_are_not_needed_and_no_other_account_s_words_are_found(
    tmp_path: Path,
) -> None:
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    await add(gallery, "a", "the café")
    await add(gallery, "f", "a café of another", account=YOU)
    assert await found(gallery, "CAFE") == "a"
    assert await found(gallery, "café", YOU.owner) == "f"
    assert await found(gallery, "another") == ""
    assert await found(gallery, ME.owner.encode().hex()) == ""
    await gallery.close()


async def test_the_words_follow_what_becomes_of_a_job_and_its_items(
    shelf: Gallery,
) -> None:
    await add(shelf, "a", "a blue hare", capability="text_to_image")
    assert await found(shelf, "fox jumping") == ""
    assert await found(shelf, "hare text_to") == "a"
    page = await shelf.read(
        items.page, ME.owner, Wanted(search="hare", capability="text_to_image")
    )
    assert page.total == 1
    await shelf.write(files.remove, ME.owner, "a_0", 5)
    assert await found(shelf, "hare") == ""
    await shelf.write(lambda db: db.execute("UPDATE items SET removed_at = NULL"))
    assert await found(shelf, "hare") == "a"
    await shelf.write(lambda db: db.execute("DELETE FROM items WHERE job_id = 'a'"))
    assert await found(shelf, "hare") == ""
    assert await found(shelf, "sea") == "b"


async def test_what_the_first_to_sign_in_takes_over_is_found_as_theirs(
    indexed: bool, tmp_path: Path
) -> None:
    gallery = Gallery.open(tmp_path / "gallery.db", tmp_path)
    await add(gallery, "a", "a red fox", Account(ME.deployment, ""))
    await add(gallery, "b", "a red hare", Account(ME.deployment, ""))
    assert await found(gallery, "red", "") == "ab"
    await gallery.write(ledger.signed_in, ME.owner)
    assert await found(gallery, "red") == "ab"
    assert await found(gallery, "red", "") == ""
    page = await gallery.read(items.page, ME.owner, Wanted(kind="image"))
    assert page.total == 2
    await gallery.close()


async def test_the_index_is_made_anew_when_an_sqlite_without_it_was_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "gallery.db"
    for name, has_fts5 in (("a", True), ("b", False), ("c", True)):
        with monkeypatch.context() as patch:
            if not has_fts5:
                patch.setattr(search, "_has_fts5", lambda _: False)
            gallery = Gallery.open(path, tmp_path)
            assert await gallery.read(search._is_kept) is has_fts5
            await add(gallery, name, "a red fox")
            there = "abc"[: "abc".index(name) + 1]
            assert await found(gallery, "fox") == there
            await gallery.close()
