import json
from pathlib import Path
from typing import Any

import pytest

from materializer.model import Job, JobError
from materializer.wording import (
    Note,
    advice,
    disk_trouble,
    failed,
    not_saved,
    printed,
    repaired,
    several,
    shown,
    sign_in_refused,
    too_slow,
    unrecognised,
)

IMAGE_FAILURE_TEXTS = json.loads(
    Path(__file__).with_name("data").joinpath("image_failure_texts.json").read_text()
)


def job(
    capability: str, error: JobError | None = None, *, status: str = "failed"
) -> Job:
    return Job("j1", status, capability=capability, error=error)


@pytest.mark.parametrize("vector", IMAGE_FAILURE_TEXTS, ids=lambda v: str(v["in"]))
@pytest.mark.parametrize(
    "capability", ["text_to_image", "image_edit", "icon", "realtime"]
)
def test_pictures_fail_in_the_app_s_words(capability: str, vector: Any) -> None:
    given = vector["in"]
    error = JobError(given.get("message", ""), given.get("code")) if given else None
    assert failed(job(capability, error)).title == vector["out"]


@pytest.mark.parametrize(
    ("code", "message", "title"),
    [
        (" TIMEOUT ", "", "Image generation took too long"),
        ("client_disconnected", "", "Image generation was interrupted"),
        ("other", "timeout while rate limited", "Image service is busy"),
        ("other", "Invalid API key", "Image service is not configured"),
        ("other", "the deadline is past", "Image generation took too long"),
    ],
)
def test_a_known_code_goes_before_the_message(
    code: str, message: str, title: str
) -> None:
    assert failed(job("icon", JobError(message, code))).title == title


@pytest.mark.parametrize(
    ("capability", "title"),
    [
        ("image_to_video", "Video generation failed"),
        ("video_extend", "Video generation failed"),
        ("text_to_dialogue", "Audio generation failed"),
        ("text_to_music", "Audio generation failed"),
        ("text_to_3d", "3D model generation failed"),
        ("speech_to_text", "Transcription failed"),
        ("audio_visual_separate", "Audio separation failed"),
        ("of_tomorrow", "Generation failed"),
        ("", "Generation failed"),
    ],
)
def test_other_failures_name_their_medium(capability: str, title: str) -> None:
    note = failed(job(capability, JobError("Rate limit: try later", "timeout")))
    assert note == Note(title, "Rate limit: try later")


@pytest.mark.parametrize(
    ("capability", "title"),
    [
        ("icon", "Image generation was canceled"),
        ("text_to_video", "Video generation was canceled"),
        ("speech_to_text", "Transcription was canceled"),
        ("of_tomorrow", "Generation was canceled"),
    ],
)
@pytest.mark.parametrize("status", ["canceled", "cancelled"])
def test_a_canceled_job_is_called_so(capability: str, title: str, status: str) -> None:
    assert failed(job(capability, status=status)).title == title


@pytest.mark.parametrize("error", [None, JobError(""), JobError("\x00\n")])
def test_a_failure_without_a_message_says_so(error: JobError | None) -> None:
    assert failed(job("text_to_video", error)).body == "No reason was given."


@pytest.mark.parametrize(
    ("message", "seen"),
    [
        ("Quota exceeded.", "Quota exceeded."),
        ("<b>no</b> & -x", "<b>no</b> & -x"),
        ("see https://a.example/key?sig=1 now", "see https://a.example now"),
        ("HTTPS://me:pw@a.example:8443/x", "HTTPS://a.example:8443"),
        ("wss://a.example#token", "wss://a.example"),
        (r'{"url":"https:\/\/a.example\/key"}', '{"url":"https://a.example"}'),
        ("https://a.example/it's-a-key", "https://a.example"),
        ("one\ntwo\x1b[31m\x07", "one two [31m"),
        ("\u202eturned\u2066 round\u2028", "turned  round"),
        ("half \ud800 a letter", "half   a letter"),
        ("نامه‌ای 👩‍🎨", "نامه‌ای 👩‍🎨"),
    ],
)
def test_a_message_is_shown_as_it_came_but_for_secrets_and_steering(
    message: str, seen: str
) -> None:
    assert shown(message) == seen
    assert failed(job("text_to_video", JobError(message))).body == seen


@pytest.mark.parametrize(
    ("capability", "sentence"),
    [
        ("icon", "Image generation took too long"),
        ("realtime", "Image generation took too long"),
        ("video_extend", "Video generation took too long"),
        ("text_to_3d", "3D model generation took too long"),
        ("speech_to_text", "Transcription took too long"),
        ("", "Generation took too long"),
    ],
)
def test_what_nobody_waited_for_any_longer_names_its_medium(
    capability: str, sentence: str
) -> None:
    assert too_slow(job(capability)) == sentence


PLANS = (
    "Media generation is part of the paid plans: open Stella, choose one under"
    " Billing, then send the same request again."
)


@pytest.mark.parametrize(
    ("message", "code", "status", "do"),
    [
        ("No.", None, 402, PLANS),
        ("PAID_PLAN_REQUIRED", None, None, PLANS),
        ("No.", "paid_plan_required", 429, PLANS),
        ("Video requires a Stella subscription.", None, None, PLANS),
        ("No.", None, 429, "Wait a few minutes, then send the same request again."),
        ("Rate limit exceeded", None, None, "Wait a few minutes, then"),
        ("HTTP 429", None, None, "Wait a few minutes, then"),
        ("Too many requests", "rate_limited", None, "Wait a few minutes, then"),
        ("No.", "rate_limit", None, "Wait a few minutes, then"),
        ("No.", None, 500, None),
        ("moderate, at 1429 degrees", None, 400, None),
        ("", None, None, None),
    ],
)
def test_who_can_do_something_about_a_refusal_is_told_what(
    message: str, code: str | None, status: int | None, do: str | None
) -> None:
    told = advice(message, code, status=status)
    assert told == do or (do and told and told.startswith(do))


@pytest.mark.parametrize(
    ("seconds", "wait"),
    [
        (0.0, "a second"),
        (1.0, "a second"),
        (42.0, "42 seconds"),
        (90.0, "90 seconds"),
        (91.0, "2 minutes"),
        (300.0, "5 minutes"),
    ],
)
def test_how_long_to_wait_is_said_as_a_person_says_it(
    seconds: float, wait: str
) -> None:
    told = advice("No.", status=429, retry_after=seconds)
    assert told == f"Wait {wait}, then send the same request again."


def test_a_printed_text_keeps_its_lines_and_steers_no_terminal() -> None:
    assert printed("a\tb\n\x1b[2Jc\r\n\u202ed https://a.test/x\n") == (
        "a\tb\n [2Jc \n d https://a.test/x\n"
    )


def test_outputs_that_could_not_be_kept_are_told_with_the_reason() -> None:
    reason = "http://10.0.0.1/x is a private address"
    assert not_saved(job("image_to_video"), 0, reason) == Note(
        "Video could not be saved", "http://10.0.0.1 is a private address"
    )
    assert not_saved(job("text_to_image"), 2, "2 of 4 are gone") == Note(
        "Image was saved only in part", "2 of 4 are gone"
    )
    assert not_saved(job("speech_to_text"), 0, "gone").title == (
        "Transcription could not be saved"
    )
    assert not_saved(job(""), 0, "gone").title == "Result could not be saved"


def test_an_output_of_no_known_shape_is_told_with_its_file() -> None:
    assert unrecognised(job("text_to_video"), "j1_0.json") == Note(
        "Unrecognised output", "The result of text_to_video was kept as j1_0.json."
    )
    assert "j1" in unrecognised(job(""), "j1_0.json").body


def test_a_refused_sign_in_is_told_in_the_deployment_s_words() -> None:
    assert sign_in_refused("Ask\nhttps://site.test/login?code=1") == Note(
        "Stella sign-in needed", "Ask https://site.test"
    )


def test_a_repaired_gallery_is_told_with_where_the_damaged_one_is() -> None:
    note = repaired("gallery.db.damaged-1")
    assert note.title == "The gallery was repaired"
    assert note.body.endswith("the damaged one is kept as gallery.db.damaged-1.")


def test_many_failures_are_told_with_their_number_and_the_newest() -> None:
    newest = Note("Video generation failed", "Out of film.")
    assert several(28, 30, newest) == Note(
        "28 more jobs failed",
        "30 in all; the newest: Video generation failed: Out of film.",
    )
    assert several(5, 5, newest) == Note(
        "5 jobs failed", "The newest: Video generation failed: Out of film."
    )


def test_what_the_disk_could_not_take_is_told_in_one_line() -> None:
    note = disk_trouble("The disk is full:\nfree some space.")
    assert note == Note("Saving media is paused", "The disk is full: free some space.")
