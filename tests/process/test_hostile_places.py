"""What other users of the machine could put in our way, and what they could read."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path

import pytest

from materializer.config import Paths
from materializer.errors import DiskTrouble, FetchError
from materializer.fetch import write
from materializer.fetch.headers import Body
from materializer.fetch.partial import Partial
from materializer.ipc.endpoint import discover, endpoint_file
from materializer.place import Places
from process.house import MATERIALIZER, MEDIA, SOON, App, House, posix, started, until

pytestmark = posix

# Swaps names for links to what is not ours, as fast as it can.
_SWAPPER = """
import os, sys
outputs, victim, elsewhere, *jobs = sys.argv[1:]
partial = outputs + "/.partial"
was = outputs + ".was"
def attempt(do, *names):
    try:
        do(*names)
    except OSError:
        pass
print("at work", flush=True)
for turn in range(300):
    plant = os.symlink if turn % 2 else os.link
    for job in jobs:
        for name in ("0.part", "0.part.json", "0.part.json.new", "1.part"):
            attempt(os.unlink, f"{partial}/{job}_{name}")
            attempt(plant, victim, f"{partial}/{job}_{name}")
        attempt(plant, victim, f"{outputs}/{job}_0.png")
    if turn % 8 == 0:
        os.rename(outputs, was)
        os.symlink(elsewhere, outputs)
        os.unlink(outputs)
        os.rename(was, outputs)
"""


@asynccontextmanager
async def daemon(
    house: House, *flags: str, umask: str = "077", state: Path | None = None
) -> AsyncIterator[App]:
    """Run a daemon under a umask, and a consumer of its updates."""
    command = (
        *("sh", "-c", f'umask {umask}; exec "$@"', "sh"),
        *(*MATERIALIZER, "run", "--ready-json", "--min-free-space", "0"),
        *("--convex-url", house.backend.convex_url),
        *("--token-file", str(house.backend.token_file), *flags),
    )
    environ = house.environ | {"STELLA_STATE_DIR": str(state or house.state)}
    async with started(house.root, environ, *command) as running:
        assert json.loads(await running.line())["ready"] is True
        async with App(state or house.state) as app:
            await app.subscribe()
            await app.feed("live")
            yield app


def modes(state: Path) -> dict[str, str]:
    """Return what others may do with each thing below a directory, if anything."""
    found = {path: path.lstat().st_mode for path in (state, *state.rglob("*"))}
    return {
        path.name: oct(stat.S_IMODE(mode))
        for path, mode in found.items()
        if stat.S_IMODE(mode) & 0o077
    }


@pytest.mark.parametrize("place", [0o1777, 0o777], ids=["like /tmp", "without sticky"])
async def test_in_a_world_writable_place_under_umask_000_nothing_is_for_others(
    house: House, place: int
) -> None:
    ground = house.root / "ground"
    ground.mkdir()
    ground.chmod(place)
    state = ground / "state"
    async with daemon(house, umask="000", state=state) as app:
        house.finish_picture("job")
        house.finish("said", {"text": "a secret"}, capability="speech_to_text")
        for _ in range(2):
            await app.update()
        await until(lambda: any(state.glob("media/thumbnails/job_0*")))
        names = {path.name for path in state.rglob("*")}
        assert {"gallery.db-wal", "endpoint.json", "materializer.log"} <= names
        assert {"job_0.png", "said_0.txt", "said_1.json"} <= names
        assert modes(state) == {}
        # It is elsewhere when the path is too long for a socket.
        socket = Path(discover(endpoint_file(state)).path)
        assert stat.S_ISSOCK(socket.lstat().st_mode)
        assert modes(socket.parent) == {}


async def test_nor_is_what_a_command_saves_there_without_a_daemon(
    house: House,
) -> None:
    ground = house.root / "ground"
    ground.mkdir()
    ground.chmod(0o777)
    state = ground / "state"
    house.finish_picture("job")
    end = await house.command(
        *("sh", "-c", 'umask 000; exec "$@"', "sh"),
        *(*MEDIA, "status", "--job-id", "job", "--save"),
        STELLA_MEDIA_TOKEN_FILE=str(house.backend.token_file),
        STELLA_STATE_DIR=str(state),
    )
    assert end.code == 0, end.err
    names = {path.name for path in state.rglob("*")}
    assert {"job_0.png", "gallery.db", "daemon.lock"} <= names
    assert modes(state) == {}


async def test_links_that_lie_in_wait_are_replaced_and_not_written_through(
    house: House, tmp_path: Path
) -> None:
    """At the names that a job's files will have, there is something else already."""
    victim = tmp_path / "victim"
    victim.write_text("keep")
    async with daemon(house) as app:
        partial = house.outputs / ".partial"
        for name in ("a_0.part", "a_0.part.json", "a_0.part.json.new"):
            (partial / name).hardlink_to(victim)
        (house.outputs / "b_0.png").symlink_to(victim)
        (house.outputs / "c_0.png").hardlink_to(victim)
        for job in "abc":
            house.finish_picture(job)
        told = {(await app.update())["payload"]["jobId"] for _ in range(3)}
    assert told == {"a", "b", "c"}
    assert victim.read_text() == "keep"
    for job in "abc":
        kept = (house.outputs / f"{job}_0.png").lstat()
        assert stat.S_ISREG(kept.st_mode)
        assert kept.st_nlink == 1


async def test_names_that_are_swapped_all_the_time_lead_nowhere(
    state: Path, tmp_path: Path
) -> None:
    """Whoever can write to the directory can hinder us, and do no more than that."""
    outputs = Paths.of(state).outputs
    (outputs / ".partial").mkdir(parents=True)
    victim, elsewhere = tmp_path / "victim", tmp_path / "elsewhere"
    victim.write_text("keep")
    (elsewhere / ".partial").mkdir(parents=True)
    places = Places(outputs, outputs / ".partial")
    jobs = [f"job{n}" for n in range(8)]
    kept = hindered = 0
    swapper = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SWAPPER),
        *map(str, (outputs, victim, elsewhere, *jobs)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert swapper.stdout is not None
        await swapper.stdout.readline()
        async with asyncio.timeout(SOON):
            while swapper.returncode is None:
                for way, job in product((_inline, _fetch), jobs):
                    try:
                        await way(places, job)
                        kept += 1
                    except (DiskTrouble, FetchError, OSError):
                        hindered += 1
    finally:
        if swapper.returncode is None:
            swapper.kill()
        await swapper.communicate()
    assert kept
    assert hindered
    assert victim.read_text() == "keep"
    assert [path.name for path in elsewhere.rglob("*")] == [".partial"]
    await _inline(places, "calm")
    assert (outputs / "calm_1.png").read_bytes() == b"inline"


async def _inline(places: Places, job: str) -> None:
    part = places.part(job, 1)
    await write(b"inline", part, places.opener)
    await places.commit(part, f"{job}_1.png")


async def _fetch(places: Places, job: str) -> None:
    part = places.part(job, 0)
    with Partial(part, "https://files.test/a", places.opener) as partial:
        partial.begin(Body(100, etag='"a"'))
        partial.note()
        partial.write(memoryview(b"fetched"))
        partial.finish()
    await places.commit(part, f"{job}_0.png")
