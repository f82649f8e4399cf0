"""Films: made from frames, taken apart, moved and changed; the room of PyAV's video."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

from materializer.devserver import sounds
from materializer.devserver.sources import SourceUnusable

FRAMES_A_SECOND = Fraction(24)
_LONGEST_EDGE = 1280
_MOST_FRAMES = 720
_ZOOM = 1.3


@dataclass(frozen=True, slots=True)
class Clip:
    """A film that was given.

    Attributes:
        data: the file.
        size: in which its frames come: even numbers, and not larger than needed.
        rate: frames a second.
        count: of its frames; what is beyond half a minute is left out.
        sound: None where it is silent.
    """

    data: bytes
    size: tuple[int, int]
    rate: Fraction
    count: int
    sound: sounds.Samples | None

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return float(self.count / self.rate)

    def frames(self) -> Iterator[Image.Image]:
        """Decode the frames, one by one."""
        width, height = self.size
        with av.open(io.BytesIO(self.data), "r") as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number == self.count:
                    return
                small = frame.reformat(width, height, "rgb24")
                yield Image.fromarray(small.to_ndarray())


def opened(data: bytes) -> Clip:
    """Read a given film.

    Raises:
        SourceUnusable: it is none.
    """
    try:
        with av.open(io.BytesIO(data), "r") as container:
            if not container.streams.video:
                raise SourceUnusable("it has no picture")
            stream = container.streams.video[0]
            rate = stream.average_rate or FRAMES_A_SECOND
            size = _even((stream.width, stream.height))
            # Headers tell too little or too much; counting is quick.
            count = 0
            for _ in container.decode(stream):
                count += 1
                if count == _MOST_FRAMES:
                    break
    except (av.FFmpegError, ValueError) as error:
        raise SourceUnusable("it cannot be read as a film") from error
    if not count:
        raise SourceUnusable("it has no picture")
    return Clip(data, size, rate, count, sounds.decoded(data, float(count / rate)))


def encoded(
    frames: Iterable[Image.Image],
    size: tuple[int, int],
    rate: Fraction = FRAMES_A_SECOND,
    sound: sounds.Samples | None = None,
) -> bytes:
    """Return the frames as a film: H.264 and AAC in MP4, its index first.

    Args:
        frames: of that size.
        size: width and height, even numbers.
        rate: frames a second.
        sound: as long as the frames.
    """
    # The muxer reads its own file again to move the index to the front.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film.mp4")
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=rate)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            stream.options = {"preset": "ultrafast", "threads": "1"}
            track = _track(container, sound)
            for image in frames:
                frame = av.VideoFrame.from_ndarray(np.asarray(image), "rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            if track is not None and sound is not None:
                for part in sounds.frames(sound, "s16p"):
                    container.mux(track.encode(part))
                container.mux(track.encode(None))
        return path.read_bytes()


def crossed(still: Image.Image, count: int) -> Iterator[Image.Image]:
    """Yield `count` frames in which a ball crosses the picture."""
    width, height = still.size
    for number in range(count):
        image = still.copy()
        ball = (width * number // count, height // 2)
        ImageDraw.Draw(image).circle(ball, height // 8, "white")
        yield image


def moved(
    still: Image.Image, size: tuple[int, int], count: int, camera: str = ""
) -> Iterator[Image.Image]:
    """Yield `count` frames of that size, in which a camera moves over the picture.

    Args:
        still: of any size; what does not fit is cut off.
        size: width and height of the frames.
        count: of the frames.
        camera: words that may say where to: left, right, up, down or out. Else it
            goes in.
    """
    path = _path({*re.findall("[a-z]+", camera.lower())})
    width, height = still.size
    scale = min(width / size[0], height / size[1])
    for number in range(count):
        zoom, x, y = path(number / max(1, count - 1))
        wide, high = size[0] * scale / zoom, size[1] * scale / zoom
        left, top = (width - wide) * x, (height - high) * y
        box = (left, top, left + wide, top + high)
        yield still.resize(size, Image.Resampling.BILINEAR, box)


def _path(camera: set[str]) -> Callable[[float], tuple[float, float, float]]:
    """Return the way of a camera: time from 0 to 1 -> zoom, and where x and y are."""
    if "left" in camera:
        return lambda time: (_ZOOM, 1 - time, 0.5)
    if "right" in camera:
        return lambda time: (_ZOOM, time, 0.5)
    if "up" in camera:
        return lambda time: (_ZOOM, 0.5, 1 - time)
    if "down" in camera:
        return lambda time: (_ZOOM, 0.5, time)
    if "out" in camera:
        return lambda time: (_ZOOM - (_ZOOM - 1) * time, 0.5, 0.5)
    return lambda time: (1 + (_ZOOM - 1) * time, 0.5, 0.5)


def _track(
    container: av.container.OutputContainer, sound: sounds.Samples | None
) -> av.AudioStream | None:
    if sound is None:
        return None
    layout = "mono" if len(sound) == 1 else "stereo"
    return container.add_stream("aac", rate=sounds.SAMPLES_A_SECOND, layout=layout)


def _even(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size made even, and smaller where it is very large."""
    scale = min(1.0, _LONGEST_EDGE / max(size))
    width, height = (max(2, round(edge * scale / 2) * 2) for edge in size)
    return width, height
