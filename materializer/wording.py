"""A failure to the sentence that a person reads."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from materializer.model import CANCELED_STATUSES, Job, JobError

_MEDIA = {
    "text_to_image": "Image",
    "image_edit": "Image",
    "icon": "Image",
    "realtime": "Image",
    "text_to_video": "Video",
    "image_to_video": "Video",
    "video_to_video": "Video",
    "video_extend": "Video",
    "sound_effects": "Audio",
    "text_to_dialogue": "Audio",
    "text_to_music": "Audio",
    "audio_generation": "Audio",
    "text_to_3d": "3D model",
}
# What is not made but done keeps its own word.
_DEEDS = {
    "speech_to_text": "Transcription",
    "audio_visual_separate": "Audio separation",
}

# The app's sentences for pictures, word for word.
_BUSY = "Image service is busy"
_INVALID = "Image request was invalid"
_SLOW = "Image generation took too long"
_BY_CODE = {
    "request_timeout": _SLOW,
    "timeout": _SLOW,
    "startup_timeout": "Image generation took too long to start",
    "runner_scheduling_failure": _BUSY,
    "runner_connection_timeout": _BUSY,
    "runner_disconnected": _BUSY,
    "runner_connection_refused": _BUSY,
    "runner_connection_error": _BUSY,
    "runner_incomplete_response": "Image result could not be read",
    "payload_error": "Image result could not be read",
    "runner_server_error": "Image service hit a temporary error",
    "internal_error": "Image service hit a temporary error",
    "bad_request": _INVALID,
    "client_cancelled": "Image generation was canceled",
    "client_disconnected": "Image generation was interrupted",
}
_BY_WORDS = [
    (re.compile(rf"\b(?:{words})\b", re.ASCII | re.IGNORECASE), text)
    for words, text in (
        ("policy|safety|moderation|blocked|nsfw", "Image request was blocked"),
        ("rate|429|concurrency|busy|capacity", _BUSY),
        (
            "auth|api key|unauthorized|forbidden|401|403",
            "Image service is not configured",
        ),
        ("required|invalid|validation|422|bad request", _INVALID),
        ("timeout|timed out|deadline", _SLOW),
    )
]

_PAID_PLAN = re.compile(
    r"paid_plan_required|requires a stella subscription", re.IGNORECASE
)
_TOO_MANY = re.compile(
    r"\b(?:429|rate.?limit(?:ed)?|too many requests)\b", re.IGNORECASE
)

# JSON that was quoted in a message writes slashes as `\/`.
_URL = re.compile(r"\b([a-z][a-z0-9+.-]*:(?:\\?/){2})([^\s\"<>]*)", re.IGNORECASE)
_STEERING = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_HOST_ENDS = re.compile(r"[\\/?#]")


@dataclass(frozen=True, slots=True)
class Note:
    """What a person is told: one line, and as much as there is to say about it."""

    title: str
    body: str


def failed(job: Job) -> Note:
    """Word a job that the backend says has failed, or was canceled."""
    return Note(_failure_title(job), _why(job.error))


def too_slow(job: Job) -> str:
    """Word that nobody waited any longer for a job."""
    medium = _MEDIA.get(job.capability)
    what = _DEEDS.get(job.capability) or (
        f"{medium} generation" if medium else "Generation"
    )
    return f"{what} took too long"


def advice(
    message: str,
    code: str | None = None,
    *,
    status: int | None = None,
    retry_after: float | None = None,
) -> str | None:
    """Say what to do about a refusal that a person can do something about.

    Args:
        message: the upstream one.
        code: that came with it.
        status: of the answer, where HTTP gave it.
        retry_after: seconds that were asked for.
    """
    said = f"{code or ''} {message}"
    if status == 402 or _PAID_PLAN.search(said):
        return (
            "Media generation is part of the paid plans: open Stella, choose one under"
            " Billing, then send the same request again."
        )
    if status == 429 or _TOO_MANY.search(said):
        return f"Wait {_span(retry_after)}, then send the same request again."
    return None


def not_saved(job: Job, saved: int, reason: str) -> Note:
    """Word a succeeded job of whose outputs only `saved`, or none, could be kept."""
    medium = _MEDIA.get(job.capability) or _DEEDS.get(job.capability, "Result")
    how = "was saved only in part" if saved else "could not be saved"
    return Note(f"{medium} {how}", shown(reason))


def unrecognised(job: Job, file_name: str) -> Note:
    """Word a succeeded job whose output has no shape that we know."""
    what = f"The result of {job.capability or job.job_id} was kept as {file_name}."
    return Note("Unrecognised output", shown(what))


def sign_in_refused(words: str) -> Note:
    """Word that the deployment refuses the sign-in, for the reason in `words`."""
    return Note("Stella sign-in needed", shown(words))


def disk_trouble(words: str) -> Note:
    """Word that files wait for the disk, for the reason in `words`."""
    return Note("Saving media is paused", shown(words))


def several(more: int, in_all: int, newest: Note) -> Note:
    """Word that many jobs failed: so many more than were told of, `in_all` lately."""
    since = f"{in_all} in all; the" if in_all > more else "The"
    return Note(
        f"{more} {'more ' if in_all > more else ''}jobs failed",
        f"{since} newest: {newest.title}: {newest.body}",
    )


def repaired(damaged: str) -> Note:
    """Word that the gallery's database was damaged, and kept as a file of that name."""
    return Note(
        "The gallery was repaired",
        "Its database was damaged. No file is lost, and what could be read of the list"
        f" is in it again; the damaged one is kept as {damaged}.",
    )


def kept(job: Job) -> Job:
    """Return a failed job whose message can be kept: its URLs may hold secrets."""
    if job.error is None:
        return job
    return replace(job, error=JobError(shown(job.error.message), job.error.code))


def shown(message: str) -> str:
    """Return a message as it came, fit to be shown.

    Its URLs are cut to scheme and host, since the rest of them can be a secret, and
    characters that steer a terminal or turn the text round are blanked.
    """
    return _STEERING.sub(" ", _URL.sub(_cut, message)).strip()


def printed(text: str) -> str:
    """Return a text of several lines without what would steer a terminal."""
    return "\n".join(
        "\t".join(_STEERING.sub(" ", part) for part in line.split("\t"))
        for line in text.split("\n")
    )


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "a few minutes"
    if seconds > 90:
        return f"{-(-seconds // 60):.0f} minutes"
    return "a second" if seconds <= 1 else f"{seconds:.0f} seconds"


def _failure_title(job: Job) -> str:
    medium = _MEDIA.get(job.capability)
    if job.status in CANCELED_STATUSES:
        ending = "was canceled"
    elif medium == "Image":
        return _image_failure(job.error)
    else:
        ending = "failed"
    if job.capability in _DEEDS:
        return f"{_DEEDS[job.capability]} {ending}"
    return f"{medium} generation {ending}" if medium else f"Generation {ending}"


def _image_failure(error: JobError | None) -> str:
    if error is not None:
        by_code = _BY_CODE.get((error.code or "").strip().lower())
        if by_code:
            return by_code
        for words, text in _BY_WORDS:
            if words.search(error.message):
                return text
    return "Image generation failed"


def _why(error: JobError | None) -> str:
    return (shown(error.message) if error else "") or "No reason was given."


def _cut(url: re.Match[str]) -> str:
    authority = _HOST_ENDS.split(url[2], maxsplit=1)[0]
    return url[1].replace("\\", "") + authority.rpartition("@")[2]
