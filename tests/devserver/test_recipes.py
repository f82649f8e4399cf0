from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from materializer.devserver import media, pictures, sounds
from materializer.devserver.bench import Bench
from materializer.devserver.catalog import CAPABILITIES
from materializer.devserver.media import Made
from materializer.devserver.recipes import RECIPES, UNKNOWN_SPEECH, make
from materializer.devserver.sources import SourceUnusable
from senses import difference, heard, likeness, onsets, ordered, seen

SCENE = "Ann: Good morning!\nBob: Is it? I wonder."


def bench(**sources: bytes) -> Bench:
    return Bench(sources, {})


def images(output: dict[str, Any]) -> list[Image.Image]:
    """Open the pictures of an output; each is as large as it is said to be."""
    found: list[Image.Image] = []
    for entry in output["images"]:
        with Image.open(io.BytesIO(entry["url"].data)) as image:
            image.load()
        assert image.size == (entry["width"], entry["height"])
        assert entry["content_type"] == entry["url"].mime_type
        found.append(image)
    return found


def sound(file: dict[str, Any]) -> bytes:
    assert file["content_type"] == file["url"].mime_type
    assert file["file_size"] == len(file["url"].data)
    return bytes(file["url"].data)


def test_whatever_can_be_ordered_can_be_made() -> None:
    assert RECIPES.keys() == CAPABILITIES.keys()


def test_pictures_come_in_the_number_format_and_size_asked_for() -> None:
    order = ordered(
        "text_to_image",
        num_images=3,
        output_format="webp",
        image_size={"width": 320, "height": 200},
    )
    found = images(make(order, bench()))
    assert [(image.size, image.format) for image in found] == [((320, 200), "WEBP")] * 3
    assert len({image.tobytes() for image in found}) == 3


def test_the_best_picture_has_more_to_see_than_the_fast_one() -> None:
    def colours(profile: str, quality: str) -> int:
        order = ordered("text_to_image", profile, quality=quality)
        (image,) = images(make(order, bench()))
        return len(image.getcolors(1 << 20) or ())

    assert colours("fast", "low") < colours("best", "low") < colours("best", "high")


def test_an_icon_is_square_whatever_is_asked() -> None:
    order = ordered("icon", aspect_ratio="16:9", image_size={"width": 64, "height": 32})
    assert images(make(order, bench()))[0].size == (512, 512)


def test_an_icon_can_have_a_transparent_ground() -> None:
    (image,) = images(make(ordered("icon", background="transparent"), bench()))
    assert image.getchannel("A").getextrema() == (0, 255)


SOURCE = media.picture("the source", 0, (320, 200), "jpeg", "high").data


def test_an_edit_changes_the_very_picture_that_was_given() -> None:
    order = ordered("image_edit", image_urls=["a"], num_images=2)
    found = images(make(order, bench(a=SOURCE)))
    assert len({image.tobytes() for image in found}) == 2
    for image in found:
        pixels = np.asarray(image.convert("RGB"), np.int16)
        assert difference(pixels, seen(SOURCE)) > 5
        assert likeness(pixels, seen(SOURCE)) > 0.6
    other = media.picture("another", 0, (320, 200), "jpeg", "high").data
    (image,) = images(make(ordered("image_edit", image_urls=["a"]), bench(a=other)))
    assert likeness(np.asarray(image, np.int16), seen(SOURCE)) < 0.6


def test_an_edit_has_the_size_asked_for() -> None:
    order = ordered("image_edit", image_urls=["a"], aspect_ratio="1:1")
    assert images(make(order, bench(a=SOURCE)))[0].size == (1024, 1024)


def test_an_edit_leaves_what_the_mask_covers() -> None:
    half = Image.new("L", (320, 200))
    half.paste(255, (0, 0, 320, 150))
    order = ordered("image_edit", image_urls=["a"], mask_url="m")
    (image,) = images(make(order, bench(a=SOURCE, m=pictures.encoded(half, "png"))))
    pixels = np.asarray(image, np.int16)
    assert np.array_equal(pixels[150:], seen(SOURCE)[150:])
    assert difference(pixels[:150], seen(SOURCE)[:150]) > 5


def test_an_edit_shows_the_other_pictures_as_well() -> None:
    red = pictures.encoded(Image.new("RGB", (9, 9), "red"), "png")
    order = ordered("image_edit", image_urls=["a", "r"])
    (image,) = images(make(order, bench(a=SOURCE, r=red)))
    assert image.getpixel((10, 190)) == (255, 0, 0)


def test_realtime_edits_what_it_is_given_and_else_draws() -> None:
    (drawn,) = images(make(ordered("realtime"), bench()))
    assert drawn.size == (512, 512)
    (edited,) = images(make(ordered("realtime", image_url="a"), bench(a=SOURCE)))
    assert likeness(np.asarray(edited, np.int16), seen(SOURCE)) > 0.6


@pytest.mark.parametrize("form", ["", "mp3_44100_128"])
def test_speech_gives_back_the_words_of_its_dialogue(form: str) -> None:
    place = bench()
    order = ordered("text_to_dialogue", text=SCENE, output_format=form)
    data = sound(make(order, place)["audio"])
    assert data[:4] == (b"RIFF" if not form else b"ID3\x04")
    heard_again = Bench({"a": data}, place.spoken)
    told = make(ordered("speech_to_text", audio_url="a"), heard_again)
    assert told["text"] == "Good morning! Is it? I wonder."
    assert [word["text"] for word in told["words"]] == told["text"].split()
    assert len(heard(data)) / 44_100 > told["words"][-1]["end"]
    other = Bench({"a": data + b"\0"}, place.spoken)
    told = make(ordered("speech_to_text", audio_url="a"), other)
    assert told == media.transcript(UNKNOWN_SPEECH)


def test_a_transcript_needs_a_sound() -> None:
    with pytest.raises(SourceUnusable, match="no sound was given"):
        make(ordered("speech_to_text"), bench())


def test_a_sound_effect_has_its_duration_and_its_text() -> None:
    def effect(text: str) -> bytes:
        order = ordered("sound_effects", prompt="", text=text, duration_seconds=3.5)
        return sound(make(order, bench())["audio"])

    assert len(heard(effect("bang"))) / 44_100 == pytest.approx(3.5, abs=0.06)
    assert effect("bang") == effect("bang") != effect("hiss")


def test_generated_audio_is_speech_where_something_is_to_be_said() -> None:
    place = bench()
    order = ordered("audio_generation", prompt='A guard says "mind the gap".')
    speech = make(order, place)["audio"]
    assert sound(speech)[:4] == b"RIFF"
    assert [*place.spoken.values()] == ["mind the gap"]
    order = ordered("audio_generation", prompt="rain on tin", duration_seconds=2)
    noise = make(order, place)["audio"]
    assert len(heard(sound(noise))) / 44_100 == pytest.approx(2, abs=0.06)
    assert len(place.spoken) == 1


@pytest.mark.parametrize("form", ["wav", "mp3"])
def test_stems_sum_to_the_mix_within_rounding(form: str) -> None:
    talk = media.speech("one two three four five six", form).data
    film = media.film("a", (160, 90), 1.0).data
    order = ordered("audio_visual_separate", audio_url="a", video_url="v")
    told = make(order, bench(a=talk, v=film))
    mix = sounds.decoded(talk)
    assert mix is not None
    stems = [sounds.decoded(sound(told[name])) for name in ("target", "residual")]
    assert stems[0] is not None
    assert stems[1] is not None
    assert np.abs(stems[0].astype(int) + stems[1] - mix).max() <= 1
    assert all(stem is not None and stem.any() for stem in stems)
    assert told["duration"] == mix.shape[1] / told["sample_rate"]


def test_without_a_sound_of_its_own_the_film_is_taken_apart() -> None:
    film = media.film("a", (160, 90), 1.0, sound=True).data
    order = ordered("audio_visual_separate", video_url="v")
    assert make(order, bench(v=film))["duration"] == pytest.approx(1, abs=0.05)
    with pytest.raises(SourceUnusable, match="it has no sound"):
        make(order, bench(v=media.film("a", (160, 90), 1.0).data))


def test_music_has_a_label_and_a_link_without_extension() -> None:
    config = {"bpm": 120, "density": 0.5, "brightness": 0.5, "temperature": 1}
    prompts = [{"text": "lofi", "weight": 1}, {"text": "guitars", "weight": -0.6}]
    order = ordered(
        "text_to_music",
        weightedPrompts=prompts,
        musicGenerationConfig=config,
        promptLabel="Rainy tape",
    )
    output = make(order, bench())
    assert output.keys() == {"audio", "promptLabel", "textParts"}
    assert (output["promptLabel"], output["textParts"]) == ("Rainy tape", [])
    assert output["audio"].keys() == {"url", "mimeType"}
    assert output["audio"]["mimeType"] == "audio/mpeg"
    made = output["audio"]["url"]
    assert made.extension == ""
    played = heard(made.data)
    assert len(played) / 44_100 == pytest.approx(30, abs=0.1)
    assert np.diff(onsets(played)) == pytest.approx(0.5, abs=0.021)
    prompts[1]["weight"] = 0.6
    assert make(order, bench())["audio"]["url"].data != made.data


def test_a_model_is_a_file_with_a_name_and_a_size() -> None:
    mesh = make(ordered("text_to_3d"), bench())["model_mesh"]
    assert isinstance(mesh["url"], Made)
    assert mesh["file_name"] == "model.glb"
    assert sound(mesh)[:4] == b"glTF"
