from __future__ import annotations

import pytest

from materializer.devserver import pieces


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MAX_TRANSITION", 5)


def test_what_fits_into_one_message_is_not_cut() -> None:
    assert list(pieces.chunks("12345")) == []


@pytest.mark.parametrize(
    "text", ["123456", "ä€😀" * 4, "😀😀😀", "1ä1ä1ä1ä", "12345" * 3]
)
def test_chunks_join_to_the_text_and_never_cut_a_character(text: str) -> None:
    chunks = list(pieces.chunks(text))
    assert "".join(str(chunk["chunk"]) for chunk in chunks) == text
    assert [chunk["partNumber"] for chunk in chunks] == list(range(len(chunks)))
    assert {chunk["totalParts"] for chunk in chunks} == {len(chunks)}
    assert {chunk["transitionId"] for chunk in chunks} == {str(len(text.encode()))}
    sizes = [len(str(chunk["chunk"]).encode()) for chunk in chunks]
    assert 1 < max(sizes) <= 5
    assert min(sizes) > 0


def test_frames_join_to_the_text_and_hold_at_most_a_mebibyte() -> None:
    text = "😀" * 600_000
    frames = pieces.frames(text)
    assert "".join(frames) == text
    assert max(len(frame.encode()) for frame in frames) == 2**20
    assert pieces.frames("short") == ["short"]
