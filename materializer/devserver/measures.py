"""How large, how long and in which form: what an order asks of its result.

What cannot be made is brought to what can; what is no number counts as not asked for.
"""

from __future__ import annotations

import math
from typing import Any

from materializer.devserver import sounds
from materializer.devserver.catalog import Order
from materializer.devserver.score import Style

_SIZES = {
    "1:1": (1024, 1024),
    "4:3": (1024, 768),
    "3:4": (768, 1024),
    "3:2": (1152, 768),
    "2:3": (768, 1152),
    "16:9": (1280, 720),
    "9:16": (720, 1280),
    "21:9": (1344, 576),
}
_EDGES = range(16, 3841)
_SHORT_EDGES = {"480p": 480, "720p": 720}
_QUICK_EDGE = 360
_LONGEST_FILM = 15.0
_EFFECT_SECONDS = 5.0
_LEAST = 0.1


def ratio(order: Order) -> tuple[int, int] | None:
    """Return a size of the aspect ratio that is asked for, or None."""
    asked = order.fields.get("aspect_ratio") or order.aspect_ratio
    return _SIZES.get(asked) if isinstance(asked, str) else None


def image_size(
    order: Order, otherwise: tuple[int, int] = _SIZES["1:1"]
) -> tuple[int, int]:
    """Return width and height of a picture."""
    match order.fields.get("image_size"):
        case {"width": int(width), "height": int(height)} if (
            width in _EDGES and height in _EDGES
        ):
            return width, height
    return ratio(order) or otherwise


def film_size(order: Order, otherwise: tuple[int, int]) -> tuple[int, int]:
    """Return width and height of a film, even numbers, by ratio and resolution.

    Args:
        order: what is asked for.
        otherwise: a size whose shape it has when no ratio is asked for.
    """
    width, height = ratio(order) or otherwise
    asked = order.fields.get("resolution")
    short = _SHORT_EDGES.get(asked) if isinstance(asked, str) else None
    scale = (short or _QUICK_EDGE) / min(width, height)
    return _even(width * scale), _even(height * scale)


def positive(value: Any, otherwise: float, most: float) -> float:
    """Return a number above 0, also one written as text; else `otherwise`."""
    try:
        asked = float(value)
    except (TypeError, ValueError):
        return otherwise
    return max(_LEAST, min(asked, most)) if asked > 0 else otherwise


def film_seconds(order: Order, otherwise: float) -> float:
    """Return how long a film is to last; `auto` is no number."""
    return positive(order.fields.get("duration"), otherwise, _LONGEST_FILM)


def sound_seconds(order: Order) -> float:
    """Return how long a noise is to last."""
    asked = order.fields.get("duration_seconds")
    return positive(asked, _EFFECT_SECONDS, sounds.LONGEST)


def share(value: Any, otherwise: float) -> float:
    """Return a number from 0 to 1."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(min(1, max(0, value)))
    return otherwise


def count(order: Order) -> int:
    """Return how many pictures are wanted, from 1 to 4."""
    asked = order.fields.get("num_images")
    return min(4, max(1, asked)) if isinstance(asked, int) else 1


def quality(order: Order) -> str:
    """Return low, medium or high; nothing for the fast profile, which is plain."""
    asked = order.fields.get("quality")
    return asked if isinstance(asked, str) and order.profile != "fast" else ""


def picture_form(order: Order) -> str:
    """Return png, jpeg or webp."""
    asked = order.fields.get("output_format")
    return asked if asked in ("png", "jpeg", "webp") else "png"


def is_cut_out(order: Order) -> bool:
    """Whether the ground is to be transparent."""
    return (
        order.fields.get("background") == "transparent"
        or "transparent background" in order.prompt.lower()
    )


def style(order: Order) -> Style:
    """Return how a piece of music is to be played."""
    asked = order.fields.get("musicGenerationConfig")
    config = asked if isinstance(asked, dict) else {}
    plain = Style()
    return Style(
        positive(config.get("bpm"), plain.bpm, 145),
        share(config.get("density"), plain.density),
        share(config.get("brightness"), plain.brightness),
        positive(config.get("temperature"), plain.temperature, 1.4),
        sung=config.get("musicGenerationMode") == "VOCALIZATION",
    )


def sound_form(order: Order, otherwise: str) -> str:
    """Return wav or mp3, from a name such as mp3_44100_128 or pcm_44100."""
    asked = str(order.fields.get("output_format") or "")
    if asked.startswith(("wav", "pcm")):
        return "wav"
    return "mp3" if asked.startswith("mp3") else otherwise


def _even(edge: float) -> int:
    return max(2, round(edge / 2) * 2)
