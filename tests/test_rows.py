from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from materializer.model import JobError
from materializer.rows import read_job

ROW: dict[str, Any] = {
    "jobId": "job_1",
    "capability": "text_to_image",
    "profile": "best",
    "request": {
        "prompt": "a fox",
        "aspectRatio": "1:1",
        "input": {"image_size": {"width": 640.0, "height": 480.0}},
    },
    "status": "succeeded",
    "output": {"images": []},
    "createdAt": 10.0,
    "updatedAt": 12.0,
    "completedAt": 13.0,
}


def test_a_row_is_read_whole() -> None:
    job = read_job(ROW)
    assert (job.job_id, job.status) == ("job_1", "succeeded")
    assert (job.capability, job.profile) == ("text_to_image", "best")
    assert (job.prompt, job.aspect_ratio) == ("a fox", "1:1")
    assert (job.requested_size, job.output) == ((640, 480), {"images": []})
    assert (job.created_at, job.updated_at, job.completed_at) == (10, 12, 13)


ODD: tuple[object, ...] = (
    None,
    3,
    -1.0,
    inf,
    -inf,
    nan,
    True,
    "x",
    "",
    [],
    {},
    2**70,
    "\ud800",
    b"",
)
ODDS = pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))


@ODDS
@pytest.mark.parametrize("field", sorted(ROW.keys() - {"jobId", "status"}))
def test_whatever_else_is_missing_or_odd_the_job_is_there(
    field: str, odd: object
) -> None:
    for row in (ROW | {field: odd}, {k: v for k, v in ROW.items() if k != field}):
        assert read_job(row).job_id == "job_1"


@ODDS
def test_what_is_inside_the_request_may_be_odd_too(odd: object) -> None:
    for request in (
        {"prompt": odd, "aspectRatio": odd, "input": odd},
        {"input": {"image_size": odd}},
        {"input": {"image_size": {"width": 5.0, "height": odd}}},
    ):
        job = read_job(ROW | {"request": request})
        for text in (job.prompt, job.aspect_ratio):
            assert text is None or text.encode()


@pytest.mark.parametrize(
    "row",
    [
        *(None, [], "x", 5.0, {}),
        *({"jobId": "j"}, {"jobId": 5, "status": "x"}, {"jobId": "", "status": "x"}),
        *({"jobId": "a\udc00", "status": "x"}, {"jobId": "j", "status": None}),
    ],
)
def test_a_row_without_identity_is_no_job(row: object) -> None:
    with pytest.raises(ValueError, match="a job row"):
        read_job(row)


def test_half_a_character_is_left_out_of_a_text() -> None:
    job = read_job(ROW | {"request": {"prompt": "a \ud83e fox \U0001f98a"}})
    assert job.prompt == "a  fox \U0001f98a"


@pytest.mark.parametrize(
    ("error", "read"),
    [
        (" boom ", JobError("boom")),
        ({"message": "m", "code": "C"}, JobError("m", "C")),
        ({"error": "e", "code": 42.0}, JobError("e", "42")),
        ({"code": "only"}, JobError("", "only")),
        ({"message": 5, "code": {"at": "https://h/secret"}}, None),
        ({}, None),
        ([], None),
        (" ", None),
    ],
)
def test_an_error_is_read_as_it_came(error: object, read: JobError | None) -> None:
    assert read_job(ROW | {"status": "failed", "error": error}).error == read
