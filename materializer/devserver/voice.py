"""A voice that says a script: what it says when, and how that sounds.

Nobody understands it, but it goes by the words: a syllable for each vowel, a pause
after each word, and a pitch for each speaker.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from materializer.devserver.sounds import SAMPLES_A_SECOND, Samples

LONGEST = 6000  # characters
_SYLLABLE, _PAUSE, _TURN = 0.14, 0.06, 0.3  # seconds
_LINE = re.compile(r"([^\W\d_][\w .'-]{0,30}):\s+(\S.*)")
_QUOTED = re.compile('["“„«](.+?)["”“»]', re.DOTALL)
_VOWELS = re.compile(r"[aeiouyäöüáéíóúàèìòùâêîôû]+", re.IGNORECASE)
_FORMANTS = {
    "a": (730, 1090),
    "e": (530, 1840),
    "i": (270, 2290),
    "o": (570, 840),
    "u": (300, 870),
}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker says before the next one does."""

    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Word:
    """A word, whose turn it is in, and when it is said, in seconds.

    Attributes:
        vowels: one a syllable.
    """

    text: str
    turn: int
    speaker: str
    start: float
    vowels: str

    @property
    def end(self) -> float:
        """When it has been said."""
        return round(self.start + _SYLLABLE * len(self.vowels), 3)


def turns(script: str) -> list[Turn]:
    """Return who says what: each line is a turn where all begin with `Name: `."""
    lines = [line.strip() for line in script[:LONGEST].splitlines() if line.strip()]
    named = [_LINE.fullmatch(line) for line in lines]
    if len(lines) < 2 or not all(named):
        return [Turn("speaker_0", script[:LONGEST].strip())]
    return [Turn(match[1], match[2]) for match in named if match]


def script_in(prompt: str) -> str:
    """Return what a prompt wants to be said: a quotation, or a dialogue; or nothing."""
    if len(turns(prompt)) > 1:
        return prompt
    quoted = _QUOTED.search(prompt)
    return quoted[1] if quoted else ""


def words(script: str) -> Iterator[Word]:
    """Yield each word with its time."""
    at = 0.0
    for number, turn in enumerate(turns(script)):
        for text in turn.text.split():
            vowels = "".join(_plain(group[0]) for group in _VOWELS.findall(text))
            word = Word(text, number, turn.speaker, round(at, 3), vowels or "a")
            yield word
            at = word.end + _PAUSE
        at += _TURN


def speech(script: str) -> Samples:
    """Return the sound of the script, one channel."""
    said = list(words(script))
    end = said[-1].end + _PAUSE if said else _SYLLABLE
    sound = np.zeros((1, int(end * SAMPLES_A_SECOND)), np.int16)
    for word in said:
        start = int(word.start * SAMPLES_A_SECOND)
        for vowel in word.vowels:
            syllable = _syllable(word.speaker, vowel)
            sound[0, start : start + len(syllable)] = syllable
            start += len(syllable)
    return sound


def vowel(pitch: float, letter: str, count: int) -> NDArray[np.float64]:
    """Return `count` samples of a vowel at a pitch in Hz, within -1 and 1."""
    time = np.arange(count) / SAMPLES_A_SECOND
    overtones = np.arange(1, int(3500 / pitch) + 1) * pitch
    distances = overtones[:, None] - np.array(_FORMANTS[letter])
    strengths = np.exp(-((distances / 160) ** 2)).sum(axis=1) + 0.05
    sound = strengths @ np.sin(2 * np.pi * overtones[:, None] * time)
    return np.asarray(sound / np.abs(sound).max(initial=1.0))


def _plain(letter: str) -> str:
    base = unicodedata.normalize("NFD", letter.lower())[0]
    return base if base in _FORMANTS else "i"


@lru_cache(maxsize=64)
def _syllable(speaker: str, letter: str) -> NDArray[np.int16]:
    """Return a hiss and then a vowel, as loud as a voice."""
    count = int(_SYLLABLE * SAMPLES_A_SECOND)
    pitch = 95 + sha256(speaker.encode(errors="surrogatepass")).digest()[0] / 2
    rise = np.minimum(1, np.arange(count) / (0.04 * SAMPLES_A_SECOND))
    sound = vowel(pitch, letter, count) * rise * rise[::-1]
    hiss = np.random.default_rng(ord(letter)).uniform(-0.3, 0.3, count // 6)
    sound[: count // 6] += hiss * np.linspace(1, 0, count // 6)
    return (sound * 14_000).astype(np.int16)
