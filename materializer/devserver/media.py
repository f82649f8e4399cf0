"""Real media made from a prompt; the room of Pillow, PyAV, NumPy and trimesh.

The same prompt makes the same bytes. Every maker takes a fraction of a second of one
core and blocks, so it is called in a thread.
"""

from __future__ import annotations

import io
import tempfile
import textwrap
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

FRAMES_A_SECOND = 24
SAMPLES_A_SECOND = 44_100
_WORD_SECONDS = 0.4


@dataclass(frozen=True, slots=True)
class Made:
    """One media file: its bytes, media type and customary extension."""

    data: bytes = field(repr=False)
    mime_type: str
    extension: str


def picture(prompt: str, index: int, size: tuple[int, int], form: str) -> Made:
    """Draw the prompt; `form` is png, jpeg or webp, `size` is width and height."""
    out = io.BytesIO()
    _canvas(f"{prompt}\n{index}", prompt, size).save(out, form)
    return Made(out.getvalue(), f"image/{form}", "jpg" if form == "jpeg" else form)


def film(prompt: str, size: tuple[int, int], seconds: float = 2.0) -> Made:
    """Film a ball that crosses the drawn prompt: H.264 in MP4, index first."""
    width, height = size
    still = _canvas(prompt, prompt, size)
    frames = int(seconds * FRAMES_A_SECOND)
    # The muxer reads its own file again to move the index to the front.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film.mp4")
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=FRAMES_A_SECOND)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuv420p"
            stream.options = {"preset": "ultrafast", "threads": "1"}
            for number in range(frames):
                image = still.copy()
                ball = (width * number // frames, height // 2)
                ImageDraw.Draw(image).circle(ball, height // 8, "white")
                frame = av.VideoFrame.from_ndarray(np.asarray(image), "rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return Made(path.read_bytes(), "video/mp4", "mp4")


def music(prompt: str, seconds: float = 6.0) -> Made:
    """Play a melody that the prompt decides: MP3."""
    notes = [220 * 2 ** (step % 13 / 12) for step in _seed(prompt)[: int(seconds * 2)]]
    sound = _tones(notes, 0.5)
    return Made(_encode(sound, "mp3", "libmp3lame"), "audio/mpeg", "mp3")


def speech(text: str) -> Made:
    """Say the text in beeps, one a word: WAV."""
    words = text.split()[:60] or ["?"]
    notes = [160.0 + _seed(word)[0] for word in words]
    sound = _tones(notes, _WORD_SECONDS)
    return Made(_encode(sound, "wav", "pcm_s16le"), "audio/wav", "wav")


def sculpture(prompt: str) -> Made:
    """Model a bumpy ball whose shape and colour the prompt decides: binary glTF."""
    seed = _seed(prompt)
    ball = trimesh.creation.icosphere(subdivisions=3)
    waves = [2 + byte % 7 for byte in seed[:3]]
    bumps = np.sin(ball.vertices * waves).sum(axis=1)
    ball.vertices *= (1 + 0.1 * bumps)[:, None]
    ball.visual.vertex_colors = [*seed[3:6], 255]
    return Made(ball.export(file_type="glb"), "model/gltf-binary", "glb")


def transcript(text: str) -> dict[str, Any]:
    """Return the text as a transcription service does, a word every 0.4 seconds."""
    words = [
        {
            "text": word,
            "start": round(number * _WORD_SECONDS, 3),
            "end": round((number + 1) * _WORD_SECONDS, 3),
        }
        for number, word in enumerate(text.split())
    ]
    end = words[-1]["end"] if words else 0.0
    segment = {"text": text, "start": 0.0, "end": end}
    return {"text": text, "words": words, "segments": [segment], "language": "en"}


def _seed(text: str) -> bytes:
    return sha256(text.encode(errors="surrogatepass")).digest()


def _canvas(seed_text: str, prompt: str, size: tuple[int, int]) -> Image.Image:
    width, height = size
    seed = np.frombuffer(_seed(seed_text), np.uint8)[:6].reshape(2, 3) * 0.6
    slope = np.linspace(0, 1, height)[:, None, None]
    column = seed[0] * (1 - slope) + seed[1] * slope
    pixels = np.broadcast_to(column, (height, width, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    letter = max(12, width // 24)
    text = textwrap.fill(prompt[:400] or "untitled", 36)
    font = ImageFont.load_default(letter)
    ImageDraw.Draw(image).text((letter, letter), text, "white", font)
    return image


def _tones(notes: list[float], seconds: float) -> NDArray[np.int16]:
    time = np.arange(int(seconds * SAMPLES_A_SECOND)) / SAMPLES_A_SECOND
    fade = np.minimum(1, time * 50) * np.exp(-3 * time)
    waves = [np.sin(2 * np.pi * note * time) * fade for note in notes]
    return (np.concatenate(waves) * 12_000).astype(np.int16)


def _encode(sound: NDArray[np.int16], form: str, codec: str) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", form) as container:
        stream = cast(
            "av.AudioStream",
            container.add_stream(codec, rate=SAMPLES_A_SECOND, layout="mono"),
        )
        layout = "s16p" if codec == "libmp3lame" else "s16"
        frame = av.AudioFrame.from_ndarray(sound[None, :], layout, "mono")
        frame.sample_rate = SAMPLES_A_SECOND
        frame.time_base = Fraction(1, SAMPLES_A_SECOND)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()
