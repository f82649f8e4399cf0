from __future__ import annotations

from itertools import pairwise

import numpy as np

from materializer.devserver import voice
from materializer.devserver.sounds import SAMPLES_A_SECOND
from materializer.devserver.voice import Turn

SCENE = "Ann: Good morning!\nBob: Is it? I wonder."


def loudness(script: str, start: float, end: float) -> float:
    first, last = (int(moment * SAMPLES_A_SECOND) for moment in (start, end))
    return float(np.abs(voice.speech(script)[0, first:last].astype(float)).mean())


def test_each_line_with_a_name_is_a_turn() -> None:
    assert voice.turns(SCENE) == [
        Turn("Ann", "Good morning!"),
        Turn("Bob", "Is it? I wonder."),
    ]


def test_what_is_no_dialogue_is_one_turn_with_every_word() -> None:
    for script in ("Note: buy milk", "Ann: hello\nand goodbye", "one\n\ntwo"):
        assert voice.turns(script) == [Turn("speaker_0", script)]


def test_a_word_is_heard_while_it_is_said_and_a_pause_after_it() -> None:
    said = list(voice.words(SCENE))
    assert [word.text for word in said] == "Good morning! Is it? I wonder.".split()
    for word, following in pairwise(said):
        assert loudness(SCENE, word.start, word.end) > 500
        assert word.end < following.start
        assert loudness(SCENE, word.end, following.start) < 5
    gap = said[2].start - said[1].end
    assert gap > 3 * (said[1].start - said[0].end)  # another one speaks


def test_more_syllables_take_longer() -> None:
    short, long = voice.words("cat hippopotamus")
    assert (long.end - long.start) > 3 * (short.end - short.start)


def test_each_speaker_has_a_pitch() -> None:
    def pitch(speaker: str) -> float:
        syllable = voice.speech(f"{speaker}: aaa\nXy: aaa")[0, :6000].astype(float)
        echo = np.correlate(syllable, syllable, "full")[5999:]
        return float(SAMPLES_A_SECOND / (150 + echo[150:600].argmax()))

    assert len({round(pitch(name)) for name in ("Ann", "Bob", "Cem")}) == 3


def test_nothing_to_say_is_a_moment_of_silence() -> None:
    assert not voice.speech("").any()
    assert voice.speech("").size > 0


def test_a_very_long_script_has_an_end() -> None:
    assert len(list(voice.words("a " * 9000))) == voice.LONGEST / 2


def test_a_prompt_asks_for_a_quotation_or_a_dialogue_to_be_said() -> None:
    assert voice.script_in(SCENE) == SCENE
    assert voice.script_in('A voice says "mind the gap" twice') == "mind the gap"
    assert voice.script_in("rain on a tin roof") == ""


def test_a_vowel_has_its_pitch() -> None:
    spectrum = np.abs(np.fft.rfft(voice.vowel(200, "a", SAMPLES_A_SECOND)))
    tones = np.flatnonzero(spectrum > spectrum.max() / 50)
    assert set(tones % 200) == {0}
