from __future__ import annotations

from pathlib import Path

import pytest

from materializer.errors import MaterializerError
from materializer.service import files
from materializer.service.managers import Launchd, Standing, Systemd, TaskScheduler
from tools import FakeTool

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="the tools are sh's")

COMMAND = ["/a b/python", "run"]
AGENT = "gui/501/sh.stella.materializer"
TASK = "Stella Materializer"
QUERY = ["/Query", "/TN", TASK, "/V", "/FO", "CSV", "/NH"]
ABSENT = Standing(installed=False, running=False, words="not installed")


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    return place


@pytest.fixture
def systemctl(tools: Path) -> FakeTool:
    return FakeTool(tools, "systemctl")


@pytest.fixture
def launchctl(tools: Path) -> FakeTool:
    return FakeTool(tools, "launchctl")


@pytest.fixture
def schtasks(tools: Path) -> FakeTool:
    return FakeTool(tools, "schtasks")


def test_a_unit_is_written_enabled_started_stopped_and_removed(
    tmp_path: Path, systemctl: FakeTool
) -> None:
    systemd = Systemd({}, tmp_path)
    path = tmp_path / ".config" / "systemd" / "user" / files.UNIT
    for _ in range(2):  # the second time is no other
        assert systemd.install(systemd.text(COMMAND)) == str(path)
        assert path.read_text() == files.unit(COMMAND)
        assert path.stat().st_mode & 0o777 == 0o600
        assert systemctl.asked() == [
            ["--user", "show", "--property=Version"],
            ["--user", "daemon-reload"],
            ["--user", "enable", files.UNIT],
        ]
    systemd.start()
    systemd.stop()
    assert systemctl.asked() == [
        ["--user", "start", files.UNIT],
        ["--user", "stop", files.UNIT],
    ]
    systemd.uninstall()
    assert not path.exists()
    assert systemctl.asked() == [
        ["--user", "disable", "--now", files.UNIT],
        ["--user", "daemon-reload"],
    ]
    systemd.uninstall()
    assert systemctl.asked() == []


def test_a_unit_goes_where_the_person_has_such_things(
    tmp_path: Path, systemctl: FakeTool
) -> None:
    systemd = Systemd({"XDG_CONFIG_HOME": str(tmp_path / "x")}, tmp_path)
    where = systemd.install("unit")
    assert where == str(tmp_path / "x" / "systemd" / "user" / files.UNIT)
    assert systemctl.asked()


@pytest.mark.parametrize(
    ("state", "result", "code", "running", "words"),
    [
        ("active", "success", 0, True, "running, process 7: backoff: a=b"),
        ("failed", "exit-code", 2, False, "failed: exit-code, exit code 2"),
        ("inactive", "success", 0, False, "inactive"),
    ],
)
def test_a_unit_tells_how_it_is_doing(
    tmp_path: Path,
    systemctl: FakeTool,
    state: str,
    result: str,
    code: int,
    running: bool,
    words: str,
) -> None:
    systemd = Systemd({}, tmp_path)
    assert systemd.standing() == ABSENT
    systemd.install("unit")
    told = f"MainPID=7\nResult={result}\nExecMainStatus={code}\nActiveState={state}\n"
    systemctl.answer(files.UNIT, f"{told}StatusText=backoff: a=b\n")
    assert systemd.standing() == Standing(installed=True, running=running, words=words)


def test_what_systemd_does_not_say_is_unknown(
    tmp_path: Path, systemctl: FakeTool
) -> None:
    systemd = Systemd({}, tmp_path)
    systemd.install("unit")
    silent = systemd.standing()
    assert silent == Standing(installed=True, running=False, words="unknown")
    systemctl.answer(files.UNIT, "ActiveState=active\n")
    assert systemd.standing().words == "running, process unknown: unknown"


def test_a_refusal_is_told_as_it_came_and_leaves_nothing_behind(
    tmp_path: Path, systemctl: FakeTool
) -> None:
    systemctl.answer("--user", err="Failed to connect\nto bus\n", code=1)
    with pytest.raises(MaterializerError) as refused:
        Systemd({}, tmp_path).install("unit")
    assert str(refused.value) == "systemctl --user show: Failed to connect to bus"
    assert not (tmp_path / ".config").exists()


def test_without_systemd_there_is_another_way(tmp_path: Path, tools: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tools))
        with pytest.raises(MaterializerError, match=r"no systemctl here.*--print"):
            Systemd({}, tmp_path).install("unit")
    assert not (tmp_path / ".config").exists()


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, systemctl: FakeTool
) -> None:
    (tmp_path / ".config").write_text("no directory")
    with pytest.raises(MaterializerError, match=r"cannot write .*service: "):
        Systemd({}, tmp_path).install("unit")
    assert systemctl.asked() == [["--user", "show", "--property=Version"]]


def test_an_agent_is_written_started_stopped_and_removed(
    tmp_path: Path, launchctl: FakeTool
) -> None:
    launchd = Launchd(tmp_path, 501)
    path = tmp_path / "Library" / "LaunchAgents" / files.AGENT
    text = launchd.text(COMMAND)
    assert f"{tmp_path}/Library/Logs/stella-materializer.log" in text
    launchctl.answer("print", code=113)
    for _ in range(2):
        assert launchd.install(text) == str(path)
        assert path.read_text() == text
        assert launchctl.asked() == [["enable", AGENT]]
    launchd.start()
    launchd.stop()
    assert launchctl.asked() == [
        ["print", AGENT],
        ["bootstrap", "gui/501", str(path)],
        ["print", AGENT],
    ]
    launchctl.answer("print", "state = running\n\tpid = 12\n")
    launchd.start()
    launchd.uninstall()
    assert not path.exists()
    assert launchctl.asked() == [
        ["print", AGENT],
        ["kickstart", AGENT],
        ["print", AGENT],
        ["bootout", AGENT],
    ]
    launchctl.answer("print", code=113)
    launchd.uninstall()
    assert launchctl.asked() == [["print", AGENT]]


@pytest.mark.parametrize(
    ("told", "code", "running", "words"),
    [
        ("x = {\n\tstate = running\n\tpid = 12\n}", 0, True, "running, process 12"),
        ("\tlast exit code = 1\n", 0, False, "not running, exit code 1; why: "),
        ("", 113, False, "not running"),
    ],
    ids=["running", "failed", "not loaded"],
)
def test_an_agent_tells_how_it_is_doing(
    tmp_path: Path, launchctl: FakeTool, told: str, code: int, running: bool, words: str
) -> None:
    launchd = Launchd(tmp_path, 501)
    assert launchd.standing() == ABSENT
    launchd.install("agent")
    launchctl.answer("print", told, code=code)
    standing = launchd.standing()
    assert (standing.installed, standing.running) == (True, running)
    assert standing.words.startswith(words)


def test_no_screen_is_a_reason_in_the_words_of_launchd(
    tmp_path: Path, launchctl: FakeTool
) -> None:
    launchctl.answer("print", code=113)
    launchctl.answer("bootstrap", err="Bootstrap failed: 5: Input/output error", code=5)
    with pytest.raises(
        MaterializerError, match=r"^launchctl bootstrap: Bootstrap fail"
    ):
        Launchd(tmp_path, 501).start()


def listed(result: int) -> str:
    return (
        f'"PC","\\\\{TASK}","N/A","Wird ausgef","Nur","11/20/2026","{result}","x"\r\n'
    )


def test_a_task_is_entered_run_ended_and_removed(schtasks: FakeTool) -> None:
    tasks = TaskScheduler("PC\\me")
    text = tasks.text(COMMAND)
    for _ in range(2):
        assert tasks.install(text) == f"the task {TASK!r}"
        assert schtasks.taken.read_text("utf-16") == text
        [call] = schtasks.asked()
        assert [*call[:4], call[5]] == ["/Create", "/TN", TASK, "/XML", "/F"]
        assert not Path(call[4]).exists()
    tasks.start()
    assert schtasks.asked() == [["/Run", "/TN", TASK]]
    schtasks.answer("/Query", listed(0))
    tasks.stop()
    assert schtasks.asked() == [QUERY]
    schtasks.answer("/Query", listed(267009))
    tasks.uninstall()
    assert schtasks.asked() == [
        QUERY,
        QUERY,
        ["/End", "/TN", TASK],
        ["/Delete", "/TN", TASK, "/F"],
    ]
    schtasks.answer("/Query", code=1)
    tasks.uninstall()
    assert schtasks.asked() == [QUERY]


def test_a_task_tells_how_it_is_doing_in_any_language(schtasks: FakeTool) -> None:
    tasks = TaskScheduler("PC\\me")
    schtasks.answer("/Query", err="ERROR", code=1)
    assert tasks.standing() == ABSENT
    schtasks.answer("/Query", listed(267009))
    assert tasks.standing() == Standing(installed=True, running=True, words="running")
    schtasks.answer("/Query", listed(2))
    assert tasks.standing() == Standing(
        installed=True, running=False, words="not running, last result 2"
    )
