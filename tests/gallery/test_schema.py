from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from materializer.errors import GalleryUnusable
from materializer.gallery import Gallery, items, outbox, schema
from materializer.gallery.items import Wanted
from materializer.model import Action

DATA = Path(__file__).parents[1] / "data"
ME = "https://happy.example|me"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A gallery that the first version has left: six jobs of two accounts."""
    path = tmp_path / "gallery.db"
    shutil.copy(DATA / "gallery-1.db", path)
    return path


@pytest.fixture
def failing_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE half (a)")
        raise RuntimeError("no further")

    steps: tuple[Callable[[sqlite3.Connection], None], ...] = (*schema.STEPS, fail)
    monkeypatch.setattr(schema, "STEPS", steps)
    monkeypatch.setattr(schema.migrate, "__defaults__", (len(steps),))
    return iter(())


def tables(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT name, sql FROM sqlite_schema"))


async def test_a_gallery_of_the_first_version_keeps_everything_it_had(
    old: Path,
) -> None:
    gallery = Gallery.open(old, Path("/o"))
    page = await gallery.read(items.page, ME, Wanted())
    shown = [(item.id, item.capability, item.prompt) for item in page.items]
    assert shown == [
        ("talk_0", "speech_to_text", None),
        ("song_0", "text_to_music", "赤い狐の歌"),
        ("fox_0", "text_to_image", "A red fox, Café de Flore"),
        ("fox_1", "text_to_image", "A red fox, Café de Flore"),
    ]
    counts = await gallery.read(items.counts, ME)
    assert counts == {"done": 3, "failed": 1, "pending": 1, "items": 4, "bytes": 401}
    talk = await gallery.read(items.record, ME, "talk")
    assert talk is not None
    assert talk.files == ("/o/talk_0.txt", "/o/talk_1.json")
    [due] = await gallery.read(items.to_tell, ME)
    assert due.job.job_id == "broken"
    assert await gallery.read(outbox.acknowledged, "app", ME) == 2
    updates = await gallery.read(outbox.after, ME, 0, 9)
    assert [update.seq for update in updates] == [1, 2, 3]
    action: Action = "open"
    assert (await gallery.write(outbox.append, ME, action, {})).seq == 5
    await gallery.close()


@pytest.mark.parametrize(
    ("search", "found"), [("caf flor", ["fox_0", "fox_1"]), ("狐", ["song_0"])]
)
async def test_what_an_older_version_entered_can_be_searched(
    old: Path, search: str, found: list[str]
) -> None:
    gallery = Gallery.open(old, Path("/o"))
    page = await gallery.read(items.page, ME, Wanted(search=search))
    assert [item.id for item in page.items] == found
    await gallery.close()


async def test_a_gallery_that_grew_old_is_like_a_new_one(
    old: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new.db"
    for path in (old, new):
        await Gallery.open(path, tmp_path).close()
    assert tables(old) == tables(new)
    with closing(sqlite3.connect(old)) as db:
        assert schema.version(db) == len(schema.STEPS) == 2


async def test_a_step_that_fails_leaves_the_older_version_as_it_was(
    old: Path, failing_step: None
) -> None:
    before = tables(old)
    with pytest.raises(RuntimeError, match="no further"):
        Gallery.open(old, Path("/o"))
    assert tables(old) == before
    with closing(sqlite3.connect(old)) as db:
        assert schema.version(db) == 1


async def test_a_newer_schema_is_refused_with_what_to_do_and_left_as_it_is(
    tmp_path: Path,
) -> None:
    path = tmp_path / "gallery.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE of_the_future (a)")
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    for mend in (False, True):
        with pytest.raises(GalleryUnusable, match=r"newer version .*99.* update it"):
            Gallery.open(path, tmp_path, mend=mend)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["gallery.db"]


async def test_a_version_that_was_released_is_made_as_ever(old: Path) -> None:
    """Else a sound gallery of that version would count as damaged."""
    with (
        closing(sqlite3.connect(old)) as first,
        closing(sqlite3.connect(":memory:", isolation_level=None)) as second,
    ):
        assert schema.built(first) == 1
        schema.migrate(second, 2)
        assert schema.built(second) == 2
        made = sorted(schema.made_of(second).items())
    digest = hashlib.sha256(repr(made).encode()).hexdigest()
    assert digest.startswith("364483230012d34d")
