"""`stella-materializer auth`: the sign-in of a running daemon, from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from process.house import MATERIALIZER, App, House

AUTH = (*MATERIALIZER, "auth")


async def test_a_token_comes_from_standard_input_and_goes_again(
    house: House, tmp_path: Path
) -> None:
    nobody = tmp_path / "nobody"
    backend = house.backend
    async with house.daemon(token_file=nobody), App(house.state) as app:
        await app.feed("signed_out")
        before = await house.command(*AUTH, "status")
        token = backend.token()
        told = await house.command(*AUTH, "set", stdin=f"{token}\n".encode())
        assert (told.code, told.out) == (0, f"signed in as {backend.owner()}\n")
        await app.feed("live")
        there = await house.command(*AUTH, "status")
        cleared = await house.command(*AUTH, "clear")
        assert (cleared.code, cleared.out, cleared.err) == (0, "", "")
        await app.feed("signed_out")
    assert before.out.splitlines() == [
        "signed in as nobody",
        "feed: signed_out",
        "nobody is signed in",
    ]
    assert there.out.splitlines() == [f"signed in as {backend.owner()}", "feed: live"]
    assert (before.code, there.code) == (0, 0)
    assert token not in house.log()


async def test_a_token_file_is_read_once_with_the_addresses_in_it(
    house: House, tmp_path: Path
) -> None:
    file, nobody = tmp_path / "given.json", tmp_path / "nobody"
    grant = {"token": house.backend.token("other"), "convexUrl": house.backend.site_url}
    file.write_text(json.dumps(grant))
    async with house.daemon(token_file=nobody), App(house.state) as app:
        told = await house.command(*AUTH, "set", "--token-file", str(file))
        assert (told.code, told.err) == (0, "")
        file.unlink()
        await app.feed("live")
        status = await app.call("daemon.status")
    assert status["owner"] == house.backend.owner("other")


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (b"", 2, "standard input holds no token"),
        (b"{broken canary", 2, "broken JSON"),
        (b"canary", 1, "no JWT"),
    ],
)
async def test_what_is_no_token_is_refused_unquoted(
    house: House, tmp_path: Path, given: bytes, code: int, words: str
) -> None:
    async with house.daemon(token_file=tmp_path / "nobody"):
        told = await house.command(*AUTH, "set", stdin=given)
    assert (told.code, told.out) == (code, "")
    assert words in told.err
    assert "canary" not in told.err


async def test_a_token_is_no_argument(house: House) -> None:
    told = await house.command(*AUTH, "set", "canary")
    assert told.code == 2
    assert "An argument too many" in told.err
    assert "canary" not in told.err


@pytest.mark.parametrize("command", ["set", "clear", "status"])
async def test_without_a_daemon_it_fails(house: House, command: str) -> None:
    given = house.backend.token().encode()
    told = await house.command(*AUTH, command, stdin=given)
    assert (told.code, told.out) == (1, "")
    assert "stella-materializer run" in told.err
