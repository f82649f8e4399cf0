"""Looks at media and listens to them, and places orders for such."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from materializer.devserver.catalog import CAPABILITIES, Order
from materializer.devserver.sounds import SAMPLES_A_SECOND

Pixels = NDArray[np.int16]
_HOP = 441


def ordered(
    capability: str,
    profile: str = "",
    *,
    prompt: str = "a red fox",
    aspect_ratio: str = "",
    at_once: bool = False,
    **fields: Any,
) -> Order:
    """Return an order as it arrives, its fields mapped."""
    entry = CAPABILITIES[capability]
    profile = profile or entry.profiles[0].id
    return Order(entry, profile, prompt, aspect_ratio, fields, {}, at_once)


def seen(data: bytes) -> Pixels:
    """Return the colours of a picture."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), np.int16)


def watched(data: bytes) -> list[Pixels]:
    """Return the colours of every frame of a film."""
    with av.open(io.BytesIO(data), "r") as container:
        frames = container.decode(video=0)
        return [frame.to_ndarray(format="rgb24").astype(np.int16) for frame in frames]


def heard(data: bytes) -> NDArray[np.float64]:
    """Return the first channel of a sound or a film, each number within -1 and 1."""
    with av.open(io.BytesIO(data), "r") as container:
        resampler = av.AudioResampler("fltp", "mono", SAMPLES_A_SECOND)
        parts = [
            ready.to_ndarray()[0]
            for frame in container.decode(audio=0)
            for ready in resampler.resample(frame)
        ]
    return np.concatenate(parts).astype(float)


def onsets(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return when something is struck, in seconds: when it is much louder at once."""
    hops = sound[: len(sound) // _HOP * _HOP].reshape(-1, _HOP)
    loud = np.abs(hops).max(axis=1)
    rise = np.diff(loud, prepend=0)
    struck = np.flatnonzero(rise > 0.4 * loud.max())
    apart = np.diff(struck, prepend=-99) > 5
    return np.asarray(struck[apart] * _HOP / SAMPLES_A_SECOND)


def difference(one: Pixels, other: Pixels) -> float:
    """Return how far two pictures of a size are apart, from 0 to 255."""
    return float(np.abs(one - other).mean())


def likeness(one: Pixels, other: Pixels) -> float:
    """Return how much the shapes of two pictures are the same: 1 is all."""
    lights = [pixels.mean(axis=2).ravel() for pixels in (one, other)]
    return float(np.corrcoef(lights[0], lights[1])[0, 1])
