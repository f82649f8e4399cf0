"""No secret gets out: a canary token and a canary link are looked for everywhere."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from origin import Origin
from process.house import MATERIALIZER, App, House, png

QUERY = "canary-query-7f3a9c"
PATH = "canary-path-51d0e2"
# What the person's own output says is theirs: a whole output, kept as it came, private.
OWN = {"odd_0.json", "spoken_1.json"}


def secrets(house: House) -> list[str]:
    """Return what must be nowhere: parts of the links, and of the token."""
    told = house.backend.token_file.read_text().strip()
    token = json.loads(told)["token"] if told.startswith("{") else told
    _, payload, signature = token.split(".")
    return [QUERY, PATH, payload, signature]


def found(house: House, where: dict[str, bytes]) -> list[tuple[str, str]]:
    return [
        (name, secret)
        for name, data in where.items()
        for secret in secrets(house)
        if secret.encode() in data
    ]


def link(source: Origin, name: str, body: bytes) -> str:
    return source.serve(f"/{PATH}/{name}.png?sig={QUERY}", body)


def spoil(house: House, source: Origin) -> None:
    """Let everything go wrong that a link or a message can be told of for."""
    links = {
        "good": link(source, "good", png("good")),
        "cut": link(source, "cut", png("cut")[:-9]),
        "page": link(source, "page", b"<!doctype html><title>Denied</title>"),
        "gone": source.url(f"/{PATH}/gone.png?sig={QUERY}"),
        "closed": f"http://127.0.0.1:1/{PATH}/a.png?sig={QUERY}",
        "private": f"http://10.0.0.1/{PATH}/a.png?sig={QUERY}",
        "scheme": f"ftp://files.example.test/{PATH}/a.png?sig={QUERY}",
        "named": f"https://me:{QUERY}@files.example.test/{PATH}/a.png",
    }
    for job_id, url in links.items():
        house.finish(job_id, {"images": [{"url": url}]})
    house.finish("odd", {"verdict": f"see {links['good']}"})
    house.finish("spoken", {"text": "Hello.", "input": {"audio_url": links["good"]}})
    deployment, owner = house.backend.deployment, house.backend.owner()
    now = time.time_ns()
    deployment.submit(now, owner=owner, job_id="failed", capability="text_to_image")
    deployment.fail(now, "failed", f"GET {links['good']} said no", code="upstream")


async def said(app: App) -> dict[str, bytes]:
    """Return what a client can be told."""
    jobs = (await app.call("job.list", limit=500))["jobs"]
    answers: list[Any] = [jobs, await app.call("daemon.status")]
    answers.append(await app.call("gallery.list"))
    answers += [await app.call("job.get", jobId=job["jobId"]) for job in jobs]
    told = [sent.params for sent in app._heard]
    return {
        "answers": json.dumps(answers).encode(),
        "events": json.dumps(told).encode(),
    }


def processes(pid: int) -> Iterator[int]:
    """Yield a process and all that it has started."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from processes(int(child))


def seen_from_outside(pid: int) -> dict[str, bytes]:
    return {
        f"{one}/{what}": Path(f"/proc/{one}/{what}").read_bytes()
        for one in processes(pid)
        for what in ("cmdline", "environ")
    }


def files(house: House) -> dict[str, bytes]:
    """Return every file of the daemon's, and what it said; not the sign-in itself."""
    return {
        path.relative_to(house.root).as_posix(): path.read_bytes()
        for top in (house.state, *house.root.glob("stderr-*"))
        for path in (top, *top.rglob("*"))
        if path.is_file()
    }


@pytest.mark.skipif("sys.platform != 'linux'", reason="looks into /proc")
@pytest.mark.parametrize("style", ["text", "json"])
async def test_a_run_in_which_everything_fails_tells_no_secret(
    house: House, source: Origin, style: str
) -> None:
    flags = ("--log-level", "debug", "--log-format", style)
    async with house.daemon(*flags) as daemon, App(house.state) as app:
        await app.call("display.subscribe", consumer="app", after=0)
        await app.feed("live")
        spoil(house, source)
        for job_id in ("good", "private", "scheme", "named"):
            state = "done" if job_id == "good" else "failed"
            await app.event("job", jobId=job_id, state=state)
        for job_id in ("cut", "page", "gone", "closed"):
            await app.event("job", jobId=job_id, state="pending")
        await app.event("job", jobId="odd", state="unrecognised")
        await app.event("job", jobId="spoken", state="done")
        await app.event("notification", jobId="failed")
        told = await said(app)
        outside = seen_from_outside(daemon.pid)
        commands = {
            " ".join(words): await house.command(*MATERIALIZER, *words)
            for words in (
                ("status",),
                ("doctor",),
                ("config", "--origins"),
                ("logs", "-n", "9999"),
                ("gallery", "list", "--json"),
            )
        }
        lying = files(house)
    printed = {name: (end.out + end.err).encode() for name, end in commands.items()}
    log = house.log()
    assert len(told["answers"]) > 1000
    assert len(told["events"]) > 500
    assert any("materializer.log" in name for name in lying)
    for job_id in ("cut", "page", "gone", "closed", "private", "scheme", "named"):
        assert job_id in log
    assert found(house, told | outside | printed) == []
    settled = {name: data for name, data in lying.items() if "gallery.db" not in name}
    assert {Path(name).name for name, _ in found(house, settled)} == OWN


async def test_a_link_is_kept_nowhere_once_its_job_has_settled(
    house: House, source: Origin
) -> None:
    async with house.daemon() as daemon, App(house.state) as app:
        await app.feed("live")
        house.finish("good", {"images": [{"url": link(source, "good", png("good"))}]})
        refused = f"http://10.0.0.1/{PATH}/a.png?sig={QUERY}"
        house.finish("private", {"images": [{"url": refused}]})
        await app.event("job", jobId="good", state="done")
        house.finish("odd", {"verdict": f"see {refused}"})
        house.finish("spoken", {"text": "Hello.", "input": {"audio_url": refused}})
        await app.event("job", jobId="private", state="failed")
        await app.event("job", jobId="odd", state="unrecognised")
        await app.event("job", jobId="spoken", state="done")
        await app.call("daemon.shutdown")
        assert (await daemon.ended()).code == 0
    assert {Path(name).name for name, _ in found(house, files(house))} == OWN


@pytest.mark.parametrize("style", ["text", "json"])
async def test_a_token_command_that_fails_is_told_without_what_it_said(
    house: House, style: str
) -> None:
    token = house.backend.token_file.read_text().strip()
    script = house.root / "print-token"
    script.write_text(
        f"import sys\nprint({token!r})\nprint({token!r}, file=sys.stderr)\nsys.exit(5)"
    )
    command = shlex.join((sys.executable, str(script)))
    flags = ("--token-command", command, "--log-format", style, "--log-level", "debug")
    end = await house.command(*MATERIALIZER, "run", "--once", *flags)
    assert end.code != 0
    assert "the token command failed with exit code 5" in end.err
    printed = {"out": end.out.encode(), "err": end.err.encode()}
    assert found(house, printed | files(house)) == []
