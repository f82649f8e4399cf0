"""Durations, sizes and counts, as people write them.

Those that read take what a flag, a variable or a TOML value holds and raise
`ValueError` whose text completes the sentence "it should be ...".
"""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"b": 1} | {
    f"{prefix}{unit}": base**power
    for unit, base in (("ib", 1024), ("b", 1000))
    for power, prefix in enumerate("kmgt", start=1)
}
_WRITTEN = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([a-z]*)", re.ASCII)


def duration(value: object) -> float:
    """Return seconds: "10m", "250ms", "1d", or a bare number of seconds."""
    return _measured(value, _SECONDS, "s", "a duration such as 250ms, 30s, 10m or 2h")


def size(value: object) -> int:
    """Return bytes: "20MiB" (1024), "500MB" (1000), or a bare number of bytes."""
    return int(_measured(value, _BYTES, "b", "a size such as 500MB, 20MiB or 1GiB"))


def written_duration(seconds: float) -> str:
    """Write seconds as `duration` reads them, in the largest unit that fits."""
    fits = (unit for unit in "dhm" if seconds and seconds % _SECONDS[unit] == 0)
    unit = next(fits, "s")
    return f"{seconds / _SECONDS[unit]:g}{unit}"


def written_size(number: int) -> str:
    """Write bytes as `size` reads them, in the largest unit that fits."""
    units = ("TiB", "GiB", "MiB", "KiB")
    fits = (unit for unit in units if number and number % _BYTES[unit.lower()] == 0)
    unit = next(fits, "B")
    return f"{number // _BYTES[unit.lower()]}{unit}"


def count(value: object) -> int:
    """Return a number of things done at once, from 1 to 64."""
    text = _text(value)
    if re.fullmatch(r"[0-9]{1,2}", text, re.ASCII) and 1 <= int(text) <= 64:
        return int(text)
    raise ValueError("a whole number from 1 to 64")


def switch(value: object) -> bool:
    """Return true or false, also for on/off, yes/no and 1/0."""
    text = _text(value).lower()
    if text in ("true", "on", "yes", "1"):
        return True
    if text in ("false", "off", "no", "0"):
        return False
    raise ValueError("true or false")


def _measured(value: object, units: dict[str, float], bare: str, want: str) -> float:
    written = _WRITTEN.fullmatch(_text(value).lower())
    if written is None or (unit := written[2] or bare) not in units:
        raise ValueError(want)
    return float(written[1]) * units[unit]


def _text(value: object) -> str:
    return str(value).strip()
