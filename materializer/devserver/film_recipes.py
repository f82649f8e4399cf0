"""How films are ordered: from words, from a still, from another film."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image

from materializer.devserver import films, measures, media, pictures, score, sounds
from materializer.devserver.bench import Bench
from materializer.devserver.catalog import Order
from materializer.devserver.media import Made

_SECONDS = 2.0
_WIDE = (1280, 720)
_STRENGTH = 0.6


def from_words(order: Order, _: Bench) -> dict[str, Any]:
    """Film the prompt."""
    size = measures.film_size(order, _WIDE)
    seconds = measures.film_seconds(order, _SECONDS)
    made = media.film(order.prompt, size, seconds, sound=_wants_sound(order))
    return _told(made, size, films.FRAMES_A_SECOND, seconds)


def from_still(order: Order, bench: Bench) -> dict[str, Any]:
    """Move a camera over the picture: where the prompt says, or straight in."""
    still = pictures.opened(bench.needed(order, "picture")).convert("RGB")
    size = measures.film_size(order, still.size)
    seconds = measures.film_seconds(order, _SECONDS)
    count = round(seconds * films.FRAMES_A_SECOND)
    return _filmed(order, films.moved(still, size, count, order.prompt), count, size)


def extended(order: Order, bench: Bench) -> dict[str, Any]:
    """Continue the film, as it was, to the duration asked for or by two seconds."""
    clip = films.opened(bench.needed(order, "film"))
    size = _size(order, clip)
    asked = measures.film_seconds(order, 0.0)
    more = asked - clip.seconds if asked > clip.seconds else _SECONDS
    count = max(1, round(more * clip.rate))
    frames = _continued(clip, size, count, order.prompt)
    return _filmed(order, frames, clip.count + count, size, clip)


def transformed(order: Order, bench: Bench) -> dict[str, Any]:
    """Change every frame of the film, as its profile does."""
    clip = films.opened(bench.needed(order, "film"))
    size = _size(order, clip)
    asked = measures.film_seconds(order, clip.seconds)
    count = max(1, min(clip.count, round(asked * clip.rate)))
    change = _change(order, bench)
    frames = (
        change(pictures.fitted(frame, size)) for frame in islice(clip.frames(), count)
    )
    return _filmed(order, frames, count, size, clip)


def _change(order: Order, bench: Bench) -> Callable[[Image.Image], Image.Image]:
    prompt = order.prompt
    strength = measures.share(order.fields.get("strength"), _STRENGTH)
    if order.profile == "edit":
        return lambda frame: pictures.edited(frame, prompt)
    references = bench.given(order, "reference")
    if order.profile == "reference" and references:
        colour = pictures.colour(pictures.opened(references[0]))
        return lambda frame: pictures.tinted(frame, colour, strength)
    return lambda frame: pictures.recoloured(frame, prompt, strength)


def _continued(
    clip: films.Clip, size: tuple[int, int], count: int, prompt: str
) -> Iterator[Image.Image]:
    last = None
    for frame in clip.frames():
        last = pictures.fitted(frame, size)
        yield last
    if last is not None:
        still = last.copy()
        pictures.inscribe(still, prompt, low=True)
        yield from films.moved(still, size, count)


def _size(order: Order, clip: films.Clip) -> tuple[int, int]:
    """Return the clip's own size, unless another shape or resolution is asked for."""
    if measures.ratio(order) or order.fields.get("resolution"):
        return measures.film_size(order, clip.size)
    return clip.size


def _filmed(
    order: Order,
    frames: Iterable[Image.Image],
    count: int,
    size: tuple[int, int],
    clip: films.Clip | None = None,
) -> dict[str, Any]:
    rate = clip.rate if clip else films.FRAMES_A_SECOND
    seconds = float(count / rate)
    sound = _sound(order, seconds, clip.sound if clip else None)
    made = media.film_of(films.encoded(frames, size, rate, sound))
    return _told(made, size, rate, seconds)


def _told(
    made: Made, size: tuple[int, int], rate: Fraction, seconds: float
) -> dict[str, Any]:
    return {
        "video": {
            "url": made,
            "content_type": made.mime_type,
            "file_name": "video.mp4",
            "file_size": len(made.data),
            "width": size[0],
            "height": size[1],
            "fps": float(rate),
            "duration": seconds,
        }
    }


def _wants_sound(order: Order) -> bool:
    return order.fields.get("generate_audio") is True


def _sound(
    order: Order, seconds: float, given: sounds.Samples | None
) -> sounds.Samples | None:
    """Return what is heard: what was given, then what was asked for, or silence."""
    wanted = _wants_sound(order)
    if given is None and not wanted:
        return None
    made = score.noise(order.prompt, seconds)
    if given is None:
        return made
    rest = np.repeat(made if wanted else np.zeros_like(made), len(given), axis=0)
    whole = np.concatenate((given, rest[:, given.shape[1] :]), axis=1)
    return whole[:, : rest.shape[1]]
