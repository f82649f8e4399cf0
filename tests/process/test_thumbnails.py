"""Previews, with a real daemon: made apart, later, and again when they are lost."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path

from PIL import Image

from materializer.ipc.jsonlines import Request
from process.house import App, House, posix, started, until

pytestmark = posix

WITHOUT_PILLOW = (
    "import sys; sys.modules['PIL'] = None;"
    "from materializer.cli import materializer; materializer()"
)


async def thumbnail(app: App, job_id: str) -> str | None:
    [item] = (await app.call("job.get", jobId=job_id))["outputs"]
    found: str | None = item.get("thumbnailPath")
    return found


async def made(app: App, job_id: str) -> None:
    """Return when the daemon tells of the preview of a job's picture."""

    def tells(sent: Request) -> bool:
        event = {"topic": "gallery", "type": "thumbnail", "data": {"id": f"{job_id}_0"}}
        return sent.method == "event" and event.items() <= sent.params.items()

    await app._take(tells)


def check(path: str | None) -> None:
    assert path is not None
    with Image.open(path) as preview:
        assert preview.format == "WEBP"
    assert Path(path).stat().st_mode & 0o777 == 0o600


async def test_a_preview_comes_after_its_picture_was_told_of(house: House) -> None:
    async with house.daemon() as daemon, App(house.state) as app:
        await app.subscribe()
        house.finish_picture("j")
        update = await app.update()
        assert update["payload"]["jobId"] == "j"
        assert await thumbnail(app, "j") is None
        await made(app, "j")
        path = await thumbnail(app, "j")
        assert path == str(house.state / "media/thumbnails/j_0.webp")
        check(path)
        house.finish_picture("k")
        await made(app, "k")
        if sys.platform == "linux":  # the daemon itself opens no picture
            maps = Path(f"/proc/{daemon.pid}/maps").read_text()
            assert "PIL" not in maps
            assert "pydantic_core" in maps


async def test_a_daemon_that_was_killed_before_makes_it_at_its_next_start(
    house: House,
) -> None:
    async with house.daemon() as daemon, App(house.state) as app:
        await app.subscribe()
        house.finish_picture("j")
        await app.update()
        await daemon.killed()
    assert not (house.state / "media/thumbnails").exists()
    made = house.state / "media/thumbnails/j_0.webp"
    async with house.daemon(), App(house.state) as app:
        await until(made.exists)
        await until_told(app, "j")


async def test_a_directory_of_previews_that_was_removed_is_made_again(
    house: House,
) -> None:
    async with house.daemon(), App(house.state) as app:
        house.finish_picture("j")
        await made(app, "j")
    shutil.rmtree(house.state / "media/thumbnails")
    async with house.daemon(), App(house.state) as app:
        await until((house.state / "media/thumbnails/j_0.webp").exists)
        await until_told(app, "j")


async def until_told(app: App, job_id: str) -> None:
    path = await thumbnail(app, job_id)
    if path is None:
        await made(app, job_id)
        path = await thumbnail(app, job_id)
    check(path)


async def test_without_the_extra_the_daemon_does_all_else(house: House) -> None:
    command = (
        *(sys.executable, "-c", WITHOUT_PILLOW, "run", "--ready-json"),
        *("--convex-url", house.backend.convex_url, "--log-level", "debug"),
        *("--token-file", str(house.backend.token_file)),
    )
    async with started(house.root, house.environ, *command) as daemon:
        assert json.loads(await daemon.line())["ready"] is True
        async with App(house.state) as app:
            await until(lambda: "no thumbnails" in house.log())
            for job_id in ("j", "k"):
                house.finish_picture(job_id)
                await app.event("job", jobId=job_id, state="done")
            assert await thumbnail(app, "j") is None
        daemon.send(signal.SIGTERM)
        await daemon.ended()
    assert house.log().count("no thumbnails") == 1
    async with house.daemon(), App(house.state) as app:  # installed at last
        for job_id in ("j", "k"):
            await until((house.state / f"media/thumbnails/{job_id}_0.webp").exists)
