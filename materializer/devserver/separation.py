"""Takes a mix apart by a film: what sounds while it moves, and the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from materializer.devserver.films import Clip
from materializer.devserver.sounds import SAMPLES_A_SECOND, Samples

_LOOK = (32, 32)
_LEAK = 0.1


def separated(mix: Samples, clip: Clip) -> tuple[Samples, Samples]:
    """Return two stems whose sum is the mix, sample by sample.

    The first has most of what sounds while the picture moves, the second most of the
    rest; a little of each is in the other.
    """
    motion = _LEAK + (1 - 2 * _LEAK) * _motion(clip)
    seconds = np.arange(mix.shape[1]) / SAMPLES_A_SECOND
    moments = np.arange(len(motion)) / float(clip.rate)
    share = np.interp(seconds, moments, motion)
    target = np.round(mix * share).astype(np.int16)
    return target, mix - target


def _motion(clip: Clip) -> NDArray[np.float64]:
    """Return how much the picture moves at each frame, 0 to 1."""
    looks = np.stack(
        [np.asarray(frame.convert("L").resize(_LOOK), float) for frame in clip.frames()]
    )
    change = np.abs(np.diff(looks, axis=0)).mean(axis=(1, 2))
    change = np.concatenate((change[:1], change)) if len(change) else np.zeros(1)
    # What trembles less than this is the encoder's doing.
    return np.asarray(np.clip((change - 0.4) / 0.6, 0, 1))
