"""A desktop app's side, in Node, against the real daemon and a real job."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from materializer.ipc.endpoint import endpoint_file
from need import need
from process import house as houses
from process.house import App, House

CONSUMER = str(Path(__file__).with_name("consumer.mjs"))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    need("node")
    async with houses.house(tmp_path) as built:
        yield built


async def test_an_app_is_told_of_a_job_whose_files_it_finds(house: House) -> None:
    node = shutil.which("node")
    assert node is not None
    command = (node, CONSUMER, str(endpoint_file(house.state)), "app", "3")
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()  # so that nothing is too early for the other one
        await app.feed("live")
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(house.command(*command))
            pictures = await house.order(
                {
                    "capability": "text_to_image",
                    "prompt": "two lamps",
                    "input": {"num_images": 2},
                }
            )
            mesh = await house.order({"capability": "text_to_3d", "prompt": "a pebble"})
            house.finish_picture("third")
        items = (await app.call("gallery.list"))["items"]
        told = [await app.update() for _ in range(3)]
    end = watching.result()
    assert (end.code, end.err) == (0, "")
    updates = [json.loads(line) for line in end.out.splitlines()]
    expected = {
        job_id: [item["bytes"] for item in items if item["jobId"] == job_id]
        for job_id in (pictures, mesh, "third")
    }
    sizes = {update["payload"]["jobId"]: update.pop("sizes") for update in updates}
    assert sizes == expected
    assert [len(expected[job_id]) for job_id in (pictures, mesh)] == [2, 1]
    # Apart from what it found itself, Node was told what we were told.
    replay = {"replay": None}
    assert [u | replay for u in updates] == [u | replay for u in told]


async def test_an_app_notices_a_file_that_is_gone(house: House) -> None:
    node = shutil.which("node")
    assert node is not None
    command = (node, CONSUMER, str(endpoint_file(house.state)), "app", "1")
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        house.finish_picture("job")
        await app.update()
        (house.outputs / "job_0.png").unlink()
        end = await house.command(*command)
    assert json.loads(end.out)["sizes"] == [None]
