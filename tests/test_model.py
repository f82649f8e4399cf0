from __future__ import annotations

import pytest

from materializer.model import GalleryItem, Job, JobError, Remote

ROW = {
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
    job = Job.from_row(ROW)
    assert (job.job_id, job.capability, job.profile) == (
        "job_1",
        "text_to_image",
        "best",
    )
    assert (job.prompt, job.aspect_ratio, job.requested_size) == (
        "a fox",
        "1:1",
        (640, 480),
    )
    assert (job.created_at, job.updated_at, job.completed_at) == (10, 12, 13)
    assert job.succeeded


def test_all_but_identity_may_be_missing_or_odd() -> None:
    job = Job.from_row(
        {"jobId": "j", "status": "failed", "request": 3, "createdAt": "x", "error": []}
    )
    assert (job.prompt, job.created_at, job.error) == (None, 0, None)


@pytest.mark.parametrize(
    "row", [None, [], "x", {}, {"jobId": "j"}, {"jobId": 5, "status": "x"}]
)
def test_a_row_without_identity_is_no_job(row: object) -> None:
    with pytest.raises(ValueError, match="a job row"):
        Job.from_row(row)


@pytest.mark.parametrize(
    ("row", "finished"),
    [
        ({"completedAt": 3, "updatedAt": 2, "createdAt": 1}, 3),
        ({"updatedAt": 2, "createdAt": 1}, 2),
        ({"createdAt": 1}, 1),
    ],
)
def test_a_job_finished_at_its_latest_time(row: dict[str, int], finished: int) -> None:
    assert (
        Job.from_row({"jobId": "j", "status": "failed"} | row).finished_at == finished
    )


@pytest.mark.parametrize(
    ("error", "read"),
    [
        (" boom ", JobError("boom")),
        ({"message": "m", "code": "C"}, JobError("m", "C")),
        ({"error": "e", "code": 42.0}, JobError("e", "42.0")),
        ({"code": "only"}, JobError("", "only")),
        ({}, None),
    ],
)
def test_an_error_is_read_as_it_came(error: object, read: JobError | None) -> None:
    row = {"jobId": "j", "status": "failed", "error": error}
    assert Job.from_row(row).error == read


@pytest.mark.parametrize(
    ("status", "ended"), [("running", False), ("queued", False), ("unknown", True)]
)
def test_an_unheard_of_status_counts_as_ended(status: str, ended: bool) -> None:
    assert Job("j", status).ended is ended


def test_an_item_on_the_wire_leaves_out_what_is_unknown() -> None:
    item = GalleryItem(
        "j_0",
        "j",
        0,
        "image",
        "/o/j_0.png",
        "j_0.png",
        3,
        "ab",
        "image/png",
        "icon",
        5,
        6,
    )
    assert item.wire() == {
        "id": "j_0",
        "jobId": "j",
        "index": 0,
        "kind": "image",
        "path": "/o/j_0.png",
        "fileName": "j_0.png",
        "bytes": 3,
        "sha256": "ab",
        "mimeType": "image/png",
        "capability": "icon",
        "createdAt": 5,
        "savedAt": 6,
        "missing": False,
    }


def test_a_url_is_not_in_the_repr() -> None:
    assert "secret" not in repr(Remote("https://h/secret"))
