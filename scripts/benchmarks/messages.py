"""The prepared Transitions, which are the same bytes for every client.

Each one moves a window over a long row of finished jobs by one job, as a feed does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from materializer.convex import values
from materializer.convex.messages import encode_timestamp
from materializer.devserver.deployment import Row

OPENING_TS = 1
_EPOCH_MS = 1_790_000_000_000
_PROMPT = "a translucent blue desk lamp on a walnut table, soft evening light, 35 mm"


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of messages that is measured as a whole.

    Attributes:
        jobs: how many rows each message holds.
        pace: seconds from one message to the next, which is not sent before the one
            has been handed over; None sends all at once.
        texts: the messages. The newest job of the first has the profile `begin`, that
            of the last `end`, and those between `turn` where the client must say that
            it was handed the message; the newest job's number is the message's own.
    """

    jobs: int
    pace: float | None
    texts: tuple[str, ...]

    @property
    def messages(self) -> int:
        """How many messages are measured: all but the first."""
        return len(self.texts) - 1


def opening(query_ids: list[int]) -> str:
    """Return the first Transition of a connection: every query's result is empty."""
    return transition(0, OPENING_TS, dict.fromkeys(query_ids, "[]"))


def phase(jobs: int, pace: float | None, messages: int, ts: int) -> Phase:
    """Prepare a phase that goes on from the timestamp `ts`."""
    profile = "flood" if pace is None else "turn"
    rows = [_row(number, profile) for number in range(1 - jobs, messages)]
    texts = []
    for number in range(messages + 1):
        window = rows[number : number + jobs]
        if number in (0, messages):
            window[jobs - 1 :] = [_row(number, "end" if number else "begin")]
        result = f"[{','.join(reversed(window))}]"
        texts.append(transition(ts + number, ts + number + 1, {0: result}))
    return Phase(jobs, pace, tuple(texts))


def transition(start: int, end: int, results: dict[int, str]) -> str:
    """Return the text of a Transition between two timestamps.

    Args:
        start: the timestamp before; 0 is that of a new connection.
        end: the timestamp after.
        results: JSON by query id.
    """
    changes = ",".join(
        f'{{"type":"QueryUpdated","queryId":{query_id},"value":{result},'
        '"logLines":[],"journal":null}'
        for query_id, result in results.items()
    )
    return (
        f'{{"type":"Transition","startVersion":{_version(start)},'
        f'"endVersion":{_version(end)},"modifications":[{changes}],'
        '"clientClockSkew":null,"serverTs":null}'
    )


def _version(ts: int) -> str:
    step = 1 if ts else 0
    return _compact(
        {"querySet": step, "identity": step, "ts": encode_timestamp(ts)},
    )


def _row(number: int, profile: str) -> str:
    at = _EPOCH_MS + 60_000 * number
    host = "https://storage.example.com/api/storage"
    row = Row(
        owner="",
        job_id=f"job_{number}",
        capability="text_to_image",
        profile=profile,
        request={
            "prompt": f"{_PROMPT}, number {number}",
            "aspectRatio": "1:1",
            "input": {"image_size": {"width": 1024, "height": 1024}, "num_images": 1},
        },
        created_at=at,
        started_at=at + 900,
        updated_at=at + 9_000,
        completed_at=at + 9_000,
        status="succeeded",
        upstream_status="COMPLETED",
        output={
            "images": [
                {
                    "url": f"{host}/{number:036d}",
                    "content_type": "image/png",
                    "file_name": f"{number}.png",
                    "width": 1024,
                    "height": 1024,
                }
            ],
            "seed": 7_000_000 + number,
            "has_nsfw_concepts": [False],
        },
    )
    return _compact(values.encode(row.wire()))


def _compact(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), sort_keys=True)
