from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from materializer.devserver.catalog import Order
from materializer.devserver.deployment import Deployment, Row
from materializer.devserver.memory import Memory
from materializer.devserver.orders import read_order
from materializer.errors import SettingsInvalid

MS = 1_000_000
ME = "https://site|me"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


def order(prompt: str = "a cat") -> Order:
    body = f'{{"capability": "text_to_image", "prompt": "{prompt}"}}'
    return read_order(body.encode())


def queue(deployment: Deployment, job_id: str) -> Row:
    return deployment.submit(
        5 * MS,
        owner=ME,
        job_id=job_id,
        capability="icon",
        request={"prompt": "ä"},
        key=f"key-{job_id}",
    )


async def test_rows_come_back_as_they_were(path: Path) -> None:
    async with Memory(path) as memory:
        deployment = Deployment(0, memory.rows, memory.keep_row)
        for job_id in ("queued", "running", "succeeded", "failed"):
            queue(deployment, job_id)
        deployment.start(6 * MS, "running")
        output = {"images": [{"url": "http://x/1.png"}], "seed": 1.5, "text": None}
        deployment.succeed(7 * MS, "succeeded", output)
        deployment.fail(8 * MS, "failed", "No.", "policy")
        before = {job: deployment.row(job, ME) for job in ("queued", "failed")}
        before |= {job: deployment.row(job, ME) for job in ("running", "succeeded")}
    async with Memory(path) as memory:
        assert {row.job_id: row for row in memory.rows} == before
        again = Deployment(0, memory.rows, memory.keep_row)
        assert again.keyed(ME, "key-failed") == before["failed"]
        assert again.keyed("https://site|you", "key-failed") is None


async def test_an_order_is_remembered_until_its_job_has_ended(path: Path) -> None:
    async with Memory(path) as memory:
        deployment = Deployment(0, memory.rows, memory.keep_row)
        for job_id in ("open", "ended"):
            memory.keep_order(job_id, order(job_id))
            queue(deployment, job_id)
        deployment.succeed(7 * MS, "ended", {})
    async with Memory(path) as memory:
        assert memory.orders == {"open": order("open")}


async def test_an_order_that_was_never_accepted_is_not_carried_out(path: Path) -> None:
    async with Memory(path) as memory:
        memory.keep_order("lost", order())
    async with Memory(path) as memory:
        assert memory.orders == {}


async def test_an_object_is_there_at_once_and_over_a_restart(path: Path) -> None:
    data = bytes(range(256)) * 4096
    async with Memory(path) as memory:
        memory.keep_object("a.png", b"old", "image/gif")
        memory.keep_object("a.png", data, "image/png")
        assert await memory.fetch("a.png") == (data, "image/png")
        assert await memory.fetch("b.png") is None
    async with Memory(path) as memory:
        assert await memory.fetch("a.png") == (data, "image/png")


async def test_what_was_spoken_and_where_are_remembered(path: Path) -> None:
    async with Memory(path) as memory:
        assert (memory.port, dict(memory.spoken)) == (0, {})
        memory.keep_port(1)
        memory.keep_port(4321)
        memory.spoken["digest"] = "Welcome."
        assert memory.spoken["digest"] == "Welcome."
    async with Memory(path) as memory:
        assert (memory.port, dict(memory.spoken)) == (4321, {"digest": "Welcome."})


async def test_what_is_written_survives_the_death_of_the_process(path: Path) -> None:
    async with Memory(path) as memory:
        memory.keep_port(4321)
        await memory.written()
        # What a killed process leaves behind: no lock, and the log not yet merged.
        for name in ("memory.db", "memory.db-wal"):
            copy = path.with_name("copy" + name)
            copy.write_bytes(path.with_name(name).read_bytes())
    async with Memory(path.with_name("copymemory.db")) as memory:
        assert memory.port == 4321


async def test_only_its_user_can_read_it(path: Path) -> None:
    async with Memory(path):
        assert path.stat().st_mode & 0o777 == 0o600


async def test_a_second_backend_in_the_directory_is_told(path: Path) -> None:
    async with Memory(path) as memory:
        with pytest.raises(SettingsInvalid, match=r"another backend is .*--state"):
            async with Memory(path):
                pass
        memory.keep_port(1)
        await memory.written()


@pytest.mark.parametrize("content", ["garbage", "newer"])
async def test_a_file_that_is_not_ours_is_left_alone(path: Path, content: str) -> None:
    if content == "garbage":
        path.write_bytes(b"garbage" * 1000)
    else:
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version = 99")
        db.close()
    before = path.read_bytes()
    with pytest.raises(SettingsInvalid, match=r"it cannot be read.*--state"):
        async with Memory(path):
            pass
    if content == "garbage":
        assert path.read_bytes() == before


async def test_what_cannot_be_written_is_logged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Memory(path) as memory:
        memory.keep_port(2**70)
        memory.keep_port(7)
        await memory.written()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    async with Memory(path) as memory:
        assert memory.port == 7
