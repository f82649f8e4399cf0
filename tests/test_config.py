from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import pytest

from materializer.config import Paths, Settings, load
from materializer.errors import SettingsInvalid

CANARY = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnkifQ.c2ln"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the person's directories be empty ones."""
    for variable in ("HOME", "USERPROFILE", "LOCALAPPDATA", "APPDATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def test_without_anything_the_defaults_hold(home: Path) -> None:
    settings = load({}, {})

    assert settings.state_dir == home / ".stella" / "state"
    assert asdict(settings.max_bytes) == {
        "image": 256 * 2**20,
        "audio": 2**30,
        "video": 16 * 2**30,
        "model3d": 4 * 2**30,
        "download": 4 * 2**30,
    }
    told = asdict(settings)
    del told["state_dir"], told["max_bytes"]  # which were looked at above
    assert told == {
        "open_policy": "open",
        "first_run_lookback": 600,
        "fresh_window": 600,
        "max_concurrent_downloads": 8,
        "max_per_host": 6,
        "max_bandwidth": 0,
        "transport": "direct",
        "idle_timeout": 30,
        "min_free_space": 512 * 2**20,
        "notifications": "all",
        "thumbnails": True,
        "log_level": "info",
        "log_format": "text",
        "convex_url": None,
        "site_url": None,
        "token_file": None,
        "token_command": None,
        "token": None,
        "device_id": None,
        "allow_private_hosts": frozenset(),
    }


def test_every_origin_reaches_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        'fresh_window = "2h"\nmin_free_space = 1024\nnotifications = true\n'
        'max_bytes = {image = "20MiB", audio = 7}\n'
    )
    flags = {
        "config": file,
        "state_dir": "~/here/../there",
        "notifications": False,
        "max_bytes": "image=1MiB",
    }
    environ = {
        "STELLA_CONVEX_URL": "https://one.convex.cloud/",
        "STELLA_SITE_URL": "https://api.example.test/api/stella/models",
        "STELLA_DEVICE_ID": "desk-1",
        "STELLA_ALLOW_PRIVATE_HOSTS": "localhost:3210",
        "STELLA_MEDIA_TOKEN_COMMAND": "print-token 'for me'",
        "STELLA_MATERIALIZER_MAX_PER_HOST": "3",
        "STELLA_MATERIALIZER_THUMBNAILS": "no",
    }

    settings = load(flags, environ)

    assert settings.state_dir == tmp_path / "there"
    assert settings.notifications == "off"
    assert settings.thumbnails is False
    assert (settings.fresh_window, settings.min_free_space) == (7200, 1024)
    assert settings.max_bytes.image == 2**20
    assert settings.max_bytes.audio == 7
    assert settings.max_bytes.video == 16 * 2**30
    assert settings.convex_url == "https://one.convex.cloud"
    assert settings.site_url == "https://api.example.test"
    assert settings.device_id == "desk-1"
    assert settings.allow_private_hosts == {("localhost", 3210)}
    assert settings.token_command == ("print-token", "for me")
    assert settings.max_per_host == 3


@pytest.mark.parametrize(
    ("written", "level"),
    [
        *((word, word) for word in ("all", "failures", "off")),
        *((yes, "all") for yes in (True, "true", "yes", "1", "on")),
        *((no, "off") for no in (False, "false", "no", "0")),
    ],
)
def test_notifications_have_a_level_and_yes_and_no_are_two(
    written: object, level: str
) -> None:
    assert load({"notifications": written}, {}).notifications == level


def test_a_level_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsInvalid, match="all, failures or off"):
        load({"notifications": "some"}, {})


def test_a_relative_path_is_meant_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    settings = load({"state_dir": "state", "token_file": Path("token.json")}, {})

    assert settings.state_dir == tmp_path / "state"
    assert settings.token_file == tmp_path / "token.json"
    assert not settings.state_dir.exists()


def test_settings_cannot_be_changed() -> None:
    settings = load({}, {})

    with pytest.raises(FrozenInstanceError):
        settings.max_per_host = 5  # type: ignore[misc] # that it is refused is the test


@pytest.mark.parametrize(
    ("flags", "environ", "line"),
    [
        (
            {"open_policy": "opne"},
            {},
            "--open-policy is 'opne'; it should be 'open', 'register' or 'never'",
        ),
        (
            {},
            {"STELLA_MATERIALIZER_FRESH_WINDOW": "soon"},
            (
                "STELLA_MATERIALIZER_FRESH_WINDOW is 'soon';"
                " it should be a duration such as 250ms, 30s, 10m or 2h"
            ),
        ),
        (
            {"max_bytes": "video=big"},
            {},
            (
                "--max-bytes: video is 'big';"
                " it should be a size such as 500MB, 20MiB or 1GiB"
            ),
        ),
        (
            {"idle_timeout": "0s"},
            {},
            "--idle-timeout is '0s'; it should be longer than nothing",
        ),
        (
            {},
            {"CONVEX_URL": "ftp://one"},
            (
                "CONVEX_URL is 'ftp://one'; it should be an http, https, ws or wss URL"
                " with a host, and no credentials or query"
            ),
        ),
        (
            {},
            {"STELLA_API": "http://one.test"},
            (
                "STELLA_API is 'http://one.test';"
                " it should be an https URL, since the token is sent there"
            ),
        ),
        (
            {"token_command": "print 'it"},
            {},
            (
                "--token-command is not usable;"
                " it should be a command whose quotes are closed"
            ),
        ),
        (
            {},
            {"STELLA_DEVICE_ID": "a\nb"},
            (
                "STELLA_DEVICE_ID is 'a\\nb';"
                " it should be up to 200 printable ASCII characters without spaces"
            ),
        ),
        (
            {"state_dir": "a\nb"},
            {},
            "--state-dir is 'a\\nb'; it should be a path without control characters",
        ),
        (
            {"state_dir": ""},
            {},
            "--state-dir is ''; it should be a path without control characters",
        ),
        (
            {"state_dir": "~nobody-of-that-name/x"},
            {},
            (
                "--state-dir is '~nobody-of-that-name/x';"
                " it should be an absolute path, as no home directory is known"
            ),
        ),
    ],
)
def test_a_bad_value_is_one_line_with_its_origin_and_what_would_be_right(
    flags: dict[str, object], environ: dict[str, str], line: str
) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load(flags, environ)

    assert str(caught.value) == line


def test_a_bad_value_in_the_file_is_named_by_file_and_key(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("max_per_host = 0")

    with pytest.raises(SettingsInvalid) as caught:
        load({"config": file}, {})

    assert str(caught.value) == (
        f"{file}: max_per_host is '0'; it should be a whole number from 1 to 64"
    )


def test_a_token_is_seen_by_whoever_asks_for_it_alone() -> None:
    settings = load({}, {"STELLA_TOKEN": CANARY})
    command = load({"token_command": f"echo {CANARY}"}, {})

    assert settings.token == CANARY
    for shown in (repr(settings), str(settings)):
        assert CANARY not in shown
    assert CANARY not in repr(command)


@pytest.mark.parametrize(
    ("flags", "environ"),
    [
        ({}, {"STELLA_CONVEX_URL": f"https://me:{CANARY}@one.test"}),
        ({}, {"STELLA_CONVEX_URL": "https://one.test?key=canary"}),
        ({}, {"STELLA_SITE_URL": CANARY}),
        ({"token_command": f"echo '{CANARY}"}, {}),
    ],
)
def test_an_error_does_not_repeat_a_secret(
    flags: dict[str, object], environ: dict[str, str]
) -> None:
    with pytest.raises(SettingsInvalid, match="is not usable; it should be") as caught:
        load(flags, environ)

    said = f"{caught.value} {caught.value.__cause__}"
    assert CANARY not in said
    assert "canary" not in said


def test_everything_lies_under_the_state_directory(tmp_path: Path) -> None:
    paths = Settings(state_dir=tmp_path).paths

    assert paths == Paths(
        state=tmp_path,
        outputs=tmp_path / "media/outputs",
        partial=tmp_path / "media/outputs/.partial",
        thumbnails=tmp_path / "media/thumbnails",
        gallery_db=tmp_path / "media/gallery.db",
        materializer=tmp_path / "materializer",
        lock=tmp_path / "materializer/daemon.lock",
        logs=tmp_path / "materializer/logs",
    )


def test_newer_settings_count_at_once_where_they_can(tmp_path: Path) -> None:
    running = load({"state_dir": str(tmp_path), "max_per_host": "2"}, {})
    newer = load({"state_dir": str(tmp_path), "fresh_window": "1h"}, {})

    counting, later = running.renewed(newer)

    assert later == ["max_per_host"]
    assert (counting.max_per_host, counting.fresh_window) == (2, 3600)
    assert newer.renewed(newer) == (newer, [])
