"""`status`, `paths`, `config` and `logs`: what a person sees at a glance."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from process.house import MATERIALIZER, App, House, ended, posix, started

CANARY = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnkifQ.c2ln"
SCHEMA = Path(__file__).resolve().parents[2] / "service" / "ipc.schema.json"


async def status(house: House) -> list[str]:
    told = await house.command(*MATERIALIZER, "status")
    assert (told.code, told.err) == (0, "")
    return told.out.splitlines()


async def test_status_shows_the_newest_output_and_what_waits_and_why(
    house: House,
) -> None:
    async with house.daemon(), App(house.state) as app:
        await app.call("display.subscribe", consumer="app", after=0)
        house.finish_picture("here")
        await app.update()
        url = "http://127.0.0.1:1/a.png"
        house.finish("later", {"images": [{"url": url}]})
        await app.event("job", jobId="later", state="pending")
        lines = await status(house)
        [newest] = [line for line in lines if line.startswith("last output")]
        [waiting] = [line for line in lines if line.startswith("waiting")]
        assert "here_0.png, saved " in newest
        assert "later: " in waiting
        assert ", next attempt 20" in waiting
        assert "its turn will come" not in waiting
        assert house.backend.owner() in "".join(lines)

        (house.outputs / "here_0.png").unlink()
        await app.event("gallery", id="here_0")
        house.backend.token_file.unlink()
        await app.feed("signed_out")
        lines = await status(house)
    assert any("but the file is gone" in line for line in lines)
    assert any("later: nobody is signed in" in line for line in lines)
    assert any(line.split() == ["signed", "in", "as", "nobody"] for line in lines)


async def test_status_for_a_program_is_as_the_schema_says(house: House) -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    async with house.daemon(), App(house.state) as app:
        await app.feed("live")
        told = await house.command(*MATERIALIZER, "status", "--json")
    wanted = {"$ref": "#/$defs/Status", "$defs": schema["$defs"]}
    said = json.loads(told.out)
    jsonschema.validate(said, wanted)
    assert said.keys() == schema["$defs"]["Status"]["properties"].keys()


async def test_paths_are_told_and_nothing_is_made(house: House) -> None:
    words = await house.command(*MATERIALIZER, "paths")
    told = json.loads((await house.command(*MATERIALIZER, "paths", "--json")).out)
    assert told["outputs"] == str(house.outputs)
    assert told["logs"] == str(house.state / "materializer" / "logs")
    assert dict(line.split(maxsplit=1) for line in words.out.splitlines()) == told
    assert not house.state.exists()


async def test_config_tells_what_counts_and_where_it_was_written(house: House) -> None:
    file = house.root / "config.toml"
    file.write_text('fresh_window = "2h"\nmax_bytes = {image = "20MiB"}\n')
    command = (*MATERIALIZER, "config", "--config", str(file))
    environ = house.environ | {
        "STELLA_TOKEN": CANARY,
        "STELLA_MATERIALIZER_MAX_PER_HOST": "3",
    }
    told = await ended(house.root, environ, *command, "--json", "--origins")
    words = await ended(house.root, environ, *command, "--origins")
    plain = await ended(house.root, environ, *command)
    found = json.loads(told.out)
    assert found["fresh_window"] == {"value": 7200, "origin": f"{file}: fresh_window"}
    assert found["max_bytes.image"]["origin"] == f"{file}: max_bytes: image"
    assert found["max_per_host"] == {
        "value": 3,
        "origin": "STELLA_MATERIALIZER_MAX_PER_HOST",
    }
    assert found["open_policy"] == {"value": "open", "origin": "the default"}
    assert found["token"] == {"value": "(set)", "origin": "STELLA_TOKEN"}
    assert found["allow_private_hosts"]["value"] == "127.0.0.1"
    assert f"{'fresh_window':<26}2h " in words.out
    assert f"{'max_bytes.image':<26}20MiB " in words.out
    assert "the default" in words.out
    assert "the default" not in plain.out
    assert CANARY not in told.out + words.out + plain.out


async def test_a_setting_that_is_unusable_is_no_config(house: House) -> None:
    end = await house.command(*MATERIALIZER, "config", STELLA_API="nonsense")
    assert (end.code, end.out) == (2, "")
    assert "STELLA_API is 'nonsense'" in end.err


async def test_the_log_is_printed_from_its_newest_lines(house: House) -> None:
    none = await house.command(*MATERIALIZER, "logs")
    assert (none.code, none.out) == (1, "")
    assert "there is no log yet" in none.err
    async with house.daemon() as daemon, App(house.state) as app:
        await app.feed("live")
        await daemon.killed()
    whole = house.log().splitlines()
    assert len(whole) > 1
    all_ = await house.command(*MATERIALIZER, "logs")
    last = await house.command(*MATERIALIZER, "logs", "-n", "1")
    assert all_.out.splitlines() == whole[-50:]
    assert last.out.splitlines() == whole[-1:]


@posix
@pytest.mark.parametrize("turned_over", [False, True])
async def test_the_log_is_followed(house: House, turned_over: bool) -> None:
    path = house.state / "materializer" / "logs" / "materializer.log"
    path.parent.mkdir(parents=True)
    path.write_text("one\n")
    command = (*MATERIALIZER, "logs", "-f")
    async with started(house.root, house.environ, *command) as following:
        assert await following.line() == "one\n"
        with path.open("a") as file:
            file.write("two\nhal")
            file.flush()
            assert await following.line() == "two\n"
            file.write("f\n")
        assert await following.line() == "half\n"
        if turned_over:
            path.rename(path.with_name("materializer.log.1"))
            path.write_text("three\n")
        else:
            with path.open("a") as file:
                file.write("three\n")
        assert await following.line() == "three\n"


async def test_a_log_that_is_not_there_yet_is_waited_for(house: House) -> None:
    command = (*MATERIALIZER, "logs", "--follow")
    async with (
        started(house.root, house.environ, *command) as following,
        house.daemon(),
    ):
        assert " serves " in await following.line()
        said = await following.line()
        while "feed: live" not in said:
            said = await following.line()
