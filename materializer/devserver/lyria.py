"""The reading of what a piece of music should be like.

The hosted gateway brings numbers that are out of range to the nearest allowed one, and
takes no configuration that lacks one of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_RANGES = {
    "bpm": (55, 145),
    "density": (0.05, 0.9),
    "brightness": (0.1, 0.8),
    "guidance": (2, 5),
    "temperature": (0.6, 1.4),
}
_VOICES = "VOCALIZATION"


def piece(fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return prompts, configuration and label in range; None where they are amiss."""
    prompts, config = fields.get("weightedPrompts"), fields.get("musicGenerationConfig")
    if not isinstance(prompts, list) or not isinstance(config, dict):
        return None
    weighted = [good for one in prompts if (good := _weighted(one))]
    numbers = {name: _number(config.get(name)) for name in _RANGES}
    if not weighted or None in numbers.values():
        return None
    parsed: dict[str, Any] = {
        name: _clamp(number, *_RANGES[name])
        for name, number in numbers.items()
        if number is not None
    }
    modes = (config.get("musicGenerationMode"), config.get("music_generation_mode"))
    if _VOICES in modes:
        parsed["musicGenerationMode"] = _VOICES
    label = fields.get("promptLabel")
    return {
        "weightedPrompts": weighted,
        "musicGenerationConfig": parsed,
        "promptLabel": (isinstance(label, str) and label.strip()) or None,
    }


def _weighted(prompt: Any) -> dict[str, Any] | None:
    match prompt:
        case {"text": str(text), "weight": weight} if text.strip() and _number(weight):
            return {"text": text.strip(), "weight": _clamp(weight, -100, 100)}
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def _clamp(value: float, least: float, most: float) -> float:
    return max(least, min(most, value))
