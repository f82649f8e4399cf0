from __future__ import annotations

import pytest

from materializer.model import GalleryItem, Job, Remote, Snapshot


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        *(("queued", False), ("running", False), ("in_progress", False)),
        *(("succeeded", True), ("failed", True), ("unknown", True)),
        *(("canceled", True), ("cancelled", True), ("on_hold", False)),
    ],
)
def test_only_a_word_that_says_so_ends_a_job(status: str, ended: bool) -> None:
    assert Job("j", status).ended is ended


@pytest.mark.parametrize(
    ("updated", "completed", "finished"), [(2, 3, 3), (2, None, 2), (None, None, 1)]
)
def test_a_job_finished_at_its_latest_time(
    updated: int | None, completed: int | None, finished: int
) -> None:
    job = Job("j", "failed", created_at=1, updated_at=updated, completed_at=completed)
    assert job.finished_at == finished


LOST, HERE = Job("j", "failed", created_at=1), Job("j", "succeeded", created_at=1)


@pytest.mark.parametrize(
    "lists", [((HERE,), (LOST,)), ((LOST,), (HERE,)), (None, (LOST, HERE))]
)
def test_a_job_in_both_lists_is_one_job_and_succeeded(
    lists: tuple[tuple[Job, ...] | None, tuple[Job, ...]],
) -> None:
    assert Snapshot("o", *lists, asked=(LOST,)).jobs == (HERE,)


def test_a_list_without_an_answer_is_neither_empty_nor_reaches_anywhere() -> None:
    one, two = (Job(name, "failed", created_at=n) for n, name in enumerate("ab"))
    snapshot = Snapshot("o", None, (one, two), asked=(Job("c", "x", created_at=9),))
    assert snapshot.listed == {"failed": (one, two)}
    assert snapshot.reached == {"failed": 1}
    assert Snapshot("o", (), ()).reached == {}


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
