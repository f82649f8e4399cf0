import dataclasses
from typing import Any

import pytest
from pydantic import ValidationError

from materializer import model
from materializer.ipc import values
from materializer.model import Job, Kind, Placed
from materializer.plan import payloads
from sidebar import PAYLOADS, TITLES, is_accepted, title

KINDS: tuple[Kind, ...] = ("image", "video", "audio", "model3d", "download", "text")


def placed(kind: Kind, index: int = 0) -> Placed:
    label = {"download": "Download result", "model3d": "Mesh"}.get(kind)
    path, text = f"/out/j_{index}", "what was said" if kind == "text" else None
    return Placed(index, kind, path, 1, "0" * 64, "a/b", label=label, text=text)


def test_our_sidebar_judges_as_the_real_one_does() -> None:
    judged = [is_accepted(vector["in"]) for vector in PAYLOADS]
    assert judged == [vector["accepted"] for vector in PAYLOADS]
    assert [title(vector["in"]) for vector in TITLES] == [v["out"] for v in TITLES]


@pytest.mark.parametrize(
    "sent", [vector["in"] for vector in PAYLOADS if not vector["accepted"]]
)
def test_what_the_sidebar_refuses_is_no_payload_of_ours(sent: Any) -> None:
    with pytest.raises(ValidationError):
        values.DisplayPayload.model_validate(sent, strict=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "job",
    [
        Job("j", "succeeded", "some_capability", created_at=1),
        Job("j", "succeeded", "c", None, "a lamp", "1:1", (4, 3), created_at=1),
    ],
    ids=["bare", "full"],
)
def test_what_is_announced_of_each_kind_is_taken_by_the_sidebar(
    kind: Kind, job: Job
) -> None:
    [payload] = payloads(job, [placed(kind)])
    assert is_accepted(payload)
    assert title(payload) == (job.prompt or "some capability")
    read = values.DisplayPayload.model_validate(payload, strict=True)
    assert read.model_dump(by_alias=True, exclude_none=True) == payload


def test_an_item_has_the_members_that_are_told_of_it() -> None:
    held = {f.name: f.default is None for f in dataclasses.fields(model.GalleryItem)}
    told = {
        name: not member.is_required()
        for name, member in values.GalleryItem.model_fields.items()
    }
    assert told == held
