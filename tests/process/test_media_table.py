"""`stella-media` beside the app's own command, row by row and byte for byte.

What the app's command answered to a scripted gateway is the table; where ours means
to do better, the row says how.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from encoded import film, picture
from materializer.cli.generate import _seconds
from origin import Origin
from process.house import MEDIA, Ended, ended, environment
from process.scripted_gateway import (
    LOST,
    Answer,
    ScriptedGateway,
    accepted,
    row,
    scripted_gateway,
)

VECTORS = json.loads(
    Path(__file__).parents[1].joinpath("data/stella_media.json").read_text()
)
REQUEST = '{"capability": "text_to_image", "prompt": "a lamp"}'
GENERATE = ("generate", "--request", REQUEST)
WAIT = (*GENERATE, "--wait", "--poll-interval", "0.05")
STATUS = ("status", "--job-id", "job")
CLIP = {"video": {"url": "{source}/clip.mp4"}}
GONE = {"images": [{"url": "{source}/gone.png"}]}
TEXT = {"text": "Hello there.", "segments": []}
BOOM = {"message": "boom"}
POLICY = {"message": "Content policy violation"}
AUTH = Answer(
    {
        "error": "Sign in first.",
        "code": "auth_required",
        "action": "Open Stella → Account.",
    },
    401,
)


@dataclass(frozen=True)
class Row:
    """One call, what the gateway answers, and what comes of it.

    `better` says what the app's command did instead.
    """

    argv: tuple[str, ...]
    submits: tuple[Answer | None, ...] = ()
    tells: tuple[Answer | None, ...] = ()
    code: int = 0
    out: str = ""
    err: str = ""
    signed_in: bool = True
    better: str = ""


def lines(*told: str) -> str:
    return "".join(f"{line}\n" for line in told)


def fared(*statuses: str) -> str:
    return lines(*(f"media job job: {status}" for status in statuses))


def wholly(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def said(answer: Answer) -> str:
    return wholly(answer.body)


QUEUED, RUNNING = row("queued", "image_to_video"), row("running", "image_to_video")
MADE = row("succeeded", "image_to_video", output=CLIP)
TAKEN = accepted(capability="image_to_video")
FAILED = row("failed", error=BOOM)
HEARD = row("succeeded", "speech_to_text", output=TEXT)

TABLE = {
    "unknown command": Row(
        ("frob",), code=2, err="Unknown command: frob\n", better="exit 1"
    ),
    "unknown flag": Row(
        ("generate", "--frob"),
        code=2,
        err="Unknown argument: --frob\n",
        better="exit 1",
    ),
    "a word too many": Row(
        (*STATUS, "more"), code=2, err="Unknown argument: more\n", better="exit 1"
    ),
    "no credentials": Row(
        GENERATE,
        signed_in=False,
        code=77,
        err="stella-media requires Stella sign-in."
        " Open Stella and finish signing in, then retry.\n",
        better="exit 1",
    ),
    "generate without request": Row(
        ("generate",),
        code=2,
        err="generate requires --request or --request-file.\n",
        better="exit 1",
    ),
    "status without id": Row(
        ("status",), code=2, err="status requires --job-id.\n", better="exit 1"
    ),
    "generate, no wait": Row(GENERATE, (accepted(),), out=said(accepted())),
    "generate, no wait, JSON": Row(
        (*GENERATE, "--json"), (accepted(),), out=said(accepted())
    ),
    "generate, no wait, --flag=value": Row(
        ("generate", f"--request={REQUEST}"),
        (accepted(),),
        out=said(accepted()),
        better="an unknown argument",
    ),
    "wait, queued, running, running, succeeded": Row(
        WAIT,
        (TAKEN,),
        (QUEUED, RUNNING, RUNNING, MADE),
        out=lines("Media job job completed.", "video: {outputs}/job_0.mp4"),
        err=fared("submitted", "queued", "running", "succeeded"),
        better="saved as job.mp4",
    ),
    "the same, JSON": Row(
        (*WAIT, "--json"),
        (TAKEN,),
        (QUEUED, RUNNING, RUNNING, MADE),
        out=wholly(
            {
                "job": MADE.body,
                "files": [
                    {
                        "kind": "video",
                        "url": "{source}/clip.mp4",
                        "path": "{outputs}/job_0.mp4",
                    }
                ],
            }
        ),
        better="saved as job.mp4",
    ),
    "the same, without progress": Row(
        (*WAIT, "--no-progress"),
        (TAKEN,),
        (QUEUED, MADE),
        out=lines("Media job job completed.", "video: {outputs}/job_0.mp4"),
        better="an unknown argument",
    ),
    "wait, failed by policy": Row(
        WAIT,
        (accepted(),),
        (row("failed", error=POLICY),),
        code=1,
        err=fared("submitted", "failed")
        + lines("Image request was blocked", "Content policy violation"),
        better="no upstream message",
    ),
    "wait, failed, JSON": Row(
        (*WAIT, "--json"),
        (accepted(),),
        (FAILED,),
        code=1,
        out=wholly({"job": FAILED.body, "error": "Image generation failed"}),
    ),
    "wait, another medium failed": Row(
        WAIT,
        (TAKEN,),
        (row("failed", "image_to_video", error=BOOM),),
        code=1,
        err=fared("submitted", "failed") + lines("Video generation failed", "boom"),
        better="Image generation failed",
    ),
    "wait, canceled": Row(
        WAIT,
        (accepted(),),
        (row("canceled"),),
        code=1,
        err=fared("submitted", "canceled") + "Image generation was canceled\n",
        better="Image generation failed",
    ),
    "wait, cancelled": Row(
        WAIT,
        (accepted(),),
        (row("cancelled"),),
        code=1,
        err=fared("submitted", "cancelled") + "Image generation was canceled\n",
        better="never terminal, so the timeout's text and 124",
    ),
    "wait, unknown": Row(
        WAIT,
        (accepted(),),
        (row("unknown"),),
        code=1,
        err=fared("submitted", "unknown") + "Image generation failed\n",
    ),
    "wait, a strange status, succeeded": Row(
        WAIT,
        (TAKEN,),
        (row("rendering", "image_to_video"), MADE),
        out=lines("Media job job completed.", "video: {outputs}/job_0.mp4"),
        err=fared("submitted", "rendering", "succeeded"),
        better="saved as job.mp4",
    ),
    "wait, still running at the timeout": Row(
        (*WAIT, "--timeout", "0.4"),
        (accepted(),),
        (row("running"),),
        code=124,
        err=fared("submitted", "running") + "Image generation took too long\n",
    ),
    "wait, one poll answers 500": Row(
        WAIT,
        (TAKEN,),
        (QUEUED, Answer({"error": "Oh."}, 500), MADE),
        out=lines("Media job job completed.", "video: {outputs}/job_0.mp4"),
        err=fared("submitted", "queued", "succeeded"),
        better="gave up with the server's text",
    ),
    "wait, some polls are lost or no job": Row(
        WAIT,
        (TAKEN,),
        (LOST, Answer(b"<html>"), Answer({"jobId": "job"}), MADE),
        out=lines("Media job job completed.", "video: {outputs}/job_0.mp4"),
        err=fared("submitted", "succeeded"),
        better="gave up",
    ),
    "wait, every poll fails": Row(
        (*WAIT, "--timeout", "0.4"),
        (accepted(),),
        (Answer({"error": "Down for repair."}, 503),),
        code=124,
        err=fared("submitted")
        + lines("Image generation took too long", "Down for repair."),
        better="gave up with the server's text",
    ),
    "wait, the job is not there": Row(
        WAIT,
        (accepted(),),
        (Answer({"error": "Media job not found."}, 404),),
        code=1,
        err=fared("submitted") + "Media job not found.\n",
    ),
    "401 auth_required": Row(
        GENERATE,
        (AUTH,),
        code=77,
        err=lines("Sign in first.", "Open Stella → Account."),
        better="no action, exit 1",
    ),
    "wait, 401 auth_required": Row(
        WAIT,
        (accepted(),),
        (AUTH, MADE),
        code=77,
        err=fared("submitted") + lines("Sign in first.", "Open Stella → Account."),
        better="no action, exit 1",
    ),
    "402": Row(
        GENERATE,
        (Answer({"error": "Pick a plan."}, 402),),
        code=1,
        err=lines(
            "Pick a plan.",
            "Media generation is part of the paid plans: open Stella, choose one under"
            " Billing, then send the same request again.",
        ),
        better="only the server's text",
    ),
    "429": Row(
        GENERATE,
        (Answer({"error": "Rate limit exceeded"}, 429, ("Retry-After: 42",)),),
        code=1,
        err=lines(
            "Rate limit exceeded",
            "Wait 42 seconds, then send the same request again.",
        ),
        better="only the server's text",
    ),
    "500 with a text body": Row(
        GENERATE,
        (Answer(b"internal", 500),),
        code=1,
        err="Stella media request failed with status 500.\n",
    ),
    "wait, 202 without jobId": Row(
        WAIT,
        (Answer({"status": "queued"}, 202),),
        code=1,
        err="Media gateway did not return a jobId.\n",
    ),
    "status, open job": Row(STATUS, tells=(RUNNING,), out=said(RUNNING)),
    "status, succeeded, no --save": Row(
        STATUS, tells=(MADE,), out="Media job job completed.\n"
    ),
    "status --save, output 404": Row(
        (*STATUS, "--save"),
        tells=(row("succeeded", output=GONE),),
        code=1,
        err="Failed to download media output: the link to 127.0.0.1 is no longer good"
        " (HTTP 404)\n",
        better="Failed to download media output (404).",
    ),
    "status --save --json, text output": Row(
        (*STATUS, "--save", "--json"),
        tells=(HEARD,),
        out=wholly(
            {
                "job": HEARD.body,
                "files": [
                    {
                        "kind": "text",
                        "url": None,
                        "path": "{outputs}/job_0.txt",
                        "text": "Hello there.",
                    }
                ],
            }
        ),
        better="no files",
    ),
    "status --save, text output": Row(
        (*STATUS, "--save"),
        tells=(HEARD,),
        out=lines(
            "Media job job completed.", "text: {outputs}/job_0.txt", "Hello there."
        ),
        better="nothing saved or printed",
    ),
    "status, unknown": Row(
        STATUS, tells=(row("unknown"),), code=1, err="Image generation failed\n"
    ),
    "status, half a surrogate pair": Row(
        STATUS,
        tells=(
            Answer(b'{"jobId": "job", "status": "queued", "x": "\\ud800\xc3\xa9"}'),
        ),
        out='{\n  "jobId": "job",\n  "status": "queued",\n  "x": "\\ud800é"\n}\n',
    ),
}


@dataclass(frozen=True)
class Stage:
    """A gateway, a source of outputs, and a home for a command."""

    gateway: ScriptedGateway
    source: Origin
    home: Path

    @property
    def outputs(self) -> Path:
        return self.home / "state" / "media" / "outputs"

    async def media(self, *argv: str, signed_in: bool = True) -> Ended:
        environ = environment(self.home) | {
            "STELLA_STATE_DIR": str(self.home / "state"),
            "STELLA_ALLOW_PRIVATE_HOSTS": "127.0.0.1",
        }
        environ |= self.gateway.environ if signed_in else {}
        return await ended(self.home, environ, *MEDIA, *argv)

    def here(self, answer: Answer | None) -> Answer | None:
        """Return an answer whose links lead to the source."""
        if answer is LOST or isinstance(answer.body, bytes):
            return answer
        body = json.dumps(answer.body).replace("{source}", self.source.url(""))
        return Answer(json.loads(body), answer.status, answer.headers)

    def told(self, text: str) -> str:
        text = text.replace("{source}", self.source.url(""))
        return text.replace("{outputs}", str(self.outputs))


@pytest.fixture
async def stage(source: Origin, tmp_path: Path) -> AsyncIterator[Stage]:
    source.serve("/clip.mp4", film("mp4", "mpeg4"))
    source.serve("/gone.png", b"", status="404 Not Found")
    source.serve("/a.png", picture("PNG"))
    async with scripted_gateway() as gateway:
        yield Stage(gateway, source, tmp_path)


@pytest.mark.parametrize("name", TABLE)
async def test_each_row_of_the_table(stage: Stage, name: str) -> None:
    told = TABLE[name]
    stage.gateway.submits(*map(stage.here, told.submits))
    stage.gateway.tells(*map(stage.here, told.tells))
    end = await stage.media(*told.argv, signed_in=told.signed_in)
    assert end == Ended(told.code, stage.told(told.out), stage.told(told.err))


async def test_json_that_is_none_is_the_parser_s_message(stage: Stage) -> None:
    end = await stage.media("generate", "--request", "{bad")
    assert (end.code, end.out) == (2, "")
    assert re.fullmatch(r"The request is not valid JSON: Expecting .*\n", end.err)


@pytest.mark.parametrize("vector", VECTORS["arguments"], ids=lambda v: str(v["argv"]))
async def test_arguments_are_read_as_the_app_s_command_reads_them(
    stage: Stage, vector: dict[str, Any]
) -> None:
    (stage.home / "r.json").write_text(REQUEST)
    stage.gateway.submits(accepted())
    output = {"images": [{"url": "{source}/a.png"}]}
    stage.gateway.tells(stage.here(row("succeeded", output=output)))
    end = await stage.media(*vector["argv"])
    assert [asked.target for asked in stage.gateway.asked] == vector.get("asks", [])
    if "error" in vector:
        assert (end.code, end.out, end.err) == (2, "", f"{vector['error']}\n")
        return
    assert end.code == 0
    if "help" in vector:
        assert end.out.startswith("Usage: stella-media")
        assert end.err == ""
    else:
        assert end.out.endswith(f"image: {stage.outputs}/job_0.png\n")


@pytest.mark.parametrize("vector", VECTORS["seconds"], ids=lambda v: str(v["in"]))
def test_seconds_that_are_unusable_are_the_default(vector: dict[str, Any]) -> None:
    assert _seconds(vector["in"], 240.0) * 1000 == vector["ms"]


@pytest.mark.parametrize("vector", VECTORS["failure"], ids=lambda v: str(v["in"]))
async def test_a_failed_picture_is_worded_as_the_app_s_command_does(
    stage: Stage, vector: dict[str, Any]
) -> None:
    stage.gateway.tells(row("failed", error=vector["in"]))
    end = await stage.media(*STATUS)
    assert (end.code, end.out) == (1, "")
    said = vector["in"].get("message")
    assert end.err.splitlines() == [vector["out"], *([said] if said else [])]


async def test_the_body_is_passed_on_as_it_is(stage: Stage) -> None:
    odd = {"capability": 5, "unheard": [None, 1.5, "→"]}
    stage.gateway.submits(accepted())
    await stage.media("generate", "--request", json.dumps(odd))
    [asked] = stage.gateway.asked
    assert json.loads(asked.body) == odd
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["authorization"].startswith("Bearer ")
    assert os.fspath(stage.home) not in str(asked.headers)
