"""Large texts in pieces: TransitionChunk messages, and frames of one message."""

from __future__ import annotations

from collections.abc import Iterator

MAX_TRANSITION = 5_000_000
# A character has at most four bytes, so that no frame exceeds a mebibyte.
_FRAME = 2**18


def chunks(transition: str) -> Iterator[dict[str, object]]:
    """Cut a Transition's text into messages; nothing where one message will do."""
    data = transition.encode()
    if len(data) <= MAX_TRANSITION:
        return
    parts = list(_cut(data))
    for number, part in enumerate(parts):
        yield {
            "type": "TransitionChunk",
            "chunk": part.decode(),
            "partNumber": number,
            "totalParts": len(parts),
            "transitionId": str(len(data)),
        }


def frames(text: str) -> list[str]:
    """Cut a text into the payloads of its frames."""
    return [text[at : at + _FRAME] for at in range(0, len(text), _FRAME)]


def _cut(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + MAX_TRANSITION
        # Bytes 10xxxxxx go on with a character that must stay whole.
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        yield data[at:end]
        at = end
