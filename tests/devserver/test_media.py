from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import trimesh
from PIL import Image

from materializer.devserver import media
from materializer.devserver.media import Made
from need import need
from senses import difference, heard, watched


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_a_picture_is_whole_and_has_the_size_that_was_asked_for(form: str) -> None:
    made = media.picture("a lighthouse", 0, (640, 480), form)
    with Image.open(io.BytesIO(made.data)) as image:
        image.verify()
        assert image.format == form.upper()
        assert image.size == (640, 480)
    assert made.mime_type == f"image/{form}"


@pytest.mark.parametrize("form", ["png", "webp"])
def test_a_picture_can_be_cut_out(form: str) -> None:
    made = media.picture("a lighthouse", 0, (64, 64), form, cut_out=True)
    with Image.open(io.BytesIO(made.data)) as image:
        corner = image.convert("RGBA").getchannel("A").getpixel((0, 0))
    assert corner == 0


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_more_quality_is_more_bytes(form: str) -> None:
    sizes = [
        len(media.picture("a fox", 0, (512, 512), form, quality).data)
        for quality in ("low", "medium", "high")
    ]
    assert sizes == sorted(set(sizes))


def test_a_film_moves_and_lasts_as_long_as_it_was_asked_to() -> None:
    shots = watched(media.film("a lighthouse", (320, 180)).data)
    assert len(shots) == 48
    assert difference(shots[0], shots[-1]) > 1
    assert len(watched(media.film("a", (64, 64), 0.5).data)) == 12


def test_a_film_is_silent_unless_it_is_asked_not_to_be() -> None:
    with av.open(io.BytesIO(media.film("a", (64, 64), 0.5).data), "r") as container:
        assert not container.streams.audio
    assert np.abs(heard(media.film("a", (64, 64), 0.5, sound=True).data)).max() > 0.1


@pytest.mark.parametrize(
    ("made", "codec", "seconds"),
    [
        (media.music("calm"), "mp3float", 30.0),
        (media.music("calm", 1.0), "mp3float", 1.0),
        (media.effect("bang", 4.0), "mp3float", 4.0),
        (media.effect("bang", 1.5, "wav"), "pcm_s16le", 1.5),
        (media.speech("one two three"), "pcm_s16le", 0.66),
        (media.speech("one two three", "mp3"), "mp3float", 0.66),
    ],
)
def test_sound_can_be_heard(made: Made, codec: str, seconds: float) -> None:
    with av.open(io.BytesIO(made.data), "r") as container:
        assert container.streams.audio[0].codec_context.name == codec
    sound = heard(made.data)
    assert len(sound) / 44_100 == pytest.approx(seconds, abs=0.1)
    assert np.abs(sound).max() > 0.1


def test_a_sculpture_is_a_closed_ball_in_a_drawn_skin() -> None:
    made = media.sculpture("a teapot")
    scene = trimesh.load_scene(io.BytesIO(made.data), file_type="glb")
    (mesh,) = scene.geometry.values()
    assert isinstance(mesh, trimesh.Trimesh)
    assert len(mesh.faces) > 1000
    visual: Any = mesh.visual
    skin = visual.material.baseColorTexture
    assert skin.size == (512, 256)
    assert len(skin.getcolors(512 * 256)) > 100
    assert visual.uv.shape == (len(mesh.vertices), 2)
    assert visual.uv.min(axis=0).tolist() == [0, 0]
    assert visual.uv.max(axis=0).tolist() == [1, 1]
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    assert mesh.is_watertight
    assert mesh.volume > 1  # its faces look outwards
    assert made.data != media.sculpture("a kettle").data


def test_a_transcript_has_every_word_in_its_time() -> None:
    script = "Ann: Good morning!\nBob: Hello you."
    told = media.transcript(script)
    assert told["text"] == "Good morning! Hello you."
    assert told["language"] == "en"
    assert [word["text"] for word in told["words"]] == told["text"].split()
    assert [word["speaker"] for word in told["words"]] == ["Ann"] * 2 + ["Bob"] * 2
    times = [word[end] for word in told["words"] for end in ("start", "end")]
    assert times == sorted(times)
    first, second = told["segments"]
    assert (first["text"], first["speaker"]) == ("Good morning!", "Ann")
    assert (first["start"], first["end"]) == (times[0], times[3])
    assert (second["start"], second["end"]) == (times[4], times[-1])
    length = len(heard(media.speech(script).data)) / 44_100
    assert times[-1] < length < times[-1] + 0.1


def test_the_transcript_of_one_voice_is_its_script_to_the_letter() -> None:
    script = "Welcome to Stella. How can I help today?"
    assert media.transcript(script)["text"] == script
    assert media.transcript("")["segments"] == [
        {"text": "", "start": 0.0, "end": 0.0, "speaker": "speaker_0"}
    ]


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
    makers: list[Callable[[], Made]] = [
        lambda: media.film("a", (64, 64), 0.5, sound=True),
        lambda: media.music("a", 2.0),
        lambda: media.effect("a", 1.0),
        lambda: media.speech("a b c"),
        lambda: media.sculpture("a"),
    ]
    for make in makers:
        assert make().data == make().data
