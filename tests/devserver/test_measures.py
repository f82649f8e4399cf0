from __future__ import annotations

import math
from dataclasses import replace

import pytest

from materializer.devserver import measures
from materializer.devserver.score import Style
from senses import ordered


@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        ("1:1", (1024, 1024)),
        ("4:3", (1024, 768)),
        ("3:4", (768, 1024)),
        ("3:2", (1152, 768)),
        ("2:3", (768, 1152)),
        ("16:9", (1280, 720)),
        ("9:16", (720, 1280)),
        ("21:9", (1344, 576)),
        ("5:1", (1024, 1024)),
        ("", (1024, 1024)),
    ],
)
def test_the_aspect_ratio_decides_the_size(ratio: str, size: tuple[int, int]) -> None:
    asked = ordered("text_to_image", aspect_ratio=ratio)
    assert measures.image_size(asked) == size
    mapped = replace(asked, aspect_ratio="", fields={"aspect_ratio": ratio})
    assert measures.image_size(mapped) == size


def test_an_explicit_size_wins() -> None:
    size = {"width": 320, "height": 200}
    order = ordered("text_to_image", aspect_ratio="16:9", image_size=size)
    assert measures.image_size(order) == (320, 200)


@pytest.mark.parametrize(
    "wild",
    [
        "auto",
        {"width": 9, "height": 100},
        {"width": 99999, "height": 100},
        {"width": "320", "height": 200},
        {"width": 320},
        7,
    ],
)
def test_a_size_that_cannot_be_drawn_is_not_drawn(wild: object) -> None:
    order = ordered("text_to_image", image_size=wild)
    assert measures.image_size(order, (30, 20)) == (30, 20)


@pytest.mark.parametrize(
    ("ratio", "resolution", "size"),
    [
        ("16:9", None, (640, 360)),
        ("9:16", None, (360, 640)),
        ("1:1", None, (360, 360)),
        ("21:9", "480p", (1120, 480)),
        ("16:9", "720p", (1280, 720)),
        ("16:9", "8k", (640, 360)),
        ("", None, (540, 360)),
    ],
)
def test_ratio_and_resolution_decide_the_size_of_a_film(
    ratio: str, resolution: str | None, size: tuple[int, int]
) -> None:
    order = ordered("text_to_video", aspect_ratio=ratio, resolution=resolution)
    assert measures.film_size(order, (300, 200)) == size


@pytest.mark.parametrize(
    ("asked", "lasts"),
    [
        (5, 5),
        ("7", 7),
        (0.5, 0.5),
        (1e-9, 0.1),
        ("auto", 2),
        (None, 2),
        (-1, 2),
        (900, 15),
        (math.inf, 15),
        (math.nan, 2),
        ([], 2),
    ],
)
def test_a_film_lasts_as_asked_within_reason(asked: object, lasts: float) -> None:
    order = ordered("text_to_video", duration=asked)
    assert measures.film_seconds(order, 2) == lasts


@pytest.mark.parametrize(("asked", "lasts"), [(3, 3), (None, 5), (10_000, 120)])
def test_a_noise_lasts_as_asked_within_reason(asked: object, lasts: float) -> None:
    order = ordered("sound_effects", duration_seconds=asked)
    assert measures.sound_seconds(order) == lasts


@pytest.mark.parametrize(
    ("value", "share"), [(0.3, 0.3), (7, 1), (-1, 0), ("x", 0.5), (math.nan, 0.5)]
)
def test_a_share_is_from_0_to_1(value: object, share: float) -> None:
    assert measures.share(value, 0.5) == share


@pytest.mark.parametrize(("asked", "made"), [(3, 3), (None, 1), (0, 1), (9, 4)])
def test_a_job_makes_one_to_four_pictures(asked: object, made: int) -> None:
    assert measures.count(ordered("text_to_image", num_images=asked)) == made


@pytest.mark.parametrize(
    ("asked", "form"), [("webp", "webp"), ("jpeg", "jpeg"), ("bmp", "png"), ([], "png")]
)
def test_a_picture_comes_in_a_form_that_can_be_written(
    asked: object, form: str
) -> None:
    assert measures.picture_form(ordered("icon", output_format=asked)) == form


def test_the_fast_profile_is_plain() -> None:
    assert measures.quality(ordered("text_to_image", "best", quality="high")) == "high"
    assert measures.quality(ordered("text_to_image", "fast", quality="high")) == ""
    assert measures.quality(ordered("text_to_image", quality=3)) == ""


def test_a_transparent_ground_is_asked_for_in_a_field_or_in_words() -> None:
    assert measures.is_cut_out(ordered("icon", background="transparent"))
    assert measures.is_cut_out(ordered("icon", prompt="fox, Transparent background"))
    assert not measures.is_cut_out(ordered("icon", prompt="a transparent lamp"))


@pytest.mark.parametrize(
    ("asked", "form"),
    [
        ("mp3_44100_128", "mp3"),
        ("pcm_44100", "wav"),
        ("wav", "wav"),
        (None, "mp3"),
        ("opus", "mp3"),
    ],
)
def test_a_sound_comes_in_a_form_that_can_be_written(asked: object, form: str) -> None:
    order = ordered("sound_effects", output_format=asked)
    assert measures.sound_form(order, "mp3") == form


def test_music_is_played_as_configured() -> None:
    config = {
        "bpm": 120,
        "density": 0.2,
        "brightness": 0.8,
        "temperature": 0.7,
        "musicGenerationMode": "VOCALIZATION",
    }
    order = ordered("text_to_music", musicGenerationConfig=config)
    assert measures.style(order) == Style(120, 0.2, 0.8, 0.7, sung=True)
    assert measures.style(ordered("text_to_music")) == Style()
