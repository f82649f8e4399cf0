"""A row of `media_jobs`, as the backend or the gateway gives it, to a Job.

Only the identity must be right. Whatever else is missing or odd is left out, since a
field that nobody needs to save a file must not keep it from being saved.
"""

from __future__ import annotations

from collections.abc import Mapping

from materializer.model import Job, JobError

_NOTHING: Mapping[str, object] = {}


def read_job(row: object) -> Job:
    """Return the job of a row.

    Raises:
        ValueError: the row is no object, or has no usable `jobId` or `status`.
    """
    if not isinstance(row, dict):
        raise ValueError("a job row is no object")
    job_id, status = _text(row.get("jobId")), _text(row.get("status"))
    if job_id is None or job_id != row["jobId"]:
        raise ValueError("a job row has no usable jobId")
    if status is None:
        raise ValueError("a job row has no status")
    request = _mapping(row.get("request"))
    return Job(
        job_id,
        status,
        _text(row.get("capability")) or "",
        _text(row.get("profile")),
        _text(request.get("prompt")),
        _text(request.get("aspectRatio")),
        _size(request),
        row.get("output"),
        _error(row.get("error")),
        _milliseconds(row.get("createdAt")) or 0,
        _milliseconds(row.get("updatedAt")),
        _milliseconds(row.get("completedAt")),
    )


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else _NOTHING


def _text(value: object) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    if value.isascii():
        return value
    # JSON can spell half a surrogate pair, which fits into no file and no database.
    return value.encode(errors="ignore").decode() or None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value < 2**53 else None


def _milliseconds(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _size(request: Mapping[str, object]) -> tuple[int, int] | None:
    size = _mapping(_mapping(request.get("input")).get("image_size"))
    if not size:
        return None
    width, height = _number(size.get("width")), _number(size.get("height"))
    return None if width is None or height is None else (int(width), int(height))


def _error(value: object) -> JobError | None:
    if not value:
        return None
    if isinstance(value, str):
        message, code = _text(value.strip()), None
    else:
        error = _mapping(value)
        message = _text(error.get("message")) or _text(error.get("error"))
        code = _code(error.get("code"))
    if message is None and code is None:
        return None
    return JobError((message or "").strip(), code)


def _code(value: object) -> str | None:
    number = _number(value)
    return _text(value) if number is None else f"{number:.16g}"
