from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from encoded import picture
from materializer import inspection, watch
from materializer import inventory as inventories
from materializer.errors import DiskTrouble
from materializer.gallery import Gallery, files, items, ledger
from materializer.gallery.items import Wanted
from materializer.inventory import Inventory, Rebuilt
from materializer.model import Account, GalleryItem, Job, Kind, Placed, Settlement
from materializer.place import Places
from materializer.plan import Work
from materializer.thumbnails.shelf import Shelf

ME = Account("https://happy.example", "iss|me")
SOON = 10.0
PNG, OTHER = picture("PNG"), picture("PNG", "L")


class Keeping:
    """An inventory, and what it tells."""

    def __init__(self, gallery: Gallery, places: Places, shelf: Shelf) -> None:
        self.gallery = gallery
        self.places = places
        self.shelf = shelf
        self.outputs = places.outputs
        self.changes = 0
        self.told: asyncio.Queue[tuple[str, str, str, dict[str, Any]]] = asyncio.Queue()
        self.inventory = Inventory(
            gallery,
            places,
            shelf,
            emit=lambda *event: self.told.put_nowait(event),
            on_change=self._changed,
        )

    def _changed(self) -> None:
        self.changes += 1

    async def save(
        self, name: str, data: bytes = PNG, kind: Kind = "image", suffix: str = "png"
    ) -> Path:
        path = self.outputs / f"{name}_0.{suffix}"
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        placed = Placed(0, kind, str(path), len(data), digest, "image/png")
        job = Job(name, "succeeded", completed_at=5)
        now = path.stat().st_mtime_ns // 1_000_000
        await self.gallery.write(ledger.remember, ME, [Work(job, "register")])
        settled = Settlement(job, "done", (placed,))
        await self.gallery.write(ledger.settle, ME, settled, now, {})
        return path

    async def item(self, item_id: str) -> GalleryItem:
        item = await self.gallery.read(items.get, ME.owner, item_id)
        assert item is not None
        return item

    async def hears(self, what: str, **data: object) -> None:
        async with asyncio.timeout(SOON):
            assert await self.told.get() == (ME.owner, "gallery", what, data)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Let it follow what is done to the files, once it has looked at all."""
        looked = asyncio.Event()
        survey = self.inventory._survey

        async def surveyed(*, silent: bool) -> None:
            await survey(silent=silent)
            looked.set()

        self.inventory._survey = surveyed  # type: ignore[method-assign]
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(self.inventory.follow())
            async with asyncio.timeout(SOON):
                await looked.wait()
            yield
            task.cancel()


@pytest.fixture
async def keeping(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Keeping]:
    monkeypatch.setattr(watch, "STEP", 0.02)
    media = state / "media"
    places = Places(media / "outputs", media / "outputs" / ".partial")
    places.partial.mkdir(parents=True)
    gallery = Gallery.open(media / "gallery.db", places.outputs)
    yield Keeping(gallery, places, Shelf(media / "thumbnails"))
    await gallery.close()


async def test_a_file_that_goes_and_comes_back_is_told_and_stays_as_it_was(
    keeping: Keeping, tmp_path: Path
) -> None:
    file = await keeping.save("a")
    before = await keeping.item("a_0")
    async with keeping.following():
        shutil.move(file, tmp_path / "kept")
        await keeping.hears("missing", id="a_0")
        shutil.move(tmp_path / "kept", file)
        await keeping.hears("found", id="a_0")
    assert await keeping.item("a_0") == before
    assert (keeping.changes, keeping.told.empty()) == (1, True)


async def test_what_went_before_it_began_is_no_event_but_its_return_is(
    keeping: Keeping,
) -> None:
    file = await keeping.save("a")
    file.unlink()
    async with keeping.following():
        file.write_bytes(PNG)
        await keeping.hears("found", id="a_0")


@pytest.mark.parametrize("while_it_follows", [True, False])
async def test_a_whole_edit_is_taken_over(
    keeping: Keeping, *, while_it_follows: bool
) -> None:
    file = await keeping.save("a")

    def edit() -> None:
        file.write_bytes(OTHER)
        later = time.time_ns() + 10**9
        os.utime(file, ns=(later, later))

    if not while_it_follows:
        edit()
    async with keeping.following():
        if while_it_follows:
            edit()
        await keeping.hears("changed", id="a_0")
    item = await keeping.item("a_0")
    assert (item.bytes, item.sha256) == (len(OTHER), hashlib.sha256(OTHER).hexdigest())
    assert item.saved_at == file.stat().st_mtime_ns // 1_000_000
    assert keeping.changes == 1


async def test_an_edit_of_the_same_length_is_noticed_by_its_time(
    keeping: Keeping,
) -> None:
    file = await keeping.save("a", b"abc", "download", "txt")
    file.write_bytes(b"xyz")
    later = time.time_ns() + 10**9
    os.utime(file, ns=(later, later))
    async with keeping.following():
        await keeping.hears("changed", id="a_0")


async def test_an_older_file_in_its_place_is_noticed_by_its_length(
    keeping: Keeping,
) -> None:
    file = await keeping.save("a")
    file.write_bytes(OTHER)
    os.utime(file, (1, 1))
    async with keeping.following():
        await keeping.hears("changed", id="a_0")
    assert (await keeping.item("a_0")).bytes == len(OTHER) != len(PNG)


async def test_a_file_that_was_only_touched_is_read_once(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    inspect = inspection.inspect

    def note(places: Places, name: str, *args: Any, **kwargs: Any) -> Any:
        read.append(name)
        return inspect(places, name, *args, **kwargs)

    monkeypatch.setattr("materializer.inventory.inspect", note)
    file = await keeping.save("a")
    later = time.time_ns() + 10**9
    os.utime(file, ns=(later, later))
    for _ in range(2):
        await keeping.inventory._survey(silent=True)
    assert read == ["a_0.png"]
    assert (keeping.changes, keeping.told.empty()) == (0, True)


async def test_damage_is_told_and_what_was_saved_stays_known(keeping: Keeping) -> None:
    file = await keeping.save("a")
    before = await keeping.item("a_0")
    async with keeping.following():
        file.write_bytes(PNG[:-9])
        await keeping.hears("damaged", id="a_0")
    assert await keeping.item("a_0") == before
    assert keeping.changes == 0


async def test_what_is_no_output_of_ours_is_nobody_s_business(
    keeping: Keeping,
) -> None:
    await keeping.save("a")
    async with keeping.following():
        for name in ("holiday.png", "b_0.png", "a_1.png", "a_0.jpg"):
            (keeping.outputs / name).write_bytes(PNG)
        (await keeping.save("z")).unlink()
        await keeping.hears("missing", id="z_0")
    assert keeping.told.empty()


async def test_without_the_disk_no_file_counts_as_deleted(keeping: Keeping) -> None:
    first, second = await keeping.save("a"), await keeping.save("b")
    async with keeping.following():
        keeping.places.partial.rmdir()
        first.unlink()
        with pytest.raises(DiskTrouble):
            await keeping.places.stamps(["a_0.png"])
        await asyncio.sleep(0.2)  # for what must not be told
        assert keeping.told.empty()
        keeping.places.partial.mkdir()
        second.unlink()
        await keeping.hears("missing", id="b_0")
    assert keeping.told.empty()


async def test_another_directory_in_its_place_is_no_deletion_of_everything(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watch, "LOOK", 0.05)
    file, lost = await keeping.save("a"), await keeping.save("lost")
    looks = asyncio.Queue[None]()
    survey = Inventory._survey

    async def surveyed(inventory: Inventory, *, silent: bool) -> None:
        try:
            await survey(inventory, silent=silent)
        finally:
            looks.put_nowait(None)

    monkeypatch.setattr(Inventory, "_survey", surveyed)
    async with keeping.following(), asyncio.timeout(SOON):
        await looks.get()
        keeping.outputs.rename(tmp_path / "away")
        keeping.outputs.mkdir()  # where a disk was
        await looks.get()
        assert keeping.told.empty()
        keeping.outputs.rmdir()
        (tmp_path / "away" / lost.name).unlink()
        (tmp_path / "away").rename(keeping.outputs)
        await keeping.hears("missing", id="lost_0")
        assert keeping.told.empty()
        file.unlink()
        await keeping.hears("missing", id="a_0")


async def test_many_files_are_compared_page_by_page(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventories, "_PAGE", 2)
    for name in "abcde":
        (await keeping.save(name)).unlink()
    await keeping.inventory._survey(silent=False)
    for name in "abcde":
        await keeping.hears("missing", id=f"{name}_0")


@pytest.mark.parametrize("delete_file", [True, False])
async def test_an_item_is_removed_with_its_preview_and_its_file_if_wanted(
    keeping: Keeping, *, delete_file: bool
) -> None:
    file = await keeping.save("a")
    await asyncio.to_thread(keeping.shelf.put, "a_0.png", b"preview")
    remove = keeping.inventory.remove
    assert not await remove("iss|you", "a_0", delete_file=delete_file)
    assert file.exists()
    assert await remove(ME.owner, "a_0", delete_file=delete_file)
    assert not await remove(ME.owner, "a_0", delete_file=delete_file)
    await keeping.hears("removed", id="a_0")
    assert file.exists() is not delete_file
    assert keeping.shelf.names() == set()
    assert (keeping.changes, keeping.told.empty()) == (1, True)


async def test_what_was_removed_is_no_longer_counted_as_missing(
    keeping: Keeping,
) -> None:
    """A name for each removal would be kept for as long as the daemon runs."""
    (await keeping.save("a")).unlink()
    await keeping.inventory._survey(silent=False)
    assert keeping.inventory._missing == {"a_0.png"}
    await keeping.inventory.remove(ME.owner, "a_0", delete_file=True)
    assert keeping.inventory._missing == set()


async def test_an_item_whose_file_cannot_be_deleted_is_not_removed(
    keeping: Keeping,
) -> None:
    await keeping.save("a")
    keeping.places.partial.rmdir()
    with pytest.raises(DiskTrouble):
        await keeping.inventory.remove(ME.owner, "a_0", delete_file=True)
    assert (await keeping.item("a_0")).id == "a_0"
    keeping.places.partial.mkdir()
    assert await keeping.inventory.remove(ME.owner, "a_0", delete_file=True)


async def test_it_is_rebuilt_from_what_is_whole_and_ours(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventories, "_PAGE", 2)
    await keeping.gallery.write(ledger.signed_in, ME.owner)
    await keeping.save("known")
    await keeping.save("removed")
    await keeping.gallery.write(files.remove, ME.owner, "removed_0", 9)
    for name, data in {
        "p_0.png": PNG,
        "p_2.png": OTHER,
        "talk_0.txt": b"Hello",
        "talk_1.json": b'{"text": "Hello"}',
        "torn_0.png": PNG[:-9],
        "holiday.png": PNG,
        "p_0.png.lock": b"",
    }.items():
        (keeping.outputs / name).write_bytes(data)
    (keeping.outputs / "dir_0.png").mkdir()
    assert await keeping.inventory.rebuild() == Rebuilt(4, ("torn_0.png",))
    assert await keeping.inventory.rebuild() == Rebuilt(0, ("torn_0.png",))
    page = await keeping.gallery.read(items.page, ME.owner, Wanted())
    kinds = {item.id: item.kind for item in page.items}
    assert kinds == {
        "known_0": "image",
        "p_0": "image",
        "p_2": "image",
        "talk_0": "text",
    }
    [text, whole] = await keeping.gallery.read(items.placed, ME.owner, "talk")
    assert (text.text, whole.companion) == ("Hello", True)
    await keeping.hears("rebuilt", added=4)
    assert (keeping.changes, keeping.told.empty()) == (1, True)


async def test_where_nobody_ever_signed_in_it_is_rebuilt_for_whoever_does(
    keeping: Keeping,
) -> None:
    (keeping.outputs / "p_0.png").write_bytes(PNG)
    assert await keeping.inventory.rebuild() == Rebuilt(1, ())
    assert await keeping.gallery.read(ledger.last_owner) == ""
    await keeping.gallery.write(ledger.signed_in, ME.owner)
    assert (await keeping.item("p_0")).job_id == "p"


async def test_without_the_disk_nothing_is_rebuilt(keeping: Keeping) -> None:
    keeping.places.partial.rmdir()
    with pytest.raises(DiskTrouble):
        await keeping.inventory.rebuild()
