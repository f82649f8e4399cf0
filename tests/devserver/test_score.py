from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from materializer.devserver import score
from materializer.devserver.score import Style
from materializer.devserver.sounds import SAMPLES_A_SECOND, encoded
from senses import heard, onsets


def brightness(sound: NDArray[np.float64]) -> float:
    spectrum = np.abs(np.fft.rfft(sound))
    pitches = np.fft.rfftfreq(len(sound), 1 / SAMPLES_A_SECOND)
    high = (pitches > 900) & (pitches < 3000)
    return float(spectrum[high].sum() / spectrum[pitches < 900].sum())


@pytest.mark.parametrize("bpm", [55, 85, 95, 120, 145])
def test_a_piece_is_struck_at_each_beat(bpm: int) -> None:
    made = score.music("warm keys", Style(bpm=bpm, density=0.9), 12)
    found = onsets(heard(encoded(made, "mp3")))
    assert len(found) == pytest.approx(12 * bpm / 60, abs=1.01)
    assert np.diff(found).mean() == pytest.approx(60 / bpm, rel=0.01)
    assert np.diff(found) == pytest.approx(60 / bpm, abs=0.021)


def test_the_prompt_and_the_style_are_heard() -> None:
    plain = score.music("warm keys", Style(), 4)
    assert np.array_equal(plain, score.music("warm keys", Style(), 4))
    for other in (
        score.music("cold keys", Style(), 4),
        score.music("warm keys", Style(density=0.9), 4),
        score.music("warm keys", Style(temperature=0.6), 4),
        score.music("warm keys", Style(sung=True), 4),
    ):
        assert not np.array_equal(plain, other)


@pytest.mark.parametrize("sung", [False, True])
def test_a_melody_sounds_between_the_beats(sung: bool) -> None:
    piece = score.music("keys", Style(bpm=60, density=0, sung=sung), 4)[0]
    between = piece.reshape(4, 44_100)[:, 15_000:25_000].astype(float)
    assert np.abs(between).mean(axis=1).min() > 100


def test_a_bright_piece_has_more_overtones() -> None:
    dull, bright = (
        brightness(score.music("keys", Style(brightness=much), 6)[0].astype(float))
        for much in (0.1, 0.8)
    )
    assert bright > 1.2 * dull


def test_a_noise_has_its_length_and_the_prompt_its_colour() -> None:
    bang, hiss = (score.noise(prompt, 1.5) for prompt in ("bang", "hiss"))
    assert bang.shape == hiss.shape == (1, int(1.5 * SAMPLES_A_SECOND))
    assert np.abs(bang).max() == pytest.approx(9000, abs=1)
    assert not np.array_equal(bang, hiss)
    assert np.array_equal(bang, score.noise("bang", 1.5))
