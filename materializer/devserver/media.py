"""Real media made from words alone: pictures, films, sound, meshes.

The same words make the same bytes. Every maker takes a fraction of a second of one
core and blocks, so it is called in a thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import trimesh
from PIL import Image

from materializer.devserver import films, pictures, score, sounds, voice

_AUDIO_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav"}
_AS_ASKED = score.Style()
_GRID = 48


@dataclass(frozen=True, slots=True)
class Made:
    """One media file: its bytes, media type and customary extension."""

    data: bytes = field(repr=False)
    mime_type: str
    extension: str


def picture(
    prompt: str,
    index: int,
    size: tuple[int, int],
    form: str,
    quality: str = "",
    *,
    cut_out: bool = False,
) -> Made:
    """Draw the prompt.

    Args:
        prompt: what is written in the picture.
        index: makes another picture of the same prompt.
        size: width and height.
        form: png, jpeg or webp.
        quality: low, medium or high; without it, there are no shapes.
        cut_out: on a transparent ground, where the form has such.
    """
    image = pictures.drawn(prompt, size, variant=f"\n{index}", quality=quality)
    if cut_out:
        image = pictures.cut_out(image)
    return picture_of(image, form, quality)


def film(
    prompt: str, size: tuple[int, int], seconds: float = 2.0, *, sound: bool = False
) -> Made:
    """Film a ball that crosses the drawn prompt."""
    still = pictures.drawn(prompt, size)
    shots = films.crossed(still, round(seconds * films.FRAMES_A_SECOND))
    noise = score.noise(prompt, seconds) if sound else None
    return film_of(films.encoded(shots, size, sound=noise))


def music(prompt: str, seconds: float = 30.0, style: score.Style = _AS_ASKED) -> Made:
    """Play a piece that the prompt decides."""
    return sound_of(score.music(prompt, style, seconds), "mp3")


def effect(prompt: str, seconds: float, form: str = "mp3") -> Made:
    """Make a noise that the prompt decides; `form` is wav or mp3."""
    return sound_of(score.noise(prompt, seconds), form)


def speech(script: str, form: str = "wav") -> Made:
    """Say the script; `form` is wav or mp3."""
    return sound_of(voice.speech(script), form)


def transcript(script: str) -> dict[str, Any]:
    """Return what a transcription service makes of `speech(script)`."""
    turns, words = voice.turns(script), list(voice.words(script))
    return {
        "text": " ".join(turn.text for turn in turns),
        "words": [
            {
                "text": word.text,
                "start": word.start,
                "end": word.end,
                "speaker": turns[word.turn].speaker,
            }
            for word in words
        ],
        "segments": [
            _segment(turn, [word for word in words if word.turn == number])
            for number, turn in enumerate(turns)
        ],
        "language": "en",
    }


def sculpture(prompt: str) -> Made:
    """Model a bumpy ball, with the drawn prompt round it: binary glTF."""
    across, down = np.meshgrid(np.linspace(0, 1, _GRID + 1), np.linspace(0, 1, _GRID))
    around, tilt = across.ravel() * 2 * np.pi, down.ravel() * np.pi
    vertices = np.stack(
        (np.sin(tilt) * np.cos(around), np.cos(tilt), np.sin(tilt) * np.sin(around)),
        axis=1,
    )
    waves = [2 + byte % 7 for byte in pictures.seed(prompt)[:3]]
    vertices *= 1 + 0.1 * np.sin(vertices * waves).sum(axis=1)[:, None]
    corner = np.arange(_GRID * (_GRID + 1)).reshape(_GRID, _GRID + 1)
    a, b = corner[:-1, :-1], corner[:-1, 1:]
    c, d = corner[1:, :-1], corner[1:, 1:]
    # At a pole, where a row is one point, half of the triangles would be lines.
    above = [part[1:].ravel() for part in (a, b, c)]
    below = [part[:-1].ravel() for part in (b, d, c)]
    faces = np.concatenate((np.stack(above, axis=1), np.stack(below, axis=1)))
    # Its types are there only in part.
    visual: Any = trimesh.visual
    skin = visual.TextureVisuals(
        uv=np.stack((1 - across.ravel(), 1 - down.ravel()), axis=1),
        material=visual.material.PBRMaterial(
            baseColorTexture=pictures.drawn(prompt, (512, 256), quality="medium"),
            metallicFactor=0.1,
            roughnessFactor=0.6,
        ),
    )
    ball = trimesh.Trimesh(vertices, faces, visual=skin, process=False)
    data = cast("bytes", ball.export(file_type="glb"))
    return Made(data, "model/gltf-binary", "glb")


def picture_of(image: Image.Image, form: str, quality: str = "") -> Made:
    """Write a picture as png, jpeg or webp."""
    extension = "jpg" if form == "jpeg" else form
    return Made(pictures.encoded(image, form, quality), f"image/{form}", extension)


def film_of(data: bytes) -> Made:
    """Give a film its type."""
    return Made(data, "video/mp4", "mp4")


def sound_of(samples: sounds.Samples, form: str) -> Made:
    """Write a sound as wav or mp3."""
    return Made(sounds.encoded(samples, form), _AUDIO_TYPES[form], form)


def _segment(turn: voice.Turn, words: list[voice.Word]) -> dict[str, Any]:
    start, end = (words[0].start, words[-1].end) if words else (0.0, 0.0)
    return {"text": turn.text, "start": start, "end": end, "speaker": turn.speaker}
