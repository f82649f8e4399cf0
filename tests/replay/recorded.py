"""What the official clients and a scripted server once said to each other.

A file in `transcripts/` is one scenario, s* with the npm client 1.48.0 and p* with the
Python client 0.8.1, and has a line of JSON for each frame of text and each end of a
connection. The tokens in them are invented.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

_FILES = sorted((Path(__file__).parent / "transcripts").glob("*.jsonl"))

# Here the server lied on purpose: it said what no deployment says.
LIES = {
    "s09b_transitionChunk_out_of_order",
    "s09c_wrong_startVersion_wedges_until_inactivity",
    "s09d_wrong_startVersion_without_uncaughtException_handler",
    "s09e_FatalError",
    "s09f_unknown_server_message_type",
    "s09g_response_for_unknown_requestId",
    "s09h_missing_optional_fields",
    "s09i_result_for_unknown_queryId",
    "p05_FatalError_loops",
    "p06a_TransitionChunk_rejected",
    "p06b_wrong_startVersion_reconnects",
    "p06c_unknown_requestId_reconnects",
    "p06d_unknown_message_type_reconnects",
    "p06e_float_serverTs_reconnects",
    "p06f_missing_value_field",
    "p06g_missing_journal_field_ok",
    "p06h_mutationResponse_for_completed_again",
    "p06i_commitTs_value",
}

each = pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)


@dataclass(frozen=True, slots=True)
class Frame:
    """A message, or (without a type) the end of the connection."""

    of_client: bool
    text: str
    message: dict[str, Any]

    @property
    def type(self) -> str | None:
        return self.message.get("type")


def connections(file: Path) -> Iterator[list[Frame]]:
    """Yield what was said on each connection, in order."""
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    lines.sort(key=lambda line: line["conn"])
    for _, said in groupby(lines, key=lambda line: line["conn"]):
        yield [_frame(line) for line in said]


def _frame(line: dict[str, Any]) -> Frame:
    text = line.get("raw", "")
    return Frame(line["dir"] == "c2s", text, json.loads(text) if text else {})


def modifications(frames: list[Frame], *kinds: str) -> Iterator[dict[str, Any]]:
    """Yield each Add, QueryUpdated, ... of these frames, in order."""
    for frame in frames:
        for modification in frame.message.get("modifications", ()):
            if modification["type"] in kinds:
                yield modification
