from __future__ import annotations

import numpy as np
import pytest

from materializer.devserver import media, sounds
from materializer.devserver.sounds import SAMPLES_A_SECOND, Samples
from materializer.devserver.sources import SourceUnusable
from senses import heard


def chord(channels: int, seconds: float = 2.0) -> Samples:
    time = np.arange(int(seconds * SAMPLES_A_SECOND)) / SAMPLES_A_SECOND
    waves = [np.sin(2 * np.pi * 220 * (1 + c) * time) for c in range(channels)]
    return (np.stack(waves) * 9000).astype(np.int16)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_file_gives_back_every_sample(channels: int) -> None:
    sound = chord(channels)
    back = sounds.decoded(sounds.encoded(sound, "wav"))
    assert back is not None
    assert np.array_equal(back, sound)


@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_file_sounds_the_same(channels: int) -> None:
    sound = chord(channels)
    back = sounds.decoded(sounds.encoded(sound, "mp3"))
    assert back is not None
    assert back.shape[0] == channels
    assert back.shape[1] == pytest.approx(sound.shape[1], abs=3000)
    tone = np.abs(np.fft.rfft(heard(sounds.encoded(sound[:1], "mp3")))).argmax()
    assert tone == pytest.approx(220 * 2, abs=4)


def test_a_long_sound_is_read_to_its_limit() -> None:
    found = sounds.decoded(sounds.encoded(chord(1), "wav"), 0.5)
    assert found is not None
    assert found.shape == (1, SAMPLES_A_SECOND // 2)


def test_a_silent_film_has_no_sound() -> None:
    assert sounds.decoded(media.film("a", (64, 64), 0.5).data) is None


@pytest.mark.parametrize("data", [b"", b"RIFF", b"hello" * 50])
def test_what_is_no_sound_is_told(data: bytes) -> None:
    with pytest.raises(SourceUnusable, match="it cannot be read as sound or film"):
        sounds.decoded(data)
