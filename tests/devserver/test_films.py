from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from materializer.devserver import films, media, pictures, score, sounds
from materializer.devserver.sources import SourceUnusable
from senses import difference, heard, watched

SIZE = (320, 180)
STILL = pictures.drawn("a fox", (640, 360), quality="high")


def drift(frames: list[Image.Image]) -> tuple[int, int]:
    """Return by how many pixels, right and down, what is seen moves in the film."""
    first, last = (np.asarray(f.convert("L"), float) for f in (frames[0], frames[-1]))
    spectrum = np.fft.fft2(first).conj() * np.fft.fft2(last)
    shift = np.fft.ifft2(spectrum / np.maximum(np.abs(spectrum), 1e-9)).real
    down, right = np.unravel_index(int(shift.argmax()), shift.shape)
    height, width = first.shape
    return (
        int(right) - (width if right > width / 2 else 0),
        int(down) - (height if down > height / 2 else 0),
    )


def moved(camera: str, count: int = 12) -> list[Image.Image]:
    return list(films.moved(STILL, SIZE, count, camera))


def test_a_film_has_its_size_its_rate_its_frames_and_its_index_first() -> None:
    data = films.encoded(films.crossed(STILL.resize(SIZE), 30), SIZE, Fraction(15))
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert (stream.width, stream.height) == SIZE
        assert stream.average_rate == Fraction(15)
        assert stream.frames == 30
        assert stream.duration is not None
        assert stream.time_base is not None
        assert stream.duration * stream.time_base == 2
        assert not container.streams.audio


@pytest.mark.parametrize("channels", [1, 2])
def test_a_film_sounds_as_it_was_told_to(channels: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100) * 9000
    sound = np.stack([tone.astype(np.int16)] * channels)
    data = films.encoded(films.moved(STILL, SIZE, 24), SIZE, sound=sound)
    found = heard(data)
    assert len(found) == pytest.approx(44_100, abs=2100)
    spectrum = np.abs(np.fft.rfft(found[2000:24_050]))
    assert spectrum.argmax() == pytest.approx(220, abs=1)


def test_the_ball_crosses_the_whole_picture() -> None:
    frames = list(films.crossed(Image.new("RGB", SIZE), 10))
    places = [np.asarray(f)[90, :, 0].nonzero()[0].mean() for f in frames]
    assert places == sorted(set(places))
    assert places[0] < 20
    assert places[-1] > 280


@pytest.mark.parametrize(
    ("camera", "right", "down"),
    [
        ("pan left", 1, 0),
        ("Pan RIGHT, slowly", -1, 0),
        ("tilt up", 0, 1),
        ("look down", 0, -1),
    ],
)
def test_a_camera_moves_where_it_is_told_to(camera: str, right: int, down: int) -> None:
    assert np.sign(drift(moved(camera))).tolist() == [right, down]


@pytest.mark.parametrize("camera", ["", "push-in", "a cup without a bright handle"])
def test_otherwise_it_goes_in_from_the_whole_picture(camera: str) -> None:
    first, *_, last = moved(camera)
    whole = np.asarray(STILL.resize(SIZE), np.int16)
    assert difference(np.asarray(first, np.int16), whole) < 6
    middle = STILL.crop((74, 42, 566, 318)).resize(SIZE)
    assert difference(np.asarray(last, np.int16), np.asarray(middle, np.int16)) < 6


def test_going_out_is_going_in_backwards() -> None:
    out, into = moved("zoom out"), moved("")
    assert [f.tobytes() for f in out] == [f.tobytes() for f in reversed(into)]


def test_a_still_of_another_shape_is_cut_not_squeezed() -> None:
    still = Image.new("RGB", (900, 300), "white")
    still.paste("black", (0, 0, 100, 300))
    (frame,) = films.moved(still, SIZE, 1)
    assert frame.size == SIZE
    assert pictures.colour(frame) == (255, 255, 255)


def test_a_given_film_is_read_frame_by_frame_with_its_sound() -> None:
    made = media.film("a fox", SIZE, 1.5, sound=True).data
    clip = films.opened(made)
    assert (clip.size, clip.count, clip.seconds) == (SIZE, 36, 1.5)
    assert clip.sound is not None
    assert clip.sound.shape == (1, pytest.approx(66_150, abs=2100))
    frames = [np.asarray(frame, np.int16) for frame in clip.frames()]
    assert len(frames) == 36
    for frame, other in zip(frames, watched(made), strict=True):
        assert difference(frame, other) < 2
    assert films.opened(media.film("a", SIZE, 0.5).data).sound is None


def test_a_huge_film_is_made_smaller_and_a_very_long_one_shorter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = films.encoded([Image.new("RGB", (2600, 14))], (2600, 14))
    assert films.opened(large).size == (1280, 6)
    monkeypatch.setattr(films, "_MOST_FRAMES", 10)
    clip = films.opened(media.film("a", SIZE, 1.0, sound=True).data)
    assert clip.count == len(list(clip.frames())) == 10
    assert clip.sound is not None
    assert clip.sound.shape[1] == pytest.approx(10 / 24 * 44_100, abs=2)


def test_an_animated_picture_is_a_film_as_well() -> None:
    out = io.BytesIO()
    first, second = Image.new("RGB", (33, 21)), Image.new("RGB", (33, 21), "white")
    first.save(out, "gif", save_all=True, append_images=[second], duration=100)
    clip = films.opened(out.getvalue())
    assert (clip.size, clip.count) == ((32, 20), 2)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it cannot be read as a film"),
        (b"hello" * 50, "it cannot be read as a film"),
        (media.film("a", SIZE, 0.5).data[:900], "it cannot be read as a film"),
        (sounds.encoded(score.noise("a", 0.5), "wav"), "it has no picture"),
    ],
    ids=["empty", "text", "cut", "sound"],
)
def test_what_is_no_film_is_told(data: bytes, why: str) -> None:
    with pytest.raises(SourceUnusable, match=why):
        films.opened(data)
