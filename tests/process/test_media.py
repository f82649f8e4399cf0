"""`stella-media` from outside: what it prints, where, and how it exits."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from materializer.devserver import gateway
from origin import Origin
from process.house import (
    MATERIALIZER,
    MEDIA,
    App,
    Ended,
    House,
    ended,
    environment,
    png,
)

PICTURES = {
    "capability": "text_to_image",
    "prompt": "two lamps",
    "input": {"num_images": 2},
}
MESH = {"capability": "text_to_3d", "prompt": "a pebble"}


@pytest.fixture
async def studio(house: House) -> House:
    """A house whose commands are signed in."""
    house.environ["STELLA_MEDIA_TOKEN_FILE"] = str(house.backend.token_file)
    return house


@pytest.fixture(params=["with a daemon", "without a daemon"])
async def either(studio: House, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    """The same, once with a running daemon and once without one."""
    async with AsyncExitStack() as running:
        if request.param == "with a daemon":
            await running.enter_async_context(studio.daemon())
            async with App(studio.state) as app:
                await app.feed("live")
        yield studio


async def generate(house: House, request: Any, *flags: str) -> Ended:
    asked = ("generate", "--request", json.dumps(request))
    return await house.command(*MEDIA, *asked, *flags)


def waited(end: Ended) -> tuple[str, list[str]]:
    """Return the job's id and the statuses that stderr tells of, in order."""
    lines = [
        re.fullmatch(r"media job (\S+): (\w+)", line) for line in end.err.splitlines()
    ]
    told = [line.groups() for line in lines if line is not None]
    assert len(told) == len(lines), end.err
    [job_id] = {job_id for job_id, _ in told}
    return job_id, [status for _, status in told]


async def test_a_request_is_submitted_and_the_answer_printed(studio: House) -> None:
    text = json.dumps(MESH)
    (studio.root / "request.json").write_text(text)
    for flags in (
        ("--request", text),
        (f"--request={text}", "--json"),
        ("--request-file", "request.json"),
        ("--request-file", "-"),
    ):
        end = await studio.command(*MEDIA, "generate", *flags, stdin=text.encode())
        assert (end.code, end.err) == (0, "")
        accepted = json.loads(end.out)
        assert end.out == json.dumps(accepted, indent=2) + "\n"
        assert (accepted["capability"], accepted["status"]) == ("text_to_3d", "queued")
        row = studio.backend.deployment.row(accepted["jobId"], studio.backend.owner())
        assert row is not None
        assert row.request["prompt"] == "a pebble"
    assert studio.files() == []


async def test_waiting_ends_with_the_files_on_disk(either: House) -> None:
    end = await generate(either, PICTURES, "--wait", "--poll-interval", "0.1")
    assert end.code == 0, end.err
    job_id, statuses = waited(end)
    assert statuses[0] == "submitted"
    assert len(statuses) == len(set(statuses))
    paths = [either.outputs / f"{job_id}_{i}.png" for i in range(2)]
    assert end.out.splitlines() == [
        f"Media job {job_id} completed.",
        *(f"image: {path}" for path in paths),
    ]
    assert either.files() == sorted(path.name for path in paths)


async def test_what_was_saved_without_a_daemon_is_in_the_gallery(
    studio: House,
) -> None:
    studio.finish_picture("job")
    await studio.command(*MEDIA, "status", "--job-id", "job", "--save")
    end = await studio.command(*MATERIALIZER, "gallery", "list", "--json")
    items = json.loads(end.out)["items"]
    assert [item["path"] for item in items] == [str(studio.outputs / "job_0.png")]


async def test_for_a_program_there_is_one_object_and_nothing_else(
    either: House,
) -> None:
    end = await generate(either, MESH, "--wait", "--json", "--poll-interval=0.1")
    assert (end.code, end.err) == (0, "")
    told = json.loads(end.out)
    assert told.keys() == {"job", "files"}
    job = told["job"]
    assert (job["status"], job["capability"]) == ("succeeded", "text_to_3d")
    path = either.outputs / f"{job['jobId']}_0.glb"
    url = job["output"]["model_mesh"]["url"]
    assert told["files"] == [{"kind": "download", "url": url, "path": str(path)}]
    assert path.exists()


@pytest.mark.parametrize(
    ("request_", "title", "body"),
    [
        (
            {"capability": "text_to_dialogue", "prompt": "[fail:quota Come later.]"},
            "Audio generation failed",
            ["Come later."],
        ),
        (
            {
                "capability": "image_to_video",
                "prompt": "[fail: Content policy violation]",
                "source": "data:image/png;base64,AAAA",
            },
            "Video generation failed",
            ["Content policy violation"],
        ),
        (
            {
                "capability": "text_to_image",
                "prompt": "[fail: Content policy violation]",
            },
            "Image request was blocked",
            ["Content policy violation"],
        ),
        (MESH | {"prompt": "[cancel]"}, "3D model generation was canceled", []),
    ],
)
async def test_a_failure_names_the_medium_and_then_the_upstream_message(
    studio: House, request_: dict[str, str], title: str, body: list[str]
) -> None:
    end = await generate(studio, request_, "--wait", "--poll-interval", "0.1")
    assert (end.code, end.out) == (1, "")
    lines = end.err.splitlines()
    told = [line for line in lines if not line.startswith("media job ")]
    assert told == [title, *body]
    assert lines[-len(told) :] == told
    end = await generate(studio, request_, "--wait", "--json", "--poll-interval", "0.1")
    assert (end.code, end.err) == (1, "")
    failed = json.loads(end.out)
    assert failed["error"] == title
    assert failed["job"]["status"] in {"failed", "canceled"}


async def test_waiting_has_an_end(studio: House) -> None:
    request = MESH | {"prompt": "[slow:60]"}
    end = await generate(studio, request, "--wait", "--timeout", "0.5")
    assert (end.code, end.out) == (124, "")
    assert end.err.splitlines()[-1] == "3D model generation took too long"


async def test_a_transcript_is_saved_and_printed(either: House) -> None:
    output = {"text": "Hello there.\n\x1b[2JAnd\tbye.", "language": "en"}
    either.finish("job", output, capability="speech_to_text")
    end = await either.command(*MEDIA, "status", "--job-id", "job", "--save")
    assert (end.code, end.err) == (0, "")
    path = either.outputs / "job_0.txt"
    shown = "Hello there.\n [2JAnd\tbye."
    assert end.out == f"Media job job completed.\ntext: {path}\n{shown}\n"
    assert path.read_text() == output["text"]
    assert json.loads((either.outputs / "job_1.json").read_text()) == output


async def test_a_daemon_takes_over_what_was_saved_without_it(
    studio: House, source: Origin
) -> None:
    url = source.serve("/a.png", png("a"))
    studio.finish("job", {"images": [{"url": url}]})
    end = await studio.command(*MEDIA, "status", "--job-id", "job", "--save")
    assert end.code == 0, end.err
    async with studio.daemon(), App(studio.state) as app:
        await app.call("display.subscribe", consumer="app", after=0)
        assert (await app.update())["payload"]["jobId"] == "job"
        studio.finish_picture("next")
        assert (await app.update())["payload"]["jobId"] == "next"
    assert len(source.requests) == 1


async def test_an_output_that_cannot_be_had_is_told(
    studio: House, source: Origin
) -> None:
    studio.finish("job", {"images": [{"url": "ftp://happy.example/a.png?s3cret"}]})
    command = (*MEDIA, "status", "--job-id", "job")
    end = await studio.command(*command, "--save")
    assert end.code == 1
    assert "ftp" in end.err
    assert "s3cret" not in end.err
    end = await studio.command(*command)
    assert (end.code, end.out) == (0, "Media job job completed.\n")


async def test_status_prints_a_job_that_has_not_ended(studio: House) -> None:
    job_id = await studio.order(MESH | {"prompt": "[slow:60]"})
    end = await studio.command(*MEDIA, "status", f"--job-id={job_id}", "--save")
    assert (end.code, end.err) == (0, "")
    job = json.loads(end.out)
    assert job["jobId"] == job_id
    assert job["status"] in {"queued", "running"}


async def test_what_the_gateway_says_against_it_is_passed_on(studio: House) -> None:
    end = await generate(studio, {"capability": "text_to_3d"})
    assert (end.code, end.out) == (1, "")
    assert end.err == "prompt is required for this capability\n"
    end = await studio.command(*MEDIA, "status", "--job-id", "none")
    assert (end.code, end.out, end.err) == (1, "", "Media job not found.\n")


async def test_capabilities_are_printed(studio: House) -> None:
    end = await studio.command(*MEDIA, "capabilities")
    assert (end.code, end.err) == (0, "")
    entries = {entry["id"] for entry in json.loads(end.out)["data"]}
    assert {"text_to_image", "text_to_3d"} <= entries


@pytest.mark.parametrize(
    ("arguments", "say"),
    [
        ("frob", "Unknown command: frob"),
        ("generate --frob", "Unknown argument: --frob"),
        ("generate", "generate requires --request or --request-file."),
        ("status", "status requires --job-id."),
        ("generate --request {bad", "The request is not valid JSON"),
        ("generate --request-file nowhere.json", "nowhere.json cannot be read"),
    ],
)
async def test_what_is_called_wrongly_is_told_in_one_line(
    tmp_path: Path, arguments: str, say: str
) -> None:
    end = await ended(tmp_path, environment(tmp_path), *MEDIA, *arguments.split())
    assert (end.code, end.out) == (2, "")
    [line] = end.err.splitlines()
    assert line.startswith(say)
    assert [*tmp_path.iterdir()] == []


async def test_who_is_not_signed_in_is_told_so(house: House) -> None:
    end = await generate(house, MESH)
    assert (end.code, end.out) == (77, "")
    assert end.err == (
        "stella-media requires Stella sign-in."
        " Open Stella and finish signing in, then retry.\n"
    )


async def test_a_refused_token_is_answered_with_what_to_do(house: House) -> None:
    house.environ["STELLA_SITE_URL"] = house.backend.site_url
    end = await house.command(
        *MEDIA, "capabilities", STELLA_MEDIA_AUTH_TOKEN=house.backend.token()
    )
    assert end.code == 0
    end = await house.command(
        *(*MEDIA, "status", "--job-id", "any"),
        STELLA_MEDIA_AUTH_TOKEN=house.backend.token(lifetime=-10),
    )
    assert (end.code, end.out) == (77, "")
    answer = gateway._AUTH_REQUIRED
    assert end.err.splitlines() == [answer["error"], answer["action"]]
