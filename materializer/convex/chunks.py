"""Large Transitions arrive in pieces; here they are put together."""

from __future__ import annotations

from dataclasses import dataclass, field

from materializer.convex.messages import (
    Ping,
    ServerMessage,
    Transition,
    TransitionChunk,
    parse,
)
from materializer.errors import FeedMisspoke

MAX_LENGTH = 64 * 2**20


@dataclass(slots=True)
class Chunks:
    """The pieces of one Transition so far."""

    _parts: list[str] = field(default_factory=list)
    _expected: tuple[int, str] = (0, "")

    def take(self, message: ServerMessage) -> ServerMessage | None:
        """Return what there is to hear: the message itself, or what it completes.

        Any message but a Ping ends a Transition whose pieces are not all there.

        Raises:
            FeedMisspoke: it is a piece that does not fit.
        """
        if isinstance(message, TransitionChunk):
            return self.add(message)
        if self._parts and not isinstance(message, Ping):
            self.clear()
        return message

    def add(self, chunk: TransitionChunk) -> Transition | None:
        """Take the next piece; return the Transition with the last one.

        Raises:
            FeedMisspoke: it is not the next piece, or the whole is no Transition.
        """
        whole = (chunk.total_parts, chunk.transition_id)
        if not self._parts:
            self._expected = whole
        if whole != self._expected or chunk.part_number != len(self._parts):
            raise FeedMisspoke("the server sent the pieces of a Transition in disorder")
        self._parts.append(chunk.chunk)
        if sum(map(len, self._parts)) > MAX_LENGTH:
            raise FeedMisspoke("the server sent a Transition that is too long")
        if len(self._parts) < chunk.total_parts:
            return None
        message = parse("".join(self._parts))
        self.clear()
        if not isinstance(message, Transition):
            raise FeedMisspoke("the server sent pieces that make no Transition")
        return message

    def clear(self) -> None:
        """Forget the pieces."""
        self._parts.clear()
