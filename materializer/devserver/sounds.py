"""Sound as numbers, and as files: the room of PyAV's audio.

Samples are signed 16-bit numbers, one row a channel, 44 100 columns a second.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

from materializer.devserver.sources import SourceUnusable

SAMPLES_A_SECOND = 44_100
LONGEST = 120.0
"""Seconds of a sound that are read or made at most."""

Samples = NDArray[np.int16]
_LAYOUTS = {1: "mono", 2: "stereo"}
_CODECS = {"wav": ("pcm_s16le", "s16"), "mp3": ("libmp3lame", "s16p")}
_SLICE = 1152 * 40


def encoded(samples: Samples, form: str) -> bytes:
    """Return the samples, one or two channels, as a file: `form` is wav or mp3."""
    codec, sample_format = _CODECS[form]
    layout = _LAYOUTS[len(samples)]
    out = io.BytesIO()
    with av.open(out, "w", form) as container:
        stream = cast(
            "av.AudioStream",
            container.add_stream(codec, rate=SAMPLES_A_SECOND, layout=layout),
        )
        for frame in frames(samples, sample_format):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def frames(samples: Samples, sample_format: str) -> Iterator[av.AudioFrame]:
    """Cut the samples into frames for an encoder."""
    for start in range(0, samples.shape[1], _SLICE):
        part = np.ascontiguousarray(samples[:, start : start + _SLICE])
        if sample_format == "s16":
            part = part.T.reshape(1, -1)
        layout = _LAYOUTS[len(samples)]
        frame = av.AudioFrame.from_ndarray(part, sample_format, layout)
        frame.sample_rate = SAMPLES_A_SECOND
        frame.time_base = Fraction(1, SAMPLES_A_SECOND)
        frame.pts = start
        yield frame


def decoded(data: bytes, longest: float = LONGEST) -> Samples | None:
    """Return the sound in a file, or None where it has no sound.

    More than two channels become two.

    Raises:
        SourceUnusable: it is no sound and no film.
    """
    try:
        with av.open(io.BytesIO(data), "r") as container:
            if not container.streams.audio:
                return None
            return _read(container, int(longest * SAMPLES_A_SECOND))
    except av.FFmpegError as error:
        raise SourceUnusable("it cannot be read as sound or film") from error


def _read(container: av.container.InputContainer, most: int) -> Samples | None:
    stream = container.streams.audio[0]
    layout = _LAYOUTS[min(2, stream.channels)]
    resampler = av.AudioResampler("s16p", layout, SAMPLES_A_SECOND)
    parts: list[Samples] = []
    count = 0
    for frame in chain(container.decode(stream), [None]):
        for ready in resampler.resample(frame):
            parts.append(cast("Samples", ready.to_ndarray()))
            count += ready.samples
        if count >= most:
            break
    return np.concatenate(parts, axis=1)[:, :most] if parts else None
