"""Login services from outside. Never run here: launchd, Windows, a real systemd.

`systemd-analyze` judges the unit; the systems' own commands are played by scripts that
note what they are asked; a socket of the test's own is what systemd would listen at.
"""

from __future__ import annotations

import plistlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from materializer.service import LABEL, files
from need import need
from process import house as houses
from process.house import MATERIALIZER, App, House, environment, until
from tools import FakeTool

ROOT = Path(__file__).parents[2]
SECONDS = 30

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="played by sh")


class Person:
    """Somebody with a home directory, and with programs found in `bin` first."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.home = home
        self.bin = home / "bin"
        self.environ = environment(home)
        self.environ["PATH"] = f"{self.bin}:/usr/bin:/bin"

    def service(
        self, *words: str, python: str | Path = sys.executable, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        return self.run(str(python), "-m", "materializer", "service", *words, **environ)

    def run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.home,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    @property
    def unit(self) -> Path:
        return self.home / ".config" / "systemd" / "user" / files.UNIT


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path / "a home with 100% spaces")


def started_by(unit: str) -> list[str]:
    """Return the command of a unit, as systemd reads what we write."""
    found = re.search(r"^ExecStart=:(.*)$", unit, re.MULTILINE)
    assert found is not None
    return [word.replace("%%", "%") for word in shlex.split(found[1])]


def verified(person: Person, unit: str) -> str:
    """Return all that `systemd-analyze verify` complains about."""
    need("systemd-analyze")
    path = person.home / files.UNIT
    path.write_text(unit)
    with tempfile.TemporaryDirectory() as runtime:  # sockets want a short path
        verify = ("systemd-analyze", "verify", "--user", str(path))
        done = person.run(*verify, XDG_RUNTIME_DIR=runtime)
    return done.stderr + done.stdout


def test_systemd_has_nothing_to_say_about_the_unit(person: Person) -> None:
    printed = person.service("--print", "--platform", "linux", "--token-file", "a $b")
    assert printed.stderr == ""
    assert verified(person, printed.stdout) == ""
    # It succeeds in spite of a wrong word; that it complains is what counts.
    wrong = printed.stdout.replace("WatchdogSec", "WatchdogSecs")
    assert "WatchdogSecs" in verified(person, wrong)
    gone = printed.stdout.replace(sys.executable, "/nowhere/python")
    assert "/nowhere/python" in verified(person, gone)


def test_the_settings_of_the_person_are_those_of_the_service(person: Person) -> None:
    printed = person.service(
        *("install", "--print", "--platform", "linux"),
        *("--token-command", "keeper show 'my token'", "--site-url", "https://s.test"),
        STELLA_STATE_DIR="the state",
        STELLA_MATERIALIZER_CONFIG="",
        CONVEX_URL="https://c.test",
    )
    assert started_by(printed.stdout) == [
        *(sys.executable, "-P", "-m", "materializer", "run"),
        f"--state-dir={person.home}/the state",
        "--convex-url=https://c.test",
        "--site-url=https://s.test",
        "--token-command=keeper show 'my token'",
    ]
    assert not person.unit.exists()


def test_another_system_can_be_asked_about(person: Person) -> None:
    words = ("--token-file", "the <token>")
    agent = person.service("--print", "--platform", "macos", *words).stdout
    run = plistlib.loads(agent.encode())["ProgramArguments"]
    assert run[-1] == f"--token-file={person.home}/the <token>"
    task = person.service("--print", "--platform", "windows", *words).stdout
    assert f'"--token-file={person.home}/the &lt;token&gt;"</Arguments>' in task
    assert {*person.home.iterdir()} == set()


def test_the_frozen_program_runs_itself(person: Person) -> None:
    code = (
        "import sys; sys.frozen, sys.executable = True, '/opt/stella app/stella';"
        "from materializer.cli import materializer; materializer()"
    )
    words = ("service", "--print", "--platform", "linux")
    printed = person.run(sys.executable, "-c", code, *words)
    assert started_by(printed.stdout)[:2] == ["/opt/stella app/stella", "run"]


def test_a_virtual_environment_is_started_as_what_it_is(person: Person) -> None:
    place = person.home / "an environment"
    venv.create(place, with_pip=False, symlinks=True)
    [packages] = place.glob("lib/*/site-packages")
    there = f"{ROOT}\n{sysconfig.get_path('purelib')}\n"
    (packages / "here.pth").write_text(there)
    python = place / "bin" / "python"
    printed = person.service("--print", "--platform", "linux", python=python)
    program = started_by(printed.stdout)[:4]
    assert program[0] == str(python)
    # A login starts it in the home directory, where anything may lie about.
    decoy = person.home / "materializer"
    decoy.mkdir()
    (decoy / "__init__.py").write_text("raise SystemExit('not this one')")
    done = person.run(*program, "--version")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif("sys.platform != 'linux'", reason="systemd is Linux's")
def test_it_is_installed_started_looked_at_stopped_and_removed(person: Person) -> None:
    systemctl = FakeTool(person.bin, "systemctl")
    stopped = "ActiveState=inactive\nMainPID=0\nStatusText=\nResult=success\n"
    systemctl.answer("show", f"{stopped}ExecMainStatus=0\n")
    for _ in range(2):
        done = person.service("install")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            f"Installed: {person.unit}. Every login starts it from now on.\n"
            "To start it now: stella-materializer service start\n"
        )
    assert person.service("start").returncode == 0
    status = person.service("status")
    assert (status.returncode, status.stdout) == (1, "inactive\n")
    running = "ActiveState=active\nMainPID=7\nStatusText=live\nResult=success\n"
    systemctl.answer("show", f"{running}ExecMainStatus=0\n")
    status = person.service("status")
    assert (status.returncode, status.stdout) == (0, "running, process 7: live\n")
    assert "It runs as before until" in person.service("install").stdout
    assert person.service("stop").returncode == 0
    assert person.service("uninstall").returncode == 0
    assert not person.unit.exists()
    did = [call[1:] for call in systemctl.asked() if call[1] != "show"]
    install = [["daemon-reload"], ["enable", files.UNIT]]
    assert did == [
        *(install * 2),
        ["start", files.UNIT],
        *install,
        ["stop", files.UNIT],
        ["disable", "--now", files.UNIT],
        ["daemon-reload"],
    ]
    for action, code, words in (
        ("uninstall", 0, ""),
        ("status", 1, ""),
        ("start", 1, "It is not installed; do so with: "),
        ("stop", 1, "It is not installed; do so with: "),
    ):
        done = person.service(action)
        assert done.returncode == code
        assert done.stderr.startswith(words)
    assert systemctl.asked() == []


@pytest.mark.skipif("sys.platform != 'linux'", reason="systemd is Linux's")
def test_what_a_login_does_not_see_is_named_and_never_written(person: Person) -> None:
    FakeTool(person.bin, "systemctl").answer(
        "show", "ActiveState=inactive\nMainPID=\nStatusText=\nResult=\nExecMainStatus="
    )
    done = person.service(
        "install", STELLA_TOKEN="canary", STELLA_MATERIALIZER_MAX_PER_HOST="2"
    )
    assert done.stderr == (
        "It does not see this shell's STELLA_MATERIALIZER_MAX_PER_HOST, STELLA_TOKEN.\n"
    )
    assert "canary" not in done.stdout + person.unit.read_text()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "install, uninstall, start, stop or status?"),
        (("status", "--print"), "Only `install` takes options."),
        (("stop", "--state-dir", "x"), "Only `install` takes options."),
        (("install", "--platform", "macos"), "--platform goes with --print."),
        (("install", "--convex-url", "x"), "--convex-url is 'x'; it should be"),
    ],
)
def test_what_makes_no_sense_is_said_and_changes_nothing(
    person: Person, words: tuple[str, ...], complaint: str
) -> None:
    done = person.service(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(complaint)
    assert {*person.home.iterdir()} == set()


def test_launchd_is_not_told_of_failures_that_would_come_again(person: Person) -> None:
    run = (*MATERIALIZER, "run", "--max-per-host", "none")
    assert person.run(*run).returncode == 2
    done = person.run(*run, XPC_SERVICE_NAME=LABEL)
    assert done.returncode == 0
    assert done.stderr.startswith("--max-per-host is 'none'")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with houses.house(tmp_path) as built:
        yield built


class Systemd:
    """What systemd hears from a daemon."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._heard: list[str] = []

    def heard(self) -> list[str]:
        """Return all statements so far, but for the signs of life."""
        self._listen()
        return [said for said in self._heard if said != "WATCHDOG=1"]

    def signs_of_life(self) -> int:
        self._listen()
        return self._heard.count("WATCHDOG=1")

    def close(self) -> None:
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                said = self._socket.recv(4096).decode()
            except BlockingIOError:
                return
            self._heard += said.splitlines()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    listening = Systemd(tmp_path / "notify")
    yield listening
    listening.close()


async def test_systemd_hears_how_a_daemon_is_doing(
    house: House, systemd: Systemd
) -> None:
    house.environ |= {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "100000"}
    async with house.daemon() as daemon, App(house.state) as app:
        await app.feed("live")
        await until(lambda: "STATUS=live" in systemd.heard())
        assert systemd.heard()[0] == "READY=1"
        alive = systemd.signs_of_life()
        await until(lambda: systemd.signs_of_life() > alive + 2)
        daemon.send(signal.SIGTERM)
        assert (await daemon.ended()).code == 0
    assert "STOPPING=1" in systemd.heard()


async def test_what_the_unit_runs_is_a_daemon_that_a_second_one_leaves_alone(
    house: House, systemd: Systemd
) -> None:
    printed = await house.command(
        *(*MATERIALIZER, "service", "--print", "--platform", "linux"),
        *("--convex-url", house.backend.convex_url),
        *("--token-file", str(house.backend.token_file)),
    )
    command = started_by(printed.out)
    environ = house.environ | {"NOTIFY_SOCKET": str(systemd.path)}
    async with houses.started(house.root, environ, *command) as daemon:
        await until(lambda: "STATUS=live" in systemd.heard())
        before = systemd.heard()
        second = await houses.ended(house.root, environ, *command)
        # With 0 it would have to be READY first; 3 is not started again.
        assert (second.code, systemd.heard()) == (3, before)
        daemon.send(signal.SIGTERM)
        assert (await daemon.ended()).code == 0


async def test_a_hangup_reads_the_settings_again(
    house: House, systemd: Systemd
) -> None:
    config = house.root / "config.toml"
    config.write_text('open_policy = "open"\nmax_per_host = 2\n')
    house.environ |= {"NOTIFY_SOCKET": str(systemd.path)}

    async def renewed(text: str) -> None:
        config.write_text(text)
        rounds = systemd.heard().count("READY=1")
        daemon.send(signal.SIGHUP)
        await until(lambda: systemd.heard().count("READY=1") > rounds)

    async with (
        house.daemon("--config", str(config)) as daemon,
        App(house.state) as app,
    ):
        await app.feed("live")
        await until(lambda: "READY=1" in systemd.heard())
        await renewed('open_policy = "never"\nmax_per_host = 3\n')
        assert (await app.call("daemon.status"))["openPolicy"] == "never"
        assert "max_per_host has changed: that counts after a restart" in house.log()
        await app.subscribe()
        house.finish_picture("quiet")
        assert (await app.update())["action"] == "register"
        await renewed('open_policy = "sometimes"\n')
        assert "open_policy is 'sometimes'; it should be" in house.log()
        assert (await app.call("daemon.status"))["openPolicy"] == "never"
        told = house.log().count("the settings were read again")
        await renewed('open_policy = "open"\nlog_level = "warning"\n')
        assert house.log().count("the settings were read again") == told == 1
    assert "Traceback" not in house.log()
    reloads = [said for said in systemd.heard() if said.startswith("RELOADING")]
    assert len(reloads) == 3
