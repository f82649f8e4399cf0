"""Music and noises, composed from words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from materializer.devserver import voice
from materializer.devserver.pictures import seed
from materializer.devserver.sounds import SAMPLES_A_SECOND, Samples

_SCALE = (0, 2, 4, 7, 9, 12, 14, 16)
_LOUD = 9_000


@dataclass(frozen=True, slots=True)
class Style:
    """How a piece is played.

    Attributes:
        bpm: beats a minute; each beat is struck.
        density: from 0 to 1, how often a note sounds between two beats.
        brightness: from 0 to 1, how strong the overtones are.
        temperature: how far the melody leaps.
        sung: whether a voice sings the melody.
    """

    bpm: float = 95.0
    density: float = 0.5
    brightness: float = 0.5
    temperature: float = 1.0
    sung: bool = False


def music(prompt: str, style: Style, seconds: float) -> Samples:
    """Play a piece: a drum on each beat, and a melody that the prompt decides."""
    chance = np.random.default_rng(list(seed(prompt)))
    beat = 60 / style.bpm
    sound = np.zeros((1, int(seconds * SAMPLES_A_SECOND)))
    drum = _drum()
    step = int(chance.integers(len(_SCALE)))
    for number in range(int(seconds / beat) + 1):
        _add(sound, number * beat, drum)
        for half in (0.0, 0.5):
            leap = chance.normal(0, 1.5 * style.temperature)
            step = int(np.clip(step + round(leap), 0, len(_SCALE) - 1))
            if half == 0.0 or chance.random() < style.density:
                pitch = 220 * 2 ** (_SCALE[step] / 12)
                _add(sound, (number + half) * beat, _note(pitch, beat, style))
    return _played(sound)


def noise(prompt: str, seconds: float) -> Samples:
    """Make a noise of a colour, and of gusts, that the prompt decides."""
    bytes_ = seed(prompt)
    chance = np.random.default_rng(list(bytes_))
    count = max(1, int(seconds * SAMPLES_A_SECOND))
    spectrum = np.fft.rfft(chance.standard_normal(count))
    pitches = np.fft.rfftfreq(count, 1 / SAMPLES_A_SECOND)
    middle = 120 * 2 ** (bytes_[0] / 40)
    spectrum *= np.exp(-((np.log2(np.maximum(pitches, 1) / middle)) ** 2))
    time = np.arange(count) / SAMPLES_A_SECOND
    gusts = 0.6 + 0.4 * np.sin(2 * np.pi * (0.5 + bytes_[1] / 64) * time)
    return _played((np.fft.irfft(spectrum, count) * gusts)[None, :])


def _drum() -> NDArray[np.float64]:
    time = np.arange(int(0.12 * SAMPLES_A_SECOND)) / SAMPLES_A_SECOND
    skin = np.sin(2 * np.pi * (60 + 90 * np.exp(-40 * time)) * time)
    click = np.random.default_rng(1).uniform(-1, 1, len(time)) * np.exp(-300 * time)
    return np.asarray((skin * np.exp(-25 * time) + 0.6 * click) * 2.0)


def _note(pitch: float, beat: float, style: Style) -> NDArray[np.float64]:
    """Return a soft note, so that only the drum strikes."""
    count = int(beat * 0.9 * SAMPLES_A_SECOND)
    if style.sung:
        sound = voice.vowel(pitch, "a", count)
    else:
        time = np.arange(count) / SAMPLES_A_SECOND
        tones = np.arange(1, 6)[:, None]
        strengths = style.brightness ** np.arange(5)
        waves = np.sin(2 * np.pi * pitch * tones * time)
        sound = np.asarray(strengths @ waves, np.float64)
    swell = np.sin(np.linspace(0, np.pi, count)) ** 2
    return np.asarray(sound * swell * 0.3)


def _add(sound: NDArray[np.float64], start: float, part: NDArray[np.float64]) -> None:
    into = sound[0, round(start * SAMPLES_A_SECOND) :][: len(part)]
    into += part[: len(into)]


def _played(sound: NDArray[np.float64]) -> Samples:
    loudest = max(1e-9, float(np.abs(sound).max(initial=0)))
    return (sound / loudest * _LOUD).astype(np.int16)
