from __future__ import annotations

import errno
from pathlib import Path

import pytest

from materializer.errors import DiskTrouble
from materializer.place import Places, disk_trouble


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / ".partial").mkdir()
    return Places(tmp_path, tmp_path / ".partial")


async def test_a_part_becomes_visible_under_its_final_name(places: Places) -> None:
    part = places.part("job", 0)
    part.write_bytes(b"whole")
    final = await places.commit(part, "job_0.png")
    assert final == places.outputs / "job_0.png"
    assert final.read_bytes() == b"whole"
    assert not part.exists()


async def test_file_and_directory_are_synced_around_the_rename(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(
        "os.fsync", lambda fd: done.append(Path(f"/proc/self/fd/{fd}").readlink().name)
    )
    replace = Path.replace

    def replacing(self: Path, target: Path) -> Path:
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replacing)
    part = places.part("job", 0)
    part.write_bytes(b"x")
    await places.commit(part, "job_0.png")
    assert done == ["job_0.part", "rename", places.outputs.name]


async def test_what_stands_under_the_name_already_is_found(places: Places) -> None:
    assert await places.present("job", 1) is None
    (places.outputs / "job_1.png").touch()
    (places.outputs / "job_10.png").touch()
    assert await places.present("job", 1) == places.outputs / "job_1.png"


async def test_a_link_is_not_taken_for_an_output(
    places: Places, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").touch()
    (places.outputs / "job_0.png").symlink_to(tmp_path / "elsewhere")
    assert await places.present("job", 0) is None


async def test_sweeping_removes_the_parts_of_that_job_only(places: Places) -> None:
    for name in ("job_0.part", "job_1.part", "job2_0.part"):
        (places.partial / name).touch()
    await places.sweep("job")
    assert [path.name for path in places.partial.iterdir()] == ["job2_0.part"]


async def test_too_little_room_is_trouble_that_says_what_to_do(places: Places) -> None:
    await places.require_free(0)
    with pytest.raises(DiskTrouble, match="free some space"):
        await places.require_free(2**60)


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "full"), (errno.EACCES, "Permission denied")]
)
def test_an_error_of_the_file_system_is_put_in_words(number: int, words: str) -> None:
    with pytest.raises(DiskTrouble, match=words), disk_trouble():
        raise OSError(number, "Permission denied")
