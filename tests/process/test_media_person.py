"""What a person sees of `stella-media`: help, pages, completion, a line that moves."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from need import need
from process.house import MEDIA, ended, environment, posix
from process.scripted_gateway import (
    Answer,
    ScriptedGateway,
    accepted,
    row,
    scripted_gateway,
)

WAIT = (*MEDIA, "generate", "--request", "{}", "--wait", "--poll-interval", "0.05")
TAKE_AWAY = "\r\x1b[2K"
MADE = row("succeeded", output={"text": "Hello."}, capability="speech_to_text")


@pytest.fixture
async def gateway() -> AsyncIterator[ScriptedGateway]:
    async with scripted_gateway() as told:
        yield told


async def at_a_terminal(
    home: Path, gateway: ScriptedGateway, *command: str, **environ: str
) -> tuple[int | None, str, str]:
    """Run a command whose stderr is a terminal; return exit code, stdout and that."""
    ours, theirs = os.openpty()
    variables = {**environment(home), **gateway.environ, "TERM": "xterm"}
    variables |= {"STELLA_STATE_DIR": str(home / "state")} | environ
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=theirs, cwd=home, env=variables
    )
    os.close(theirs)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(asyncio.to_thread(read_all, ours))
        out, _ = await process.communicate()
    os.close(ours)
    return process.returncode, out.decode(), reading.result()


def read_all(terminal: int) -> str:
    seen = b""
    try:
        while piece := os.read(terminal, 65536):
            seen += piece
    except OSError:  # which is how a terminal ends on Linux
        pass
    return seen.decode()


@posix
async def test_on_a_terminal_one_line_moves_and_is_gone_at_the_end(
    tmp_path: Path, gateway: ScriptedGateway
) -> None:
    gateway.submits(accepted())
    gateway.tells(*[row("queued")] * 3, *[row("running")] * 25, MADE)
    code, out, seen = await at_a_terminal(tmp_path, gateway, *WAIT)
    assert code == 0
    assert out.splitlines()[0] == "Media job job completed."
    drawn = seen.split(TAKE_AWAY)
    assert (drawn[0], drawn[-1]) == ("", "")
    assert "\n" not in seen
    lines = [
        re.fullmatch(r"media job job: (\w+), (\d+) s", line) for line in drawn[1:-1]
    ]
    told = [line.groups() for line in lines if line is not None]
    assert len(told) == len(lines)
    assert list(dict.fromkeys(status for status, _ in told)) == [
        "submitted",
        "queued",
        "running",
        "succeeded",
    ]
    assert {"0", "1"} <= {seconds for _, seconds in told}, "it moves by itself"


@posix
@pytest.mark.parametrize(
    ("flags", "environ", "seen"),
    [
        (("--json",), {}, ""),
        (("--no-progress",), {}, ""),
        (
            (),
            {"TERM": "dumb"},
            "media job job: submitted\r\nmedia job job: succeeded\r\n",
        ),
    ],
)
async def test_no_line_moves_for_a_program_or_where_none_can(
    tmp_path: Path,
    gateway: ScriptedGateway,
    flags: tuple[str, ...],
    environ: dict[str, str],
    seen: str,
) -> None:
    gateway.submits(accepted())
    gateway.tells(MADE)
    end = await at_a_terminal(tmp_path, gateway, *WAIT, *flags, **environ)
    assert (end[0], end[2]) == (0, seen)


@posix
async def test_what_the_network_says_neither_breaks_nor_steers_the_line(
    tmp_path: Path, gateway: ScriptedGateway
) -> None:
    gateway.submits(accepted())
    strange = row(f"\x1b]0;owned\x07\n{'x' * 200}")
    gateway.tells(*[strange] * 3, MADE)
    environ = {"COLUMNS": "40"}
    code, _, seen = await at_a_terminal(tmp_path, gateway, *WAIT, **environ)
    assert code == 0
    drawn = seen.split(TAKE_AWAY)
    assert max(map(len, drawn)) == 39
    assert any(line.startswith("media job job:  ]0;owned  xxx") for line in drawn)


@posix
async def test_the_line_is_gone_before_a_failure_is_told(
    tmp_path: Path, gateway: ScriptedGateway
) -> None:
    gateway.submits(accepted())
    gateway.tells(Answer({"error": "Media job not found."}, 404))
    code, out, seen = await at_a_terminal(tmp_path, gateway, *WAIT)
    assert (code, out) == (1, "")
    assert seen.endswith(f"{TAKE_AWAY}Media job not found.\r\n")


@posix
async def test_what_else_is_to_be_told_gets_a_line_of_its_own(
    tmp_path: Path, gateway: ScriptedGateway
) -> None:
    (tmp_path / "state").write_text("no directory")
    gateway.submits(accepted())
    gateway.tells(*[row("running")] * 3, row("canceled"))
    code, _, seen = await at_a_terminal(tmp_path, gateway, *WAIT)
    assert code == 1
    said = re.escape(f"{TAKE_AWAY}job is not looked after on this computer: ")
    assert re.search(
        f"{said}.*cannot hold the state[^\r]*\r\n{re.escape(TAKE_AWAY)}", seen
    )


@posix
async def test_a_job_goes_on_though_nobody_reads_how_it_fares(
    tmp_path: Path, gateway: ScriptedGateway
) -> None:
    gateway.submits(accepted())
    gateway.tells(row("queued"), row("running"), MADE)
    environ = environment(tmp_path) | gateway.environ
    environ["STELLA_STATE_DIR"] = str(tmp_path / "state")
    script = f"{shlex.join(WAIT)} 2> >(exec true); exit $?"
    need("bash")
    end = await ended(tmp_path, environ, "bash", "-c", script)
    assert end.code == 0
    assert end.out.startswith("Media job job completed.\n")


@pytest.mark.parametrize("door", ["media", "materializer"])
async def test_the_end_looks_through_nothing_that_goes_with_it_anyway(
    tmp_path: Path, door: str
) -> None:
    code = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count()));"
        f"from materializer.cli import {door}; {door}()"
    )
    command = (sys.executable, "-c", code, "none-such")
    end = await ended(tmp_path, environment(tmp_path), *command)
    assert (end.code, end.err) == (2, "Unknown command: none-such\n")
    assert int(end.out) > 1000  # objects that nobody looks at any more


async def test_the_help_shows_how_it_is_used(tmp_path: Path) -> None:
    async def help_of(*command: str) -> str:
        environ = environment(tmp_path)
        end = await ended(tmp_path, environ, *MEDIA, *command, "--help")
        assert (end.code, end.err) == (0, "")
        return end.out

    assert '"prompt": "cinematic rainy Tokyo alley at night"' in await help_of()
    generate = await help_of("generate")
    example = "stella-media generate --request-file request.json --wait --timeout 240"
    assert f"\n  {example}\n" in generate
    for code in ("0 done", "1 failed", "2 ", "77 ", "124 ", "130 "):
        assert code in generate.replace("\n  ", " ")
    assert "stella-media status --job-id ID --save" in await help_of("status")


@pytest.mark.parametrize(
    ("line", "of"),
    [
        ("frob --help", ""),
        ("--help status", ""),
        ("--frob -h", ""),
        ("generate --frob --help", "generate "),
        ("status --job-id -h", "status "),
        ("status --job-id job more --help", "status "),
    ],
)
async def test_who_asks_for_help_anywhere_gets_it_and_nothing_else(
    tmp_path: Path, line: str, of: str
) -> None:
    end = await ended(tmp_path, environment(tmp_path), *MEDIA, *line.split())
    assert (end.code, end.err) == (0, "")
    assert end.out.startswith(f"Usage: stella-media {of}[OPTIONS]")
    assert [*tmp_path.iterdir()] == []


async def test_the_example_of_the_help_is_a_request_as_it_stands(
    tmp_path: Path, gateway: ScriptedGateway
) -> None:
    need("sh")
    environ = environment(tmp_path) | gateway.environ
    told = await ended(tmp_path, environ, *MEDIA, "generate", "--help")
    [script] = re.findall(r"  (cat > .*?)  stella-media", told.out, re.DOTALL)
    await ended(tmp_path, environ, "sh", "-c", re.sub("(?m)^  ", "", script))
    gateway.submits(accepted())
    command = (*MEDIA, "generate", "--request-file", "request.json")
    end = await ended(tmp_path, environ, *command)
    assert end.code == 0, end.err
    assert b'"capability":"text_to_image"' in gateway.asked[0].body


async def test_the_pages_are_printed(tmp_path: Path) -> None:
    environ = environment(tmp_path)
    pages = [
        await ended(tmp_path, environ, *MEDIA, "docs", *kind)
        for kind in ((), ("images",), ("video",), ("audio",), ("music",), ("3d",))
    ]
    assert {(page.code, page.err) for page in pages} == {(0, "")}
    capabilities = ("", "icon", "image_to_video", "sound_effects", "bpm", "text_to_3d")
    for page, capability in zip(pages, capabilities, strict=True):
        assert capability in page.out
    assert len({page.out for page in pages}) == len(pages)
    wrong = await ended(tmp_path, environ, *MEDIA, "docs", "smells")
    assert (wrong.code, wrong.out) == (2, "")
    assert "'smells'" in wrong.err
    assert [*tmp_path.iterdir()] == []


# What completes the words of a line in each shell, as its keys do, and prints it.
SHELLS = {
    "bash": """
        eval "$(stella-media completion bash)"
        complete -p stella-media | grep -q _stella_media_completion || exit 9
        COMP_WORDS=(LINE); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _stella_media_completion stella-media
        printf '%s\\n' "${COMPREPLY[@]}"
    """,
    "zsh": """
        compdef() { registered=$2 }
        _describe() { print -rl -- ${${(P)3}%%:*} }
        compadd() { print -rl -- ${(P)@[-1]} }
        eval "$(stella-media completion zsh)"
        [[ $registered == stella-media ]] || exit 9
        words=(LINE); CURRENT=${#words}
        _stella_media_completion
    """,
    "fish": """
        stella-media completion fish | source
        complete -C 'LINE'
    """,
}


@posix
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("stella-media gen", {"generate"}),
        ("stella-media generate --time", {"--timeout"}),
        ("stella-media docs m", {"music"}),
        ("stella-media completion f", {"fish"}),
    ],
)
async def test_a_shell_completes(
    tmp_path: Path, shell: str, line: str, offered: set[str]
) -> None:
    need(shell)
    program = tmp_path / "bin" / "stella-media"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(MEDIA)} "$@"\n')
    program.chmod(0o755)
    environ = environment(tmp_path)
    environ["PATH"] = f"{program.parent}{os.pathsep}{environ['PATH']}"
    bare = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    script = SHELLS[shell].replace("LINE", line)
    end = await ended(tmp_path, environ, shell, *bare, "-c", script)
    assert (end.code, end.err) == (0, "")
    assert {told.split("\t")[0] for told in end.out.split("\n") if told} == offered
