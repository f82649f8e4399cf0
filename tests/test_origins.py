from collections.abc import Mapping
from pathlib import Path

import pytest

from materializer.errors import SettingsInvalid
from materializer.origins import flagless, gather

KEYS = ("log_level", "max_per_host", "max_bytes.image", "max_bytes.video")


@pytest.fixture(autouse=True)
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the platform's config directory be an empty one."""
    for variable in ("HOME", "USERPROFILE", "LOCALAPPDATA", "APPDATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def written(path: Path, text: str) -> str:
    path.write_text(text, "utf-8")
    return str(path)


def values(
    flags: Mapping[str, object] | None = None, **environ: str
) -> dict[str, object]:
    found = gather(KEYS, flags or {}, environ)
    return {key: given.value for key, given in found.items() if key != "state_dir"}


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("state_dir", ("STELLA_STATE_DIR", "STELLA_DATA_DIR")),
        ("convex_url", ("STELLA_CONVEX_URL", "CONVEX_URL")),
        (
            "site_url",
            (
                "STELLA_MEDIA_BASE_URL",
                "STELLA_SITE_URL",
                "STELLA_API",
                "STELLA_LLM_PROXY_URL",
            ),
        ),
        (
            "token",
            (
                "STELLA_MEDIA_AUTH_TOKEN",
                "STELLA_AUTH_TOKEN",
                "STELLA_TOKEN",
                "STELLA_LLM_PROXY_TOKEN",
            ),
        ),
        ("device_id", ("STELLA_DEVICE_ID",)),
        ("allow_private_hosts", ("STELLA_ALLOW_PRIVATE_HOSTS",)),
        ("log_level", ("STELLA_MATERIALIZER_LOG_LEVEL",)),
    ],
)
def test_the_first_variable_that_is_set_wins(key: str, names: tuple[str, ...]) -> None:
    environ = {name: f"from {name}" for name in names}
    for name in names:
        assert gather(KEYS, {}, environ)[key] == (name, f"from {name}")
        environ[name] = ""


def test_the_state_directory_falls_back_step_by_step() -> None:
    environ = {"STELLA_HOME": "/home", "STELLA_ROOT": "/root", "STELLA_DATA_DIR": "/d"}
    found = []
    for name in ("STELLA_DATA_DIR", "STELLA_HOME", "STELLA_ROOT", None):
        found.append(gather(KEYS, {}, environ)["state_dir"].value)
        environ.pop(name or "", None)

    assert found == ["/d", "/home/state", "/root/state", "~/.stella/state"]


def test_a_flag_beats_a_variable_and_a_variable_beats_the_file(tmp_path: Path) -> None:
    file = written(tmp_path / "c.toml", 'log_level = "file"\nmax_per_host = 1\n')
    environ = {"STELLA_MATERIALIZER_LOG_LEVEL": "variable"}

    assert gather(KEYS, {"config": file}, {})["log_level"] == (
        f"{file}: log_level",
        "file",
    )
    assert gather(KEYS, {"config": file}, environ)["log_level"].value == "variable"
    stacked = gather(KEYS, {"config": file, "log_level": "flag"}, environ)
    assert stacked["log_level"] == ("--log-level", "flag")
    assert stacked["max_per_host"].value == 1


def test_each_entry_of_a_table_has_its_own_strongest_origin(tmp_path: Path) -> None:
    file = written(tmp_path / "c.toml", "[max_bytes]\nimage = 1\nvideo = 2\n")
    flags = {"config": file, "max_bytes": "video=3GiB"}

    found = gather(KEYS, flags, {})

    assert found["max_bytes.image"] == (f"{file}: max_bytes: image", 1)
    assert found["max_bytes.video"] == ("--max-bytes: video", "3GiB")
    assert values(STELLA_MATERIALIZER_MAX_BYTES="image=1, video=2") == {
        "max_bytes.image": "1",
        "max_bytes.video": "2",
    }


@pytest.mark.parametrize(
    ("flags", "environ", "winner"),
    [
        (
            {"token_file": "f", "token_command": "c"},
            {"STELLA_TOKEN": "v"},
            {"token_file": "f"},
        ),
        (
            {"token_command": "c"},
            {"STELLA_MEDIA_TOKEN_FILE": "f"},
            {"token_command": "c"},
        ),
        (
            {},
            {"STELLA_MEDIA_TOKEN_COMMAND": "c", "STELLA_TOKEN": "v"},
            {"token_command": "c"},
        ),
        ({}, {"STELLA_TOKEN": "v"}, {"token": "v"}),
    ],
)
def test_only_the_strongest_source_of_a_token_is_left(
    flags: Mapping[str, object], environ: dict[str, str], winner: dict[str, object]
) -> None:
    assert values(flags, **environ) == winner


def test_the_platforms_config_file_may_be_missing_a_named_one_may_not(
    tmp_path: Path,
) -> None:
    assert values() == {}
    with pytest.raises(SettingsInvalid, match=r"^--config: there is no '.*gone.toml'$"):
        values({"config": tmp_path / "gone.toml"})
    with pytest.raises(SettingsInvalid, match=r"^STELLA_MATERIALIZER_CONFIG: there is"):
        values(STELLA_MATERIALIZER_CONFIG=str(tmp_path / "gone.toml"))


@pytest.mark.skipif("sys.platform != 'linux'", reason="other systems, other places")
def test_the_platforms_config_file_is_read(config_home: Path) -> None:
    place = config_home / ".config" / "stella-materializer"
    place.mkdir(parents=True)
    written(place / "config.toml", 'log_level = "debug"')

    assert values() == {"log_level": "debug"}


def test_a_file_that_is_no_toml_is_refused_in_one_line(tmp_path: Path) -> None:
    for text in ("log_level", "log_level = \n"):
        with pytest.raises(SettingsInvalid) as caught:
            values({"config": written(tmp_path / "c.toml", text)})
        assert "c.toml is not usable: " in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(SettingsInvalid, match="cannot be read: Is a directory"):
        values({"config": tmp_path})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("log_levle = 1", "'log_levle' is no key .*; did you mean log_level\\?"),
        ("[max_bytes]\nimages = 1", "'max_bytes.images' is no .* mean max_bytes.image"),
        ("max_bytes = 5", "c.toml: max_bytes should be like image=20MiB"),
        ("zzz = 1", "see the README"),
        ("state_dir = 1", "'state_dir' is no key of the config file"),
        (
            "token = 'canary'",
            "'token' is no key .*; name the file that holds the token",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_a_hint(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(SettingsInvalid, match=words) as caught:
        values({"config": written(tmp_path / "c.toml", text)})
    assert "canary" not in str(caught.value)


def test_an_unknown_variable_or_flag_is_refused_with_a_hint() -> None:
    with pytest.raises(SettingsInvalid, match="mean STELLA_MATERIALIZER_LOG_LEVEL"):
        values(STELLA_MATERIALIZER_LOG_LEVLE="info")
    with pytest.raises(SettingsInvalid, match="'token' is no flag; name the file that"):
        values({"token": "canary"})


def test_what_no_option_stands_for_is_named() -> None:
    environ = {
        "STELLA_TOKEN": "canary",
        "STELLA_DEVICE_ID": "d",
        "STELLA_ALLOW_PRIVATE_HOSTS": "",
        "STELLA_CONVEX_URL": "https://a.test",
        "STELLA_MATERIALIZER_LOG_LEVEL": "info",
        "STELLA_MATERIALIZER_CONFIG": "c.toml",
        "HOME": "/",
    }
    named = ["STELLA_DEVICE_ID", "STELLA_MATERIALIZER_LOG_LEVEL", "STELLA_TOKEN"]
    assert flagless(environ) == named
