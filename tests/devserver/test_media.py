from __future__ import annotations

import io
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
import trimesh
from PIL import Image

from materializer.devserver import media
from materializer.devserver.media import Made
from need import need


def frames(made: Made) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(made.data), "r") as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_a_picture_is_whole_and_has_the_size_that_was_asked_for(form: str) -> None:
    made = media.picture("a lighthouse", 0, (640, 480), form)
    with Image.open(io.BytesIO(made.data)) as image:
        image.verify()
        assert image.format == form.upper()
        assert image.size == (640, 480)
    assert made.mime_type == f"image/{form}"


def test_pictures_differ_by_prompt_and_by_index_and_by_nothing_else() -> None:
    def data(prompt: str, index: int) -> bytes:
        return media.picture(prompt, index, (64, 64), "png").data

    assert data("a", 0) == data("a", 0)
    assert len({data("a", 0), data("a", 1), data("b", 0)}) == 3


def test_the_prompt_is_written_into_the_picture() -> None:
    made = media.picture("mmmmmmmm", 0, (480, 480), "png")
    with Image.open(io.BytesIO(made.data)) as image:
        pixels = np.asarray(image)
    assert pixels[:100].min(axis=2).max() > 250
    assert pixels[100:].min(axis=2).max() < 250


def test_a_film_moves_and_lasts_two_seconds() -> None:
    made = media.film("a lighthouse", (320, 180))
    shots = frames(made)
    assert len(shots) == 48
    first, last = shots[0].to_ndarray(), shots[-1].to_ndarray()
    assert np.abs(first.astype(int) - last).max() > 100
    with av.open(io.BytesIO(made.data), "r") as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_a_film_can_be_played_while_it_arrives() -> None:
    data = media.film("a", (320, 180)).data
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    ("made", "codec", "seconds"),
    [
        (media.music("calm"), "mp3float", 6.0),
        (media.speech("one two three"), "pcm_s16le", 1.2),
    ],
    ids=["music", "speech"],
)
def test_sound_can_be_heard(made: Made, codec: str, seconds: float) -> None:
    with av.open(io.BytesIO(made.data), "r") as container:
        stream = container.streams.audio[0]
        assert stream.codec_context.name == codec
        sound = np.concatenate(
            [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
        )
    assert len(sound) / media.SAMPLES_A_SECOND == pytest.approx(seconds, abs=0.1)
    assert np.abs(sound).max() > 0.1


def test_a_sculpture_has_faces_and_differs_by_prompt() -> None:
    made = media.sculpture("a teapot")
    scene = trimesh.load_scene(io.BytesIO(made.data), file_type="glb")
    (mesh,) = scene.geometry.values()
    assert isinstance(mesh, trimesh.Trimesh)
    assert len(mesh.faces) > 1000
    assert made.data != media.sculpture("a kettle").data


def test_a_transcript_has_every_word_in_its_time() -> None:
    made = media.transcript("one two three")
    assert made["text"] == "one two three"
    assert [word["text"] for word in made["words"]] == ["one", "two", "three"]
    assert [word["start"] for word in made["words"]] == [0.0, 0.4, 0.8]
    assert made["segments"] == [{"text": "one two three", "start": 0.0, "end": 1.2}]
    assert made["language"] == "en"


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (media.picture("a", 0, (64, 64), "png"), "PNG image data, 64 x 64"),
        (media.picture("a", 0, (64, 64), "jpeg"), "JPEG image data"),
        (media.picture("a", 0, (64, 64), "webp"), "Web/P image"),
        (media.film("a", (64, 64), 0.5), "ISO Media"),
        (media.music("a", 1.0), "MPEG ADTS, layer III"),
        (media.speech("a"), "WAVE audio"),
        (media.sculpture("a"), "glTF binary model, version 2"),
    ],
    ids=lambda value: value.extension if isinstance(value, Made) else "",
)
def test_file_knows_what_it_is(tmp_path: Path, made: Made, says: str) -> None:
    need("file")
    path = tmp_path / "made"
    path.write_bytes(made.data)
    told = subprocess.run(["file", "-b", path], capture_output=True, text=True)
    assert says in told.stdout


def test_the_same_prompt_makes_the_same_bytes() -> None:
    assert media.film("a", (64, 64)).data == media.film("a", (64, 64)).data
    assert media.music("a").data == media.music("a").data
    assert media.sculpture("a").data == media.sculpture("a").data
