"""What people install: the wheel, the sdist, and the folder for the desktop app."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from materializer import __version__
from materializer.cli.overview import MATERIALIZER, MEDIA
from need import need
from process.house import House, ended, environment, house, posix, started
from scripts.sidecar.trial import TrialFailed, tried
from session_desktop import session_bus
from tools import FakeTool

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = "share/stella-materializer/ipc.schema.json"
NAMES = (MATERIALIZER.name, MEDIA.name)
REQUEST = json.dumps({"capability": "text_to_image", "prompt": "a red fox"})
LONG = 240

# An environment is made, and what it needs is installed.
pytestmark = pytest.mark.timeout(LONG)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and from what is in it the wheel; return where they are."""
    place = tmp_path_factory.mktemp("built")
    build = (sys.executable, "-m", "build", "--quiet", "--outdir", place, ROOT)
    subprocess.run(build, check=True, timeout=LONG)
    return place


@pytest.fixture(autouse=True)
def only_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)


def install(requirement: str, place: Path) -> Path:
    """Install something in an environment of its own; return where its programs are."""
    venv.create(place, symlinks=os.name != "nt")
    programs = place / ("Scripts" if os.name == "nt" else "bin")
    pip = (sys.executable, "-m", "pip", f"--python={programs / 'python'}", "install")
    quiet = ("--quiet", "--disable-pip-version-check")
    subprocess.run((*pip, *quiet, requirement), check=True, timeout=LONG)
    return programs


async def installed(built: Path, pattern: str, extra: str, place: Path) -> Path:
    [file] = built.glob(pattern)
    requirement = f"stella-materializer{extra} @ {file.as_uri()}"
    return await asyncio.to_thread(install, requirement, place)


def packaged() -> dict[str, bytes]:
    """Return every file of the package as it is here."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for path in (ROOT / "materializer").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_its_data_and_nothing_else(built: Path) -> None:
    [file] = built.glob("*.whl")
    with zipfile.ZipFile(file) as wheel:
        held = {name: wheel.read(name) for name in wheel.namelist()}

    own = f"stella_materializer-{__version__}"
    package = packaged()
    assert {n: c for n, c in held.items() if not n.startswith(own)} == package
    assert {Path(name).suffix for name in package} >= {".txt", ".js", ".html", ".plist"}
    assert "materializer/py.typed" in package
    schema = (ROOT / "service/ipc.schema.json").read_bytes()
    assert held[f"{own}.data/data/{SCHEMA}"] == schema
    commands = held[f"{own}.dist-info/entry_points.txt"].decode()
    assert all(f"{name} = materializer.cli:" in commands for name in NAMES)


async def order(home: House, programs: Path) -> None:
    """Have a picture made and saved, and see that it is the one in the gallery."""
    done = await home.command(
        *(str(programs / "stella-media"), "generate", "--wait", "--request", REQUEST),
        STELLA_SITE_URL=home.backend.site_url,
        STELLA_MEDIA_TOKEN_FILE=str(home.backend.token_file),
    )
    assert done.code == 0, done.err
    listed = await home.command(
        str(programs / "stella-materializer"), "gallery", "list", "--json"
    )
    [item] = json.loads(listed.out)["items"]
    content = Path(item["path"]).read_bytes()
    assert Path(item["path"]).parent == home.outputs
    assert hashlib.sha256(content).hexdigest() == item["sha256"]


async def test_a_plain_install_does_the_main_job(built: Path, tmp_path: Path) -> None:
    programs = await installed(built, "*.whl", "", tmp_path / "a place with spaces")
    materializer = str(programs / "stella-materializer")

    async with house(tmp_path) as home:
        command = (
            *(materializer, "run", "--ready-json", "--exit-with-parent"),
            *("--convex-url", home.backend.convex_url),
            *("--token-file", str(home.backend.token_file)),
        )
        pipe = asyncio.subprocess.PIPE
        async with started(tmp_path, home.environ, *command, stdin=pipe) as daemon:
            assert json.loads(await daemon.line())["ready"] is True
            await order(home, programs)
            end = await daemon.ended()
        assert end.code == 0, end.err

        for extra in ("dev", "display"):
            refused = await home.command(materializer, extra)
            assert refused.code == 2
            assert f"pip install 'stella-materializer[{extra}]'" in refused.err
        unit = await home.command(
            materializer, "service", "--print", "--platform", "linux"
        )
        assert str(programs.parent) in unit.out
        docs = await home.command(str(programs / "stella-media"), "docs", "images")
        assert "text_to_image" in docs.out


async def test_an_install_with_the_extra_runs_the_demo(
    built: Path, tmp_path: Path
) -> None:
    programs = await installed(built, "*.tar.gz", "[dev]", tmp_path / "environment")
    state = tmp_path / "state"
    command = (str(programs / "stella-materializer"), "demo", "--headless")
    done = await ended(
        tmp_path, environment(tmp_path), *command, "--state-dir", str(state)
    )
    assert done.code == 0, done.out + done.err
    assert "failed as it should, told: " in done.out
    kept = {path.suffix for path in (state / "media/outputs").iterdir()}
    assert kept >= {".mp4", ".glb", ".txt", ".json"}


@contextmanager
def plain_desktop(address: str) -> Iterator[None]:
    """Serve a bus as a notification service that knows nothing of clicks."""
    from jeepney import HeaderFields, MessageType, message_bus, new_method_return
    from jeepney.io.blocking import open_dbus_connection

    bus = open_dbus_connection(address)
    bus.send_and_get_reply(message_bus.RequestName("org.freedesktop.Notifications"))

    def serve() -> None:
        while True:
            try:
                asked = bus.receive()
            except (OSError, ValueError):
                return
            if asked.header.message_type is MessageType.method_call:
                member = asked.header.fields[HeaderFields.member]
                assert member == "GetCapabilities"
                bus.send(new_method_return(asked, "as", (["body"],)))

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        yield
    finally:
        bus.sock.shutdown(2)
        serving.join()
        bus.close()


def build_sidecar(
    folder: Path, environ: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.sidecar", folder],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.mark.timeout(600)
@pytest.mark.skipif("sys.platform != 'linux'", reason="D-Bus is Linux's")
async def test_the_sidecar_is_built_works_and_is_stripped(tmp_path: Path) -> None:
    need("dbus-daemon", "file", "objdump", "strip")
    sender = FakeTool(tmp_path / "tools", "notify-send")
    folder = tmp_path / "a place with spaces" / "sidecar"
    with session_bus(tmp_path) as address, plain_desktop(address):
        path = f"{tmp_path / 'tools'}{os.pathsep}{os.environ['PATH']}"
        environ = os.environ | {"PATH": path, "DBUS_SESSION_BUS_ADDRESS": address}
        build = await asyncio.to_thread(build_sidecar, folder, environ)

    assert build.returncode == 0, build.stderr
    said = re.fullmatch(r"(.*): (\d+) MB, ready in (\d+) ms\n", build.stdout)
    assert said is not None
    assert said[1] == str(folder)
    assert int(said[2]) < 60
    # Plyer, which the build must be told of, handed the one note over.
    assert "shown through plyer" in build.stderr
    [note] = sender.asked()
    assert "On purpose, as a trial." in note

    await holds_what_it_should(folder, tmp_path)
    await has_the_system_s_libraries(folder, tmp_path)
    await has_every_command(folder, tmp_path)


async def holds_what_it_should(folder: Path, home: Path) -> None:
    """See that all data is there, and nothing of a developer's, nor any symbols."""
    held = {path.name for path in folder.rglob("*")}
    assert not held & {"PIL", "numpy", "av", "cryptography", "setuptools"}
    schema = (ROOT / "service/ipc.schema.json").read_bytes()
    assert (folder / "_internal" / SCHEMA).read_bytes() == schema
    data = {name: content for name, content in packaged().items() if name[-3:] != ".py"}
    assert {name: (folder / "_internal" / name).read_bytes() for name in data} == data
    libraries = [str(path) for path in folder.rglob("*.so*")]
    symbols = await ended(home, environment(home), "file", *libraries)
    assert "libpython" in symbols.out
    assert "not stripped" not in symbols.out


async def has_every_command(folder: Path, home: Path) -> None:
    for program in (MATERIALIZER, MEDIA):
        for command in program.rooms:
            asked = (str(folder / program.name), command, "--help")
            told = await ended(home, environment(home), *asked)
            assert told.out.startswith(f"Usage: {program.name} {command} "), told.err


async def has_the_system_s_libraries(folder: Path, home: Path) -> None:
    """See that what a frozen program starts does not look for libraries in `folder`."""
    environ = environment(home) | {
        "LD_LIBRARY_PATH": "/own",
        "STELLA_SITE_URL": "http://127.0.0.1:9",
        "STELLA_MEDIA_TOKEN_COMMAND": "sh -c 'echo $LD_LIBRARY_PATH >libraries'",
    }
    await ended(home, environ, str(folder / "stella-media"), "capabilities")
    assert (home / "libraries").read_text() == "/own\n"


@pytest.fixture
def no_desktop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no trial show something to whoever runs the tests."""
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


def shims(folder: Path, before: str = "") -> Path:
    """Lay scripts where the trial looks for frozen programs; return the folder."""
    folder.mkdir()
    for name in NAMES:
        program = shlex.quote(str(Path(sys.executable).with_name(name)))
        shim = folder / name
        shim.write_text(f'#!/bin/sh\n{before}\nexec {program} "$@"\n')
        shim.chmod(0o755)
    return folder


@posix
@pytest.mark.usefixtures("no_desktop")
async def test_the_trial_passes_programs_that_do_everything(tmp_path: Path) -> None:
    trial = await tried(shims(tmp_path / "programs"))
    assert 0 < trial.start < 20
    assert trial.notification


@posix
@pytest.mark.usefixtures("no_desktop")
@pytest.mark.parametrize(
    ("before", "wrong"),
    [
        ("sleep 99 >/dev/null 2>&1 &", "a process of its own stays"),
        ('[ "$1" = run ] && echo no >&2 && exit 1', "it does not start: no"),
        ('[ "$1" = docs ] && exit 0', "its documentation is ''"),
        ('[ "$1" = generate ] && exit 3', "stella-media generate exits 3"),
    ],
)
async def test_the_trial_notices_what_is_wrong(
    tmp_path: Path, before: str, wrong: str
) -> None:
    with pytest.raises(TrialFailed, match=re.escape(wrong)):
        await tried(shims(tmp_path / "programs", before))
