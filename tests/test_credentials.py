from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from convex_side import jwt
from materializer import credentials
from materializer.credentials import Credentials
from materializer.errors import SettingsInvalid

NOW = 1_800_000_000.0
SECRET = jwt(mark="canary")


def counting(tmp_path: Path, output: str) -> tuple[list[str], Path]:
    """Return a command that prints `output`, and a file with a line for each run."""
    log = tmp_path / "runs"
    script = f"open({str(log)!r}, 'a').write('run\\n'); print({output!r})"
    return [sys.executable, "-c", script], log


async def test_a_token_file_holds_the_bare_token_or_an_object(tmp_path: Path) -> None:
    file = tmp_path / "token"
    known = Credentials(file=file)
    file.write_text(f"{jwt('ada')}\n")
    token = await known.current()
    assert token is not None
    assert token.owner == "https://site.test|ada"
    file.write_text(
        json.dumps(
            {"token": jwt("bob"), "convexUrl": "http://c", "siteUrl": "https://s"}
        )
    )
    token = await known.current()
    assert token is not None
    assert token.owner == "https://site.test|bob"
    assert (known.grant.convex_url, known.grant.site_url) == ("http://c", "https://s")


@pytest.mark.parametrize("text", ["", " \n", "{}", '{"token": ""}', '{"token": null}'])
async def test_an_empty_token_file_means_signed_out(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    assert await Credentials(file=file).current() is None


async def test_a_bearer_that_names_no_account_is_good_for_the_gateway_only() -> None:
    known = Credentials(value="opaque")
    assert (await known.ask()).bearer == "opaque"
    with pytest.raises(SettingsInvalid, match="the token from the environment"):
        await known.current()


async def test_a_missing_token_file_means_signed_out(tmp_path: Path) -> None:
    assert await Credentials(file=tmp_path / "no" / "token").current() is None


@pytest.mark.parametrize(
    "text",
    [
        "canary",
        '{"token": "canary"}',
        '{"token": 1, "canary": 1}',
        '{"token": "canary',
        '{"token": "t", "siteUrl": ["canary"]}',
        '{"token": "t", "siteUrl": "http://far.test/canary"}',
        '{"token": "t", "convexUrl": "canary"}',
        "canary" * 20_000,
    ],
)
async def test_an_unusable_token_file_is_named_and_not_quoted(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    with pytest.raises(SettingsInvalid, match="token file") as caught:
        await Credentials(file=file).current()
    assert "canary" not in str(caught.value)
    assert str(file) in str(caught.value)


async def test_a_file_that_is_no_text_or_cannot_be_read_is_named(
    tmp_path: Path,
) -> None:
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        await Credentials(file=tmp_path).current()
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsInvalid, match="no text"):
        await Credentials(file=tmp_path / "token").current()


async def test_a_command_runs_again_only_when_its_token_is_ending(
    tmp_path: Path,
) -> None:
    clock = [NOW]
    command, log = counting(tmp_path, jwt(iat=NOW, exp=NOW + 300))
    known = Credentials(command=command, wall=lambda: clock[0])
    for age, runs in ((0, 1), (209, 1), (210, 2)):
        clock[0] = NOW + age
        assert await known.current() is not None
        assert len(log.read_text().split()) == runs


async def test_a_command_runs_when_forced_and_while_it_prints_nothing(
    tmp_path: Path,
) -> None:
    command, log = counting(tmp_path, jwt())
    known = Credentials(command=command)
    await known.current()
    await known.current(force=True)
    assert len(log.read_text().split()) == 2
    command, log = counting(tmp_path, "")
    known = Credentials(command=command)
    assert await known.current() is None
    assert await known.current() is None
    assert len(log.read_text().split()) == 4


async def test_one_command_runs_at_a_time(tmp_path: Path) -> None:
    command, log = counting(tmp_path, jwt())
    known = Credentials(command=command)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(known.current())
    assert len(log.read_text().split()) == 1


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (f"print('{SECRET}'); raise SystemExit(3)", "exit code 3"),
        ("print('canary')", "no JWT"),
        ("print('canary' * 20_000)", "longer than"),
    ],
)
async def test_a_command_that_fails_is_told_without_its_output(
    script: str, words: str
) -> None:
    known = Credentials(command=[sys.executable, "-c", script])
    with pytest.raises(SettingsInvalid, match=words) as caught:
        await known.current()
    assert "canary" not in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_a_command_that_does_not_exist_is_told() -> None:
    with pytest.raises(SettingsInvalid, match="cannot be started"):
        await Credentials(command=["/no/such/program"]).current()


@pytest.mark.skipif(os.name != "posix", reason="NOT TESTED HERE: needs /bin/sh")
async def test_a_command_that_hangs_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "COMMAND_SECONDS", 0.5)
    pipe = tmp_path / "alive"
    os.mkfifo(pipe)
    # The grandchild holds the pipe open for writing for as long as it lives.
    known = Credentials(command=["sh", "-c", f"sleep 60 > '{pipe}' & wait"])
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(SettingsInvalid, match=r"did not end within 0\.5 s"):
            await known.current()
        os.set_blocking(reader, True)
        async with asyncio.timeout(5):
            assert await asyncio.to_thread(os.read, reader, 1) == b""
    finally:
        os.close(reader)


async def test_a_token_that_was_set_wins_until_it_is_cleared(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(jwt("file"))
    known = Credentials(file=file, value=jwt("value"))
    assert known.set(jwt("set"), "http://c").owner == "https://site.test|set"
    token = await known.current(force=True)
    assert token is not None
    assert token.owner == "https://site.test|set"
    assert known.grant.convex_url == "http://c"
    known.clear()
    token = await known.current()
    assert token is not None
    assert token.owner == "https://site.test|file"


@pytest.mark.skipif(os.name != "posix", reason="NOT TESTED HERE: needs named pipes")
async def test_a_token_that_is_set_while_a_command_runs_wins_over_its_output(
    tmp_path: Path,
) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    for pipe in (started, go):
        os.mkfifo(pipe)
    script = f"open({str(started)!r}, 'w'); open({str(go)!r}).read(); print({SECRET!r})"
    known = Credentials(command=[sys.executable, "-c", script])
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(known.current())
        await asyncio.to_thread(started.read_bytes)
        known.set(jwt("set"))
        await asyncio.to_thread(go.write_bytes, b"")
        token = await asking
    assert token is not None
    assert token.owner == "https://site.test|set"
    assert known.grant.bearer == jwt("set")


async def test_what_is_no_token_cannot_be_set() -> None:
    known = Credentials(value=jwt())
    with pytest.raises(SettingsInvalid):
        known.set("password")
    assert await known.current() is not None


async def test_without_any_source_nobody_is_signed_in() -> None:
    assert await Credentials().current() is None


async def test_changes_are_told_to_everybody_even_before_they_listen() -> None:
    known = Credentials()
    first, second = known.changes(), known.changes()
    known.set(jwt())
    known.clear()
    async with asyncio.timeout(5):
        await anext(first)
        await anext(second)
        known.source_changed()
        await anext(first)
        await anext(second)


async def test_no_change_is_told_twice() -> None:
    known = Credentials()
    changes = known.changes()
    known.set(jwt())
    await anext(changes)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(changes)


async def test_a_grant_does_not_show_its_token() -> None:
    known = Credentials(value=SECRET)
    await known.current()
    assert SECRET not in repr(known.grant)
