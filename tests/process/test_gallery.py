"""The gallery for people: shown, removed, verified, rebuilt, exported, and watched."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from materializer.ipc.jsonlines import NOT_FOUND, Request, RpcError
from process.house import MATERIALIZER, SOON, App, Ended, House, png, posix

TRANSCRIPT = {"text": "Hello, world.", "language": "en"}


async def gallery(house: House, *words: str, **environ: str) -> Ended:
    command = (*MATERIALIZER, "gallery", *words)
    return await house.command(*command, stdin=None, **environ)


@asynccontextmanager
async def living(house: House, *job_ids: str) -> AsyncIterator[App]:
    """Run a daemon that has these pictures, and an app that hears its events."""
    async with house.daemon("--no-thumbnails"), App(house.state) as app:
        await app.feed("live")
        for job_id in job_ids:
            house.finish_picture(job_id)
            await app.event("job", jobId=job_id, state="done")
        yield app


async def saved(house: House, *job_ids: str) -> None:
    """Let a daemon save pictures, and end."""
    async with living(house, *job_ids) as app:
        await app.call("daemon.shutdown")


async def told(app: App, what: str, item_id: str) -> None:
    """Wait until the gallery tells this of an item."""
    params = {"topic": "gallery", "type": what, "data": {"id": item_id}}

    def fits(sent: Request) -> bool:
        return sent.method == "event" and params.items() <= sent.params.items()

    await app._take(fits)


async def told_again(app: App, job_id: str) -> None:
    """Wait until the feed has said what a job is of which files were found."""
    async with asyncio.timeout(SOON):
        while True:
            job = await app.call("job.get", jobId=job_id)
            if (job["status"], job["state"]) == ("succeeded", "done"):
                return
            await asyncio.sleep(0.02)


async def ids(app: App) -> list[str]:
    return [item["id"] for item in (await app.call("gallery.list"))["items"]]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("runs", [True, False], ids=["daemon", "no daemon"])
async def test_an_item_is_shown_and_an_unknown_one_exits_1(
    house: House, *, runs: bool
) -> None:
    async with living(house, "fox") as app:
        item = await app.call("gallery.get", id="fox_0")
        if not runs:
            await app.call("daemon.shutdown")
        shown = await gallery(house, "show", "fox_0", "--json")
        words = await gallery(house, "show", "fox_0")
        unknown = [
            await gallery(house, *command, "fox_1")
            for command in (["show"], ["open"], ["remove"], ["show", "--json"])
        ]
    assert (shown.code, shown.err) == (0, "")
    assert json.loads(shown.out) == item
    assert (words.code, words.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in words.out.splitlines())
    assert lines == {name: str(value) for name, value in item.items()}
    assert {(end.code, end.out, end.err) for end in unknown} == {
        (1, "", "Nothing in the gallery is called fox_1.\n")
    }


async def test_where_there_is_no_gallery_everything_says_so_in_words(
    house: House,
) -> None:
    assert (await gallery(house, "show", "a_0")).code == 1
    assert (await gallery(house, "export")) == Ended(0, "", "")
    nothing = await gallery(house, "remove", "a_0")
    assert nothing == Ended(1, "", "Nothing in the gallery is called a_0.\n")
    assert await gallery(house, "rebuild") == Ended(0, "0 files entered\n", "")


@pytest.mark.parametrize("runs", [True, False], ids=["daemon", "no daemon"])
@pytest.mark.parametrize("files", [True, False], ids=["with file", "file stays"])
async def test_what_was_removed_never_comes_back(
    house: House, *, runs: bool, files: bool
) -> None:
    flags = ["--delete-file"] if files else []
    async with living(house, "fox", "hen") as app:
        await app.call("display.subscribe", consumer="app")
        if not runs:
            await app.call("daemon.shutdown")
        removed = await gallery(house, "remove", "fox_0", *flags)
        if runs:
            await told(app, "removed", "fox_0")
            update = await app.update()
            assert update["action"] == "remove"
            path = str(house.outputs / "fox_0.png")
            assert update["payload"]["asset"] == {"kind": "image", "filePaths": [path]}
            with pytest.raises(RpcError) as refused:
                await app.call("gallery.get", id="fox_0")
            assert refused.value.rpc_code == NOT_FOUND
    assert (removed.code, removed.err) == (0, "")
    assert (await gallery(house, "remove", "fox_0")).code == 1
    rebuilt = await gallery(house, "rebuild")
    assert rebuilt == Ended(0, "0 files entered\n", "")
    # The feed shows both jobs to the next daemon, which waits until it has looked.
    async with living(house, "owl") as app:
        assert await ids(app) == ["owl_0", "hen_0"]
        update = await app.call("display.subscribe", consumer="app")
        update = await app.update()
        assert update["action"] == "remove"
    there = {"hen_0.png", "owl_0.png"} | (set() if files else {"fox_0.png"})
    assert {*house.files()} == there


async def test_a_transcript_is_removed_with_all_its_files(house: House) -> None:
    async with living(house) as app:
        house.finish("talk", TRANSCRIPT, capability="speech_to_text")
        await app.event("job", jobId="talk", state="done")
        assert house.files() == ["talk_0.txt", "talk_1.json"]
        await app.call("gallery.remove", id="talk_0", deleteFile=True)
        assert house.files() == []
        job = await app.call("job.get", jobId="talk")
        assert (job["files"], job["outputs"]) == ([], [])


@pytest.mark.parametrize("id_", ["../fox_0", "fox_0.png", "/etc/passwd", "fox_00", "_"])
async def test_only_an_item_s_own_id_removes_it(house: House, id_: str) -> None:
    async with living(house, "fox") as app:
        with pytest.raises(RpcError) as refused:
            await app.call("gallery.remove", id=id_, deleteFile=True)
        assert refused.value.rpc_code == NOT_FOUND
        assert house.files() == ["fox_0.png"]
        assert await ids(app) == ["fox_0"]


async def test_a_file_that_is_deleted_is_missing_and_stays_away(house: House) -> None:
    async with living(house, "fox", "hen") as app:
        house.outputs.joinpath("fox_0.png").unlink()
        await told(app, "missing", "fox_0")
        assert (await app.call("gallery.get", id="fox_0"))["missing"] is True
        assert (await app.call("gallery.get", id="hen_0"))["missing"] is False
    async with living(house, "owl") as app:
        assert (await app.call("gallery.get", id="fox_0"))["missing"] is True
    assert house.files() == ["hen_0.png", "owl_0.png"]
    assert await gallery(house, "rebuild") == Ended(0, "0 files entered\n", "")


async def test_a_file_that_is_moved_back_is_there_again(
    house: House, tmp_path: Path
) -> None:
    file = house.outputs / "fox_0.png"
    async with living(house, "fox") as app:
        before = await app.call("gallery.get", id="fox_0")
        shutil.move(file, tmp_path / "kept.png")
        await told(app, "missing", "fox_0")
        shutil.move(tmp_path / "kept.png", file)
        await told(app, "found", "fox_0")
        assert await app.call("gallery.get", id="fox_0") == before


async def test_a_file_that_is_edited_is_taken_as_it_is_now(house: House) -> None:
    file = house.outputs / "fox_0.png"
    async with living(house, "fox") as app:
        file.write_bytes(png("another fox"))
        await told(app, "changed", "fox_0")
        item = await app.call("gallery.get", id="fox_0")
        assert (item["bytes"], item["sha256"]) == (file.stat().st_size, digest(file))
        assert (await gallery(house, "verify")).code == 0


async def test_an_edit_while_no_daemon_ran_is_noticed_when_it_starts(
    house: House,
) -> None:
    await saved(house, "fox")
    file = house.outputs / "fox_0.png"
    file.write_bytes(png("another fox"))
    async with house.daemon(), App(house.state) as app:
        async with asyncio.timeout(SOON):
            while True:
                item = await app.call("gallery.get", id="fox_0")
                if item["sha256"] == digest(file):
                    break
                await asyncio.sleep(0.02)
        assert item["bytes"] == file.stat().st_size


@pytest.mark.parametrize("runs", [True, False], ids=["daemon", "no daemon"])
async def test_damage_is_named_and_exits_1(house: House, *, runs: bool) -> None:
    async with living(house, "fox", "hen", "owl") as app:
        whole = await gallery(house, "verify")
        if not runs:
            await app.call("daemon.shutdown")
        fox, hen = (house.outputs / f"{name}_0.png" for name in ("fox", "hen"))
        fox.write_bytes(fox.read_bytes()[:-20])
        hen.unlink()
        if runs:
            await told(app, "damaged", "fox_0")
        found = await gallery(house, "verify")
    assert whole == Ended(0, "3 files, as saved\n", "")
    assert (found.code, found.err) == (1, "")
    assert {*found.out.splitlines()} == {
        f"damaged: {fox}",
        f"missing: {hen}",
        "2 of 3 files not as saved",
    }


@posix
async def test_a_link_in_the_place_of_a_file_is_not_read(
    house: House, tmp_path: Path
) -> None:
    await saved(house, "fox")
    fox = house.outputs / "fox_0.png"
    elsewhere = tmp_path / "elsewhere.png"
    shutil.copy(fox, elsewhere)
    fox.unlink()
    fox.symlink_to(elsewhere)
    end = await gallery(house, "verify")
    assert end.code == 1
    assert end.out.startswith("unreadable (")


async def test_without_the_disk_nothing_is_concluded(house: House) -> None:
    away = house.outputs.with_name("away")
    async with living(house, "fox") as app:
        house.outputs.rename(away)
        verified = await gallery(house, "verify")
        status = await app.call("daemon.status")
        away.rename(house.outputs)
        assert (await app.call("gallery.get", id="fox_0"))["missing"] is False
        house.outputs.joinpath("fox_0.png").unlink()
        await told(app, "missing", "fox_0")
    assert (verified.code, verified.out) == (1, "")
    assert "the outputs directory, or .partial in it, is not there" in verified.err
    assert status["disk"]["paused"] is True


@pytest.mark.parametrize("runs", [True, False], ids=["daemon", "no daemon"])
async def test_a_lost_gallery_is_rebuilt_from_the_files(
    house: House, *, runs: bool
) -> None:
    async with living(house, "fox") as app:
        house.finish("talk", TRANSCRIPT, capability="speech_to_text", seconds_ago=60)
        await app.event("job", jobId="talk", state="done")
        before = {item["id"]: item for item in await items(app)}
        await app.call("daemon.shutdown")
    for path in house.state.glob("media/gallery.db*"):
        path.unlink()
    (house.outputs / "holiday.png").write_bytes(png("no name of ours"))
    (house.outputs / "torn_0.png").write_bytes(png("torn")[:-20])
    signed_out = house.root / "empty"
    signed_out.touch()
    if runs:
        async with house.daemon(token_file=signed_out), App(house.state) as app:
            ends = [await gallery(house, "rebuild") for _ in range(2)]
            after = {item["id"]: item for item in await items(app)}
    else:
        ends = [await gallery(house, "rebuild") for _ in range(2)]
        listed = await gallery(house, "list", "--json")
        after = {item["id"]: item for item in json.loads(listed.out)["items"]}
    assert [(end.code, end.err) for end in ends] == [(1, ""), (1, "")]
    left_out = "not whole, left out: torn_0.png\n"
    assert ends[0].out == left_out + "3 files entered\n"
    assert ends[1].out == left_out + "0 files entered\n"
    same = ("jobId", "index", "kind", "path", "bytes", "sha256", "mimeType", "missing")
    assert {id_: [item[key] for key in same] for id_, item in after.items()} == {
        id_: [item[key] for key in same] for id_, item in before.items()
    }
    # Who signs in first has it, and the feed tells the rest without a download.
    mark = (house.outputs / "fox_0.png").stat().st_ino
    async with house.daemon(), App(house.state) as app:
        await told_again(app, "fox")
        await told_again(app, "talk")
        again = {item["id"]: item for item in await items(app)}
    assert (house.outputs / "fox_0.png").stat().st_ino == mark
    assert {i["capability"] for i in again.values()} == {
        "text_to_image",
        "speech_to_text",
    }
    assert again.keys() == before.keys()


async def items(app: App) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await app.call("gallery.list"))["items"]
    return listed


@pytest.mark.parametrize("runs", [True, False], ids=["daemon", "no daemon"])
async def test_everything_is_exported(house: House, *, runs: bool) -> None:
    async with living(house, "fox", "hen") as app:
        everything = await items(app)
        if not runs:
            await app.call("daemon.shutdown")
        lines = await gallery(house, "export")
        array = await gallery(house, "export", "--format", "json")
        table = await gallery(house, "export", "--format", "csv")
        target = house.root / "items.jsonl"
        to_file = await gallery(house, "export", "--output", str(target))
        nowhere = await gallery(house, "export", "--output", str(target / "no"))
    assert [json.loads(line) for line in lines.out.splitlines()] == everything
    assert json.loads(array.out) == everything
    rows = [*csv.DictReader(io.StringIO(table.out))]
    assert [row["id"] for row in rows] == ["hen_0", "fox_0"]
    assert rows[0]["sha256"] == everything[0]["sha256"]
    assert (to_file.out, target.read_text()) == ("", lines.out)
    assert nowhere.code == 1
    assert str(target) in nowhere.err
    assert {end.code for end in (lines, array, table, to_file)} == {0}


async def test_an_export_pages_through_a_large_gallery(house: House) -> None:
    await saved(house, "fox")
    with closing(sqlite3.connect(house.state / "media/gallery.db")) as db:
        db.create_function("spaced", 1, lambda text: text)
        db.executemany(
            "INSERT INTO items (owner, job_id, idx, kind, capability, file_name, bytes,"
            " sha256, mime_type, companion, created_at, saved_at)"
            " SELECT owner, job_id, ?, kind, capability, file_name, bytes, sha256,"
            " mime_type, companion, created_at, saved_at FROM items WHERE idx = 0",
            [(n,) for n in range(1, 1200)],
        )
        db.commit()
    end = await gallery(house, "export")
    told = [json.loads(line)["id"] for line in end.out.splitlines()]
    assert len(told) == len({*told}) == 1200


@posix
@pytest.mark.parametrize("flag", ["", "--folder"])
async def test_a_file_is_opened_by_the_desktop(house: House, flag: str) -> None:
    await saved(house, "fox")
    told = house.root / "opened"
    program = house.root / "bin" / "xdg-open"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {told}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    end = await gallery(house, "open", *flag.split(), "fox_0", PATH=path)
    assert (end.code, end.out, end.err) == (0, "", "")
    expected = house.outputs if flag else house.outputs / "fox_0.png"
    assert told.read_text() == f"{expected}\n"
    (house.outputs / "fox_0.png").unlink()
    gone = await gallery(house, "open", "fox_0", PATH=path)
    assert (gone.code, gone.out) == (1, "")
    assert str(house.outputs / "fox_0.png") in gone.err
