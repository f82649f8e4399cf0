"""`doctor`: each check fails where it should, and says what to do."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import session_desktop
from convex_side import jwt
from process.house import MATERIALIZER, App, House, ended, posix

Findings = dict[str, dict[str, Any]]
CHECKS = ["config", "directories", "permissions", "disk", "ipc", "token", "feed"]


async def doctor(
    house: House, *flags: str, **environ: str
) -> tuple[int | None, Findings]:
    command = (*MATERIALIZER, "doctor", "--json", *flags)
    end = await ended(house.root, house.environ | environ, *command)
    assert (end.err, end.code in (0, 1)) == ("", True)
    told = json.loads(end.out)
    assert told["ok"] is (end.code == 0)
    for one in told["checks"]:
        assert (one["do"] is not None) is (one["ok"] is False)
    return end.code, {one["check"]: one for one in told["checks"]}


def signed_in(house: House) -> dict[str, str]:
    return {
        "STELLA_CONVEX_URL": house.backend.convex_url,
        "STELLA_MEDIA_TOKEN_FILE": str(house.backend.token_file),
        "STELLA_MATERIALIZER_NOTIFICATIONS": "off",
        "STELLA_MATERIALIZER_MIN_FREE_SPACE": "0",
    }


async def test_all_is_well_with_a_daemon_that_is_signed_in(house: House) -> None:
    async with house.daemon("--no-notifications"), App(house.state) as app:
        await app.feed("live")
        code, found = await doctor(house, **signed_in(house))
        environ = house.environ | signed_in(house)
        words = await ended(house.root, environ, *MATERIALIZER, "doctor")
    assert list(found) == [*CHECKS, "notifications"]
    assert [one["ok"] for one in found.values()] == [True] * 8
    assert (code, words.code) == (0, 0)
    assert [line.split()[:2] for line in words.out.splitlines()] == [
        ["ok", check] for check in found
    ]
    assert house.backend.owner() in found["token"]["says"]


async def test_without_a_daemon_it_tries_by_itself_and_makes_nothing(
    house: House,
) -> None:
    code, found = await doctor(house, **signed_in(house))
    wrong = [check for check, one in found.items() if not one["ok"]]
    assert (code, wrong) == (1, ["ipc"])
    assert "stella-materializer run" in found["ipc"]["do"]
    assert found["feed"]["says"] == f"live: {house.backend.convex_url}"
    assert not house.state.exists()


async def test_a_setting_that_is_unusable_is_named(house: House) -> None:
    _, found = await doctor(house, STELLA_MATERIALIZER_MAX_PER_HOST="many")
    assert list(found) == ["config"]
    assert "STELLA_MATERIALIZER_MAX_PER_HOST is 'many'" in found["config"]["says"]


async def test_a_file_where_a_directory_should_be_is_named(house: House) -> None:
    house.state.mkdir()
    (house.state / "media").write_text("in the way")
    _, found = await doctor(house, **signed_in(house))
    says = f"{house.state / 'media'} is no directory"
    assert (found["directories"]["ok"], found["directories"]["says"]) == (False, says)


@posix
@pytest.mark.parametrize("what", ["materializer", "token"])
async def test_what_others_can_get_at_is_named(house: House, what: str) -> None:
    own = house.state / "materializer"
    own.mkdir(parents=True, mode=0o700)
    token = house.root / "token"
    token.write_text(house.backend.token())
    token.chmod(0o600)
    path, mode = (own, 0o777) if what == "materializer" else (token, 0o644)
    environ = signed_in(house) | {"STELLA_MEDIA_TOKEN_FILE": str(token)}
    _, found = await doctor(house, **environ)
    assert found["permissions"]["ok"] is True
    path.chmod(mode)
    _, found = await doctor(house, **environ)
    assert found["permissions"]["ok"] is False
    assert str(path) in found["permissions"]["says"]
    assert found["permissions"]["do"].startswith("run: chmod ")


async def test_a_disk_that_is_too_full_is_told(house: House) -> None:
    flags = signed_in(house) | {"STELLA_MATERIALIZER_MIN_FREE_SPACE": "900000GiB"}
    _, found = await doctor(house, **flags)
    assert found["disk"]["ok"] is False
    assert "min_free_space" in found["disk"]["do"]


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("", "nobody is signed in"),
        ("nonsense", "is no JWT"),
        (jwt(exp=int(time.time()) - 60), "is over"),
    ],
)
async def test_a_token_that_is_not_good_is_told(
    house: House, token: str, says: str
) -> None:
    file = house.root / "token"
    file.write_text(token)
    file.chmod(0o600)
    environ = signed_in(house) | {"STELLA_MEDIA_TOKEN_FILE": str(file)}
    _, found = await doctor(house, **environ)
    assert found["token"]["ok"] is False
    assert says in found["token"]["says"]
    assert not (token and token in json.dumps(found))


async def test_a_deployment_that_cannot_be_reached_is_told(house: House) -> None:
    environ = signed_in(house) | {"STELLA_CONVEX_URL": "http://127.0.0.1:1"}
    _, found = await doctor(house, **environ)
    assert found["feed"]["ok"] is False
    assert "cannot connect" in found["feed"]["says"]


async def test_the_feed_of_the_daemon_is_what_counts(house: House) -> None:
    async with house.daemon(), App(house.state) as app:
        await app.feed("live")
        house.backend.token_file.unlink()
        await app.feed("signed_out")
        _, found = await doctor(house, **signed_in(house))
    assert (found["ipc"]["ok"], found["feed"]["ok"]) == (True, False)
    assert found["feed"]["says"].startswith("signed_out")


async def test_a_daemon_of_another_version_is_told(house: House) -> None:
    code = (
        "import materializer; materializer.__version__ = '0.0.9';"
        "from materializer.cli import materializer as run; run()"
    )
    async with house.daemon():
        end = await house.command(sys.executable, "-c", code, "doctor", "--json")
    [ipc] = [one for one in json.loads(end.out)["checks"] if one["check"] == "ipc"]
    assert ipc["ok"] is False
    assert "and this is 0.0.9" in ipc["says"]


@pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux can be asked")
async def test_a_desktop_that_shows_nothing_is_told(house: House) -> None:
    environ = signed_in(house) | {"STELLA_MATERIALIZER_NOTIFICATIONS": "all"}
    _, found = await doctor(house, **environ)
    assert found["notifications"]["ok"] is False
    assert found["notifications"]["says"] == "no session bus"


@pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux can be asked")
@pytest.mark.parametrize("notify_send", [True, False])
async def test_a_desktop_that_shows_notes_needs_what_plyer_calls(
    house: House, tmp_path: Path, notify_send: bool
) -> None:
    environ = signed_in(house) | {"STELLA_MATERIALIZER_NOTIFICATIONS": "all"}
    with session_desktop.session(tmp_path) as made:
        if not notify_send:
            environ["PATH"] = str(tmp_path)
        _, found = await doctor(house, **environ, **made.environ)
    assert found["notifications"]["ok"] is notify_send
    if not notify_send:
        assert found["notifications"]["says"] == "notify-send is not installed"
        assert "notify-send" in found["notifications"]["do"]


async def test_each_finding_is_a_line_with_what_to_do_under_it(house: House) -> None:
    end = await house.command(*MATERIALIZER, "doctor")
    lines = end.out.splitlines()
    wrong = [number for number, line in enumerate(lines) if line.startswith("WRONG")]
    assert wrong
    assert all(lines[number + 1].strip().startswith("-> ") for number in wrong)
    assert Path(house.state).exists() is False
