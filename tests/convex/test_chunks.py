from __future__ import annotations

import pytest

from convex_side import transition
from materializer.convex import chunks
from materializer.convex.chunks import Chunks
from materializer.convex.messages import (
    Ping,
    Transition,
    TransitionChunk,
    Version,
    parse,
)
from materializer.errors import FeedMisspoke

TEXT = transition((0, 0, 0), (1, 0, 1), q0="whole")
HALVES = TEXT[:40], TEXT[40:]


def test_pieces_make_a_transition_with_the_last_one() -> None:
    whole = Chunks()
    assert whole.add(TransitionChunk(TEXT[:40], 0, 2, "7")) is None
    assert whole.add(TransitionChunk(TEXT[40:], 1, 2, "7")) == parse(TEXT)
    assert whole.add(TransitionChunk(TEXT, 0, 1, "8")) == parse(TEXT)


@pytest.mark.parametrize(
    "second",
    [
        TransitionChunk("", 0, 3, "7"),
        TransitionChunk("", 2, 3, "7"),
        TransitionChunk("", 1, 2, "7"),
        TransitionChunk("", 1, 3, "8"),
    ],
)
def test_pieces_in_disorder_are_refused(second: TransitionChunk) -> None:
    whole = Chunks()
    whole.add(TransitionChunk("{", 0, 3, "7"))
    with pytest.raises(FeedMisspoke, match="disorder"):
        whole.add(second)


def test_a_piece_from_the_middle_is_no_start() -> None:
    with pytest.raises(FeedMisspoke, match="disorder"):
        Chunks().add(TransitionChunk("{", 1, 2, "7"))


def test_pieces_must_make_a_transition() -> None:
    with pytest.raises(FeedMisspoke, match="no Transition"):
        Chunks().add(TransitionChunk('{"type":"Ping"}', 0, 1, "7"))


def test_forgotten_pieces_do_not_come_back() -> None:
    whole = Chunks()
    whole.add(TransitionChunk(TEXT[:40], 0, 2, "7"))
    whole.clear()
    result = whole.add(TransitionChunk(TEXT, 0, 1, "8"))
    assert isinstance(result, Transition)
    assert result.end == Version(1, 0, 1)


def test_the_whole_has_a_longest_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "MAX_LENGTH", 5)
    whole = Chunks()
    whole.add(TransitionChunk("12345", 0, 3, "7"))
    with pytest.raises(FeedMisspoke, match="too long"):
        whole.add(TransitionChunk("6", 1, 3, "7"))


def test_a_message_of_its_own_is_heard_and_ends_pieces_unless_it_is_a_ping() -> None:
    whole = Chunks()
    first, second = (TransitionChunk(t, n, 2, "7") for n, t in enumerate(HALVES))
    assert whole.take(first) is None
    assert whole.take(Ping()) == Ping()
    assert whole.take(second) == parse(TEXT)
    whole.take(first)
    assert whole.take(parse(TEXT)) == parse(TEXT)
    with pytest.raises(FeedMisspoke, match="disorder"):
        whole.take(second)
