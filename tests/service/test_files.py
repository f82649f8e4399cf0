from __future__ import annotations

import plistlib
from collections.abc import Callable
from configparser import RawConfigParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from materializer.errors import SettingsInvalid
from materializer.service import LABEL, files

COMMAND = ["/a place/$HOME/100%/py thon", "run", '--x=<"é" & \\> @USER@', "--y="]
NAMESPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
ROOT = Path(__file__).parents[2]


def unit_of(text: str) -> RawConfigParser:
    unit = RawConfigParser(delimiters="=", strict=True)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    return unit


def read(text: str) -> ET.Element:
    return ET.fromstring(text.encode("utf-16"))  # noqa: S314 -- we wrote it


def test_a_unit_quotes_what_systemd_would_read_otherwise() -> None:
    service = unit_of(files.unit(COMMAND))["Service"]
    assert service["ExecStart"] == (
        r':"/a place/$HOME/100%%/py thon" "run" "--x=<\"é\" & \\> @USER@" "--y="'
    )


def test_a_unit_is_watched_and_not_started_again_where_that_cannot_help() -> None:
    service = unit_of(files.unit(COMMAND))["Service"]
    assert service["Type"] == "notify"
    assert service["WatchdogSec"] == "2min"
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == "2 3"
    # These need a namespace for users, or break libraries that make closures.
    harmful = {"ProtectHome", "ProtectSystem", "PrivateTmp", "MemoryDenyWriteExecute"}
    assert not harmful & {*service}


def test_an_agent_is_a_property_list_that_runs_the_command() -> None:
    read = plistlib.loads(files.agent(COMMAND, Path("/a <b>/e.log")).encode())
    assert read == {
        "Label": LABEL,
        "ProgramArguments": COMMAND,
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": 20,
        "LimitLoadToSessionType": "Aqua",
        "StandardErrorPath": "/a <b>/e.log",
    }


def test_a_task_has_the_shape_that_its_schema_asks_for() -> None:
    task = read(files.task(COMMAND, "DESK&\\zoë"))
    assert task.tag == f"{NAMESPACE}Task"
    assert task.get("version") == "1.2"
    assert [part.tag.removeprefix(NAMESPACE) for part in task] == [
        "RegistrationInfo",
        "Triggers",
        "Principals",
        "Settings",
        "Actions",
    ]

    def said(path: str) -> str | None:
        return task.findtext("/".join(NAMESPACE + step for step in path.split("/")))

    assert said("Triggers/LogonTrigger/UserId") == "DESK&\\zoë"
    assert said("Principals/Principal/UserId") == "DESK&\\zoë"
    assert said("Principals/Principal/LogonType") == "InteractiveToken"
    assert said("Principals/Principal/RunLevel") == "LeastPrivilege"
    [actions] = task.findall(f"{NAMESPACE}Actions")
    [principal] = task.findall(f"{NAMESPACE}Principals/{NAMESPACE}Principal")
    assert actions.get("Context") == principal.get("id")
    assert said("Actions/Exec/Command") == "/a place/$HOME/100%/py thon"
    assert said("Actions/Exec/Arguments") == r'run "--x=<\"é\" & \> @USER@" --y='


def test_a_task_runs_on_battery_and_for_ever() -> None:
    task = read(files.task(COMMAND, "me"))
    [settings] = task.findall(f"{NAMESPACE}Settings")
    said = {part.tag.removeprefix(NAMESPACE): part.text for part in settings}
    wanted = {
        "DisallowStartIfOnBatteries": "false",
        "StopIfGoingOnBatteries": "false",
        "ExecutionTimeLimit": "PT0S",
        "MultipleInstancesPolicy": "IgnoreNew",
        "RunOnlyIfIdle": "false",
        "Priority": "6",
    }
    assert wanted.items() <= said.items()
    assert settings.findtext(f"{NAMESPACE}RestartOnFailure/{NAMESPACE}Count") == "3"


@pytest.mark.parametrize(
    "write",
    [
        files.unit,
        lambda command: files.agent(command, Path("/e")),
        lambda command: files.task(command, "me"),
    ],
    ids=["unit", "agent", "task"],
)
@pytest.mark.parametrize("word", ["a\nExecStartPost=b", "\x1b[0m", "\udc80"])
def test_a_command_cannot_write_a_line_of_its_own(
    write: Callable[[list[str]], str], word: str
) -> None:
    with pytest.raises(SettingsInvalid, match="a login service cannot be told"):
        write(["/bin/true", word])


@pytest.mark.skipif("sys.platform == 'win32'", reason="links may be plain files there")
@pytest.mark.parametrize("name", [files.UNIT, files.AGENT, files.TASK])
def test_the_files_that_are_shown_are_the_templates(name: str) -> None:
    shipped = ROOT / "materializer" / "service" / "templates" / name
    assert (ROOT / "service" / name).resolve() == shipped
