from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from materializer.devserver import films, pictures
from materializer.devserver.separation import separated
from materializer.devserver.sounds import Samples

SIZE = (160, 90)


def mix(
    channels: int, seconds: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    chance = np.random.default_rng(5)
    count = int(seconds * 44_100)
    return chance.integers(-32768, 32768, (channels, count)).astype(np.int16)


def level(sound: Samples) -> float:
    return float(np.abs(sound.astype(float)).mean())


def film(*halves: bool) -> films.Clip:
    """Return a film of seconds in which the picture moves, or does not."""
    frames: list[Image.Image] = []
    still = pictures.drawn("a fox", SIZE)
    for moves in halves:
        frames += films.crossed(still, 24) if moves else [still] * 24
    return films.opened(films.encoded(frames, SIZE))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("seconds", [0.7, 2.0, 3.3])
def test_two_stems_sum_to_the_mix_sample_by_sample(
    channels: int, seconds: float
) -> None:
    whole = mix(channels, seconds)
    target, residual = separated(whole, film(True, False))
    assert target.dtype == residual.dtype == np.int16
    assert np.array_equal(target.astype(int) + residual, whole)
    assert target.any()
    assert residual.any()


def test_what_sounds_while_the_picture_moves_is_the_target() -> None:
    whole = mix(1, 2.0)
    target, residual = separated(whole, film(True, False))
    moving, still = slice(6_000, 38_000), slice(50_000, 88_000)
    assert level(target[:, moving]) == pytest.approx(0.9 * level(whole), rel=0.02)
    assert level(residual[:, moving]) == pytest.approx(0.1 * level(whole), rel=0.02)
    assert level(target[:, still]) == pytest.approx(0.1 * level(whole), rel=0.02)
    assert level(residual[:, still]) == pytest.approx(0.9 * level(whole), rel=0.02)


def test_where_nothing_moves_everything_is_in_the_rest() -> None:
    whole = mix(1, 1.0)
    for clip in (
        film(False),
        films.opened(films.encoded([Image.new("RGB", SIZE)], SIZE)),
    ):
        target, residual = separated(whole, clip)
        assert level(target) == pytest.approx(0.1 * level(whole), rel=0.02)
        assert level(residual) == pytest.approx(0.9 * level(whole), rel=0.02)
