"""What lies ready while an order is carried out."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field

from materializer.devserver.catalog import Order
from materializer.devserver.sources import SourceUnusable, named

_FIELDS = {
    "picture": ("image_urls", "image_url"),
    "mask": ("mask_url", "mask_image_url"),
    "reference": ("reference_image_url", "image_urls", "image_url"),
    "film": ("video_urls", "video_url"),
    "sound": ("audio_url",),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """The sources of an order, and the memory of what was said.

    Attributes:
        sources: the bytes of each source, by its URL.
        spoken: the script of each dialogue made here, by the SHA-256 of its file.
    """

    sources: Mapping[str, bytes] = field(repr=False)
    spoken: MutableMapping[str, str] = field(repr=False)

    def given(self, order: Order, what: str) -> list[bytes]:
        """Return the order's sources of a kind, those of the first field it has."""
        for name in _FIELDS[what]:
            urls = named(order.fields.get(name))
            if urls:
                return [self.sources[url] for url in urls]
        return []

    def needed(self, order: Order, what: str) -> bytes:
        """Return the first source of a kind.

        Raises:
            SourceUnusable: there is none.
        """
        found = self.given(order, what)
        if not found:
            raise SourceUnusable(f"no {what} was given")
        return found[0]
