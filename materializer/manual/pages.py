"""The pages by name: plain text, one for each kind of media and one about all."""

from __future__ import annotations

from importlib import resources

KINDS = ("images", "video", "audio", "music", "3d")


def page(kind: str = "") -> str:
    """Return the page of a kind, or the one about all for no kind.

    Raises:
        KeyError: there is no such kind.
    """
    if kind not in ("", *KINDS):
        raise KeyError(kind)
    # Whoever reads one page knows how to order, wait and fail.
    return f"{_text(kind or 'overview')}\n{_text('common')}"


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.txt").read_text("utf-8")
