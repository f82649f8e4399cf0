from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from materializer.devserver import films, media, pictures
from materializer.devserver.bench import Bench
from materializer.devserver.catalog import Order
from materializer.devserver.recipes import make
from materializer.devserver.sources import SourceUnusable
from senses import Pixels, difference, heard, likeness, ordered, watched

STILL = media.picture("a still", 0, (640, 360), "png", "high").data
CLIP = media.film("a clip", (320, 180), 1.0).data
TALKIE = media.film("a clip", (320, 180), 1.0, sound=True).data
RED = pictures.encoded(Image.new("RGB", (64, 64), (220, 10, 10)), "png")
BENCH = Bench({"still": STILL, "clip": CLIP, "talkie": TALKIE, "red": RED}, {})


def made(order: Order) -> tuple[dict[str, Any], bytes, list[Pixels]]:
    """Return what is told of the film, the film, and its frames."""
    told = make(order, BENCH)["video"]
    data = told["url"].data
    shots = watched(data)
    assert told["content_type"] == told["url"].mime_type == "video/mp4"
    assert told["file_size"] == len(data)
    assert shots[0].shape == (told["height"], told["width"], 3)
    assert len(shots) == round(told["duration"] * told["fps"])
    return told, data, shots


def test_words_become_a_film_of_the_length_shape_and_resolution_asked_for() -> None:
    order = ordered(
        "text_to_video", aspect_ratio="9:16", duration="4", resolution="480p"
    )
    told, _, shots = made(order)
    assert (told["width"], told["height"], told["duration"]) == (480, 854, 4.0)
    assert difference(shots[0], shots[-1]) > 1


def test_an_aspect_ratio_that_was_mapped_counts_as_well() -> None:
    told, _, _ = made(ordered("text_to_video", duration=0.5, aspect_ratio="1:1"))
    assert told["width"] == told["height"] == 360


def test_a_film_has_sound_where_that_is_asked_for() -> None:
    order = ordered("text_to_video", duration=1, generate_audio=True)
    assert np.abs(heard(made(order)[1])).max() > 0.1
    silent = ordered("text_to_video", duration=1)
    assert films.opened(made(silent)[1]).sound is None


@pytest.mark.parametrize("profile", ["motion", "fast"])
def test_the_still_moves(profile: str) -> None:
    order = ordered(
        "image_to_video", profile, prompt="slow push-in", duration=1, image_url="still"
    )
    told, _, shots = made(order)
    assert (told["width"], told["height"], told["duration"]) == (640, 360, 1.0)
    whole = np.asarray(pictures.opened(STILL), np.int16)
    assert difference(shots[0], whole) < 8  # it begins as the still
    assert difference(shots[-1], whole) > 15  # and ends elsewhere
    for one, following in pairwise(shots):
        assert 0 < difference(one, following) < 15


def test_the_prompt_moves_the_camera() -> None:
    def last(prompt: str) -> Pixels:
        order = ordered(
            "image_to_video", prompt=prompt, duration=0.5, image_url="still"
        )
        return made(order)[2][-1]

    assert difference(last("pan left"), last("pan right")) > 15


def test_a_still_takes_the_shape_that_is_asked_for() -> None:
    order = ordered(
        "image_to_video", aspect_ratio="1:1", duration=0.5, image_url="still"
    )
    assert made(order)[0]["width"] == 360


def test_a_film_is_continued_from_its_own_frames() -> None:
    told, _, shots = made(ordered("video_extend", video_urls=["clip"]))
    given = watched(CLIP)
    assert told["duration"] == 3.0
    for frame, before in zip(shots, given, strict=False):
        assert difference(frame, before) < 2
    joint = difference(shots[len(given) - 1], shots[len(given)])
    assert joint < 6  # no cut
    assert difference(shots[len(given)], shots[-1]) > 1  # and it goes on moving


def test_the_prompt_is_written_into_what_is_added() -> None:
    (one, other) = (
        made(ordered("video_extend", prompt=prompt, video_urls=["clip"]))[2]
        for prompt in ("mmmmmmmm", "i")
    )
    assert difference(one[20], other[20]) < 0.1
    assert difference(one[30], other[30]) > 0.5


@pytest.mark.parametrize(("asked", "lasts"), [(2.5, 2.5), (0.5, 3.0), ("auto", 3.0)])
def test_a_continued_film_is_always_longer(asked: object, lasts: float) -> None:
    order = ordered("video_extend", video_urls=["clip"], duration=asked)
    assert made(order)[0]["duration"] == lasts


def test_a_continued_film_keeps_its_sound_to_its_end() -> None:
    def sound(**fields: Any) -> tuple[float, float]:
        order = ordered("video_extend", video_urls=["talkie"], duration=2, **fields)
        found = np.abs(heard(made(order)[1]))
        assert len(found) == pytest.approx(88_200, abs=2100)
        return float(found[:40_000].max()), float(found[50_000:].max())

    kept, after = sound()
    assert kept > 0.1 > 0.01 > after
    kept, after = sound(generate_audio=True)
    assert min(kept, after) > 0.1


@pytest.mark.parametrize("profile", ["fast", "reference", "edit"])
def test_a_film_is_changed_frame_by_frame_and_moves_as_before(profile: str) -> None:
    told, data, shots = made(ordered("video_to_video", profile, video_urls=["talkie"]))
    given = watched(TALKIE)
    assert told["duration"] == 1.0
    assert len(shots) == len(given)
    for frame, before in zip(shots, given, strict=True):
        assert difference(frame, before) > 5
        assert likeness(frame, before) > 0.6
    assert np.abs(heard(data)).max() > 0.1  # it sounds as before


def test_each_profile_changes_a_film_in_its_own_way() -> None:
    fields: dict[str, Any] = {"video_urls": ["clip"], "reference_image_url": "red"}
    fast, reference, edit = (
        made(ordered("video_to_video", profile, **fields))[2][12]
        for profile in ("fast", "reference", "edit")
    )
    assert difference(fast, edit) > 0.3  # the words of the instruction
    assert difference(fast, reference) > 5


def test_a_reference_gives_its_colour_by_its_strength() -> None:
    def redness(**fields: Any) -> float:
        order = ordered("video_to_video", "reference", video_urls=["clip"], **fields)
        red, green, blue = made(order)[2][12].mean(axis=(0, 1))
        return float(red / (red + green + blue))

    plain = redness()
    weak = redness(reference_image_url="red", strength=0.3)
    strong = redness(reference_image_url="red", strength=1.0)
    assert strong > weak
    assert strong > 0.8
    assert plain < strong


def test_a_changed_film_can_be_shorter_and_of_another_shape() -> None:
    order = ordered(
        "video_to_video", video_urls=["talkie"], duration=0.5, aspect_ratio="1:1"
    )
    told, data, _ = made(order)
    assert (told["width"], told["height"], told["duration"]) == (360, 360, 0.5)
    assert len(heard(data)) == pytest.approx(22_050, abs=2100)


@pytest.mark.parametrize(
    ("capability", "why"),
    [
        ("image_to_video", "no picture was given"),
        ("video_extend", "no film was given"),
        ("video_to_video", "no film was given"),
    ],
)
def test_nothing_comes_of_nothing(capability: str, why: str) -> None:
    with pytest.raises(SourceUnusable, match=why):
        make(ordered(capability), BENCH)
