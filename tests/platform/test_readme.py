"""What the README and the manual tell people to type does what they say."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import venv
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from materializer.cli import demo
from materializer.devserver import media, weather
from materializer.ipc.endpoint import endpoint_file
from materializer.manual import pages
from need import need
from process.house import (
    SOON,
    App,
    Ended,
    House,
    ended,
    environment,
    house,
    posix,
    started,
    until,
)

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
ELSEWHERE = "https://happy-animal-123.convex.cloud"

Block = tuple[str, int]
"""The heading that a block of code stands under, and its number there."""

RUN: set[Block] = set()
# Installing and checking everything takes minutes where others are at work as well.
LONG = 600

Test = TypeVar("Test", bound=Callable[..., Any])


def runs(heading: str, *numbers: int) -> Callable[[Test], Test]:
    """Say of a test which blocks it runs."""

    def note(test: Test) -> Test:
        RUN.update((heading, number) for number in numbers)
        return test

    return note


def blocks() -> dict[Block, str]:
    found: dict[Block, str] = {}
    for section in re.split(r"^## ", README, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        for number, code in enumerate(
            re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        ):
            found[heading, number] = code
    return found


def block(heading: str, number: int = 0) -> str:
    return blocks()[heading, number]


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[House]:
    """A house at whose terminal the commands are found, and the examples."""
    need("curl", "jq")
    async with house(tmp_path) as terminal:
        programs = Path(sys.executable).parent
        terminal.environ["PATH"] = f"{programs}:{terminal.environ['PATH']}"
        shutil.copytree(ROOT / "examples", desk(terminal) / "examples")
        yield terminal


def desk(terminal: House) -> Path:
    """Return the directory in which people type."""
    return terminal.root / "desk"


async def typed(terminal: House, text: str, **environ: str) -> Ended:
    async with asyncio.timeout(3 * SOON):
        shell = ("sh", "-euc", text)
        return await ended(desk(terminal), terminal.environ | environ, *shell)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The project as somebody has it who has cloned it just now."""
    # With what mypy has found out already, or it would take minutes.
    made_here = (".git", ".venv", ".[hipr]*_cache", ".hypothesis", "state", "dist")
    ignored = shutil.ignore_patterns(*made_here, "node_modules", "__pycache__")
    return shutil.copytree(ROOT, tmp_path / "checkout", ignore=ignored)


async def installing(checkout: Path, text: str, **environ: str) -> Ended:
    """Type what installs something; what pip has fetched before it takes from there."""
    home = checkout.parent
    pip = await ended(home, os.environ, sys.executable, "-m", "pip", "cache", "dir")
    ours = ("PYTHON", "PYTEST", "COVERAGE", "VIRTUAL_ENV")
    kept = environment(home).items()
    clean = {name: value for name, value in kept if not name.startswith(ours)}
    shell = ("sh", "-euc", text)
    caches = {"PIP_CACHE_DIR": pip.out.strip()}
    async with started(checkout, clean | caches | environ, *shell) as running:
        return await running.ended(within=LONG)


@asynccontextmanager
async def left_running(terminal: House, text: str) -> AsyncIterator[str]:
    """Type something that does not end; yields the line that it says first."""
    shell = ("sh", "-euc", f"exec {text}")
    async with started(desk(terminal), terminal.environ, *shell) as running:
        yield await running.line()


def test_every_block_is_run_here() -> None:
    assert {*blocks()} == RUN


@posix
@runs("See it work", 0)
@pytest.mark.timeout(LONG)
async def test_it_is_seen_at_work_as_the_readme_says(checkout: Path) -> None:
    # Of all tests those of one room, since this is one of them.
    one = {"PYTEST_ADDOPTS": "tests/test_wording.py", "PYTHON": sys.executable}
    end = await installing(checkout, block("See it work"), **one)
    assert end.code == 0, end.out[-2000:] + end.err[-2000:]
    table, _, tested = end.out.partition("\nfiles: ")
    for capability in {job["capability"] for job in demo.JOBS}:
        assert f"  {capability}  " in table
    assert "failed as it should, told: " in table
    checks = re.findall(r"^check: (.*) passed$", end.err, re.MULTILINE)
    assert {"ruff check", "mypy", "import-linter", "shellcheck"} <= {*checks}
    assert re.search(r"^=+ \d+ passed in ", tested, re.MULTILINE)


@posix
@runs("Install it", 0)
@pytest.mark.timeout(LONG)
async def test_it_is_installed_as_the_readme_says(checkout: Path) -> None:
    plain, with_backend, with_previews = block("Install it").splitlines()
    place = checkout.parent / "environ"
    await asyncio.to_thread(venv.create, place, symlinks=True, with_pip=True)
    path = f"{place / 'bin'}:{os.environ['PATH']}"

    async def exit_code(text: str) -> int | None:
        return (await installing(checkout, text, PATH=path)).code

    assert await exit_code(plain) == 0
    assert await exit_code("stella-media docs && stella-materializer paths") == 0
    assert await exit_code("stella-materializer dev") == 2
    draws = "python -c 'import PIL'"
    assert await exit_code(draws) == 1
    assert await exit_code(with_previews) == 0
    assert await exit_code(draws) == 0
    assert await exit_code(with_backend) == 0
    serve = (str(place / "bin" / "stella-materializer"), "dev")
    async with started(place, environment(place), *serve) as serving:
        assert json.loads(await serving.line())["ready"] is True


@posix
@runs("Run it", 0)
async def test_the_daemon_is_run_as_the_readme_says(terminal: House) -> None:
    text = block("Run it").replace(ELSEWHERE, terminal.backend.convex_url)
    assert terminal.backend.convex_url in text
    token = Path(terminal.environ["HOME"], ".stella", "token")
    token.parent.mkdir()
    token.write_text(terminal.backend.token())
    shell = ("sh", "-euc", text)
    async with started(desk(terminal), terminal.environ, *shell) as running:
        await until(endpoint_file(terminal.state).exists)
        async with App(terminal.state) as app:
            await app.feed("live")
            await app.call("daemon.shutdown")
        assert (await running.ended()).code == 0


@posix
@runs("Make something", 0)
async def test_media_is_made_as_the_readme_says(terminal: House) -> None:
    terminal.finish_picture("made-before")
    text = block("Make something").replace(" ID ", " made-before ")
    signed_in = {"STELLA_MEDIA_TOKEN_FILE": str(terminal.backend.token_file)}
    end = await typed(terminal, text, **signed_in)
    assert end.code == 0, end.err
    made, saved, listed = re.split(r"^(?=Media job|\{)", end.out, flags=re.MULTILINE)[
        1:
    ]
    assert f"image: {terminal.outputs}" in made
    assert f"image: {terminal.outputs / 'made-before_0.png'}" in saved
    assert json.loads(listed)["data"]
    assert len(terminal.files()) == 2


@posix
@runs("Without an account", 0, 1, 2)
@pytest.mark.timeout(120)
async def test_somebody_without_an_account_gets_on_as_the_readme_says(
    terminal: House, unused_tcp_port: int
) -> None:
    backend, first, examples = (
        block("Without an account", number).replace("4321", str(unused_tcp_port))
        for number in range(3)
    )
    async with left_running(terminal, backend) as ready:
        assert json.loads(ready)["siteUrl"] == f"http://127.0.0.1:{unused_tcp_port}"
        end = await typed(terminal, first + examples)
    assert end.code == 0, end.err
    paths = re.findall(r"\S+\.(?:glb|png|mp4)$", end.out, re.MULTILINE)
    kinds = [Path(path).suffix for path in paths]
    assert kinds == [".glb", ".png", ".png", ".mp4", ".png", ".png"]
    for path in paths:
        beginning = (desk(terminal) / path).read_bytes()[:8]
        assert beginning.startswith((b"glTF", b"\x89PNG")) or beginning[4:] == b"ftyp"


@posix
async def test_the_examples_tell_what_failed(terminal: House) -> None:
    url = terminal.backend.site_url
    environ = {
        "STELLA_API": url,
        "STELLA_SITE_URL": url,
        "STELLA_TOKEN": terminal.backend.token(),
    }
    prompt = "'[fail: No \"foxes\" today.]'"
    end = await typed(terminal, f"examples/curl.sh {prompt} fox.png", **environ)
    assert (end.code, end.err) == (1, 'No "foxes" today.\n')
    end = await typed(terminal, f"examples/agent.sh {prompt} 'slow push-in'", **environ)
    assert end.code == 1
    assert end.err.endswith("It failed; the reason is above.\n")
    command = f"echo {prompt} | python examples/variations.py pictures"
    end = await typed(terminal, command, **environ)
    assert end.out.endswith(': No "foxes" today.\n')


@posix
@runs("Where things are", 0)
async def test_things_are_where_the_readme_says(terminal: House) -> None:
    places = re.findall(r"^<state>/(\S+)", block("Where things are"), re.MULTILINE)
    patterns = [re.sub(r"<\w+>", "*", place).removesuffix("/") for place in places]
    assert len(patterns) == block("Where things are").count("<state>")
    terminal.finish_picture("job")
    terminal.environ["STELLA_MATERIALIZER_THUMBNAILS"] = "true"
    async with terminal.daemon():
        await until(lambda: all(any(terminal.state.glob(one)) for one in patterns))


@posix
@runs("For the app", 0)
async def test_the_app_hears_what_the_readme_says(terminal: House) -> None:
    lines = re.findall(
        r"^[→←] .*(?:\n     .*)*", block("For the app"), flags=re.MULTILINE
    )
    assert [line[0] for line in lines] == ["→", "→", "←", "→"]
    async with terminal.daemon(), asyncio.timeout(SOON):
        endpoint = json.loads(endpoint_file(terminal.state).read_text())
        reader, writer = await asyncio.open_unix_connection(endpoint["path"])
        for line in lines:
            if line[0] == "→":
                writer.write(line[2:].encode() + b"\n")
                answer = json.loads(await reader.readline())
                assert answer["id"] == json.loads(line[2:])["id"]
                assert "result" in answer
                continue
            terminal.finish_picture("job")
            update = (await reader.readline()).decode()
            assert json.loads(update)["params"]["action"] == "open"
            names = re.findall(r'"(\w+)":', line)
            assert names == [name for name in names if f'"{name}":' in update]
        writer.close()


@runs("For developers", 0, 1)
@pytest.mark.parametrize("number", [0, 1])
def test_a_weather_file_of_the_readme_is_read(number: int) -> None:
    text = block("For developers", number)
    read = weather.parse(text)
    assert len(read.trouble) == text.count("[[trouble]]")
    assert len(read.storage) == text.count("[[storage]]")
    assert read != weather.CLEAR


def curls(kind: str) -> list[str]:
    """Return the commands of a page: each begins a line, and ends at an empty one."""
    return re.findall(
        r"^curl.*?(?=\n\n|\Z)", pages.page(kind), re.MULTILINE | re.DOTALL
    )


def test_every_curl_of_the_pages_is_found() -> None:
    for kind in ("", *pages.KINDS):
        held = "\n".join(curls(kind))
        assert held.count("curl ") == pages.page(kind).count("curl ") > 0


@posix
@pytest.mark.parametrize("kind", ["", *pages.KINDS])
async def test_every_curl_of_a_page_is_answered(terminal: House, kind: str) -> None:
    given = {
        "still.png": media.picture("a still", 0, (320, 180), "png"),
        "clip.mp4": media.film("a clip", (320, 180), 1.0),
        "talk.wav": media.speech("Is the tea ready?"),
    }
    for name, made in given.items():
        (desk(terminal) / name).write_bytes(made.data)
    backend = terminal.backend
    environ = {"STELLA_API": backend.site_url, "STELLA_TOKEN": backend.token()}
    environ["JOB_ID"] = await terminal.order(
        {"capability": "text_to_image", "prompt": "[slow:60]"}
    )
    for command in curls(kind):
        end = await typed(terminal, command, **environ)
        assert end.code == 0, end.err
        for answer in end.out.strip().replace("}{", "}\n{").splitlines():
            told = json.loads(answer)
            assert "error" not in told, (command, told)
            assert told.get("jobId") or told.get("data")
