"""How each order is carried out: one recipe a capability.

A recipe returns the job's output in the provider's shape, with a `Made` wherever a
URL belongs. It blocks, so it is called in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

from materializer.devserver import (
    film_recipes,
    films,
    measures,
    media,
    pictures,
    separation,
    sounds,
    voice,
)
from materializer.devserver.bench import Bench
from materializer.devserver.catalog import Order
from materializer.devserver.media import Made
from materializer.devserver.sources import SourceUnusable

UNKNOWN_SPEECH = "The embedded backend heard this."
"""What is written down of speech that was not made here."""

_ICON = (512, 512)

Recipe = Callable[[Order, Bench], dict[str, Any]]


def make(order: Order, bench: Bench) -> dict[str, Any]:
    """Carry an order out.

    Raises:
        SourceUnusable: it cannot be made of what was given.
    """
    return RECIPES[order.capability.id](order, bench)


def _images(order: Order, _: Bench) -> dict[str, Any]:
    return _drawn(order, measures.image_size(order))


def _icon(order: Order, _: Bench) -> dict[str, Any]:
    return _drawn(order, _ICON)


def _edit(order: Order, bench: Bench) -> dict[str, Any]:
    given = [pictures.opened(data) for data in bench.given(order, "picture")]
    if not given:
        raise SourceUnusable("no picture was given")
    masks = [pictures.opened(data) for data in bench.given(order, "mask")]
    size = measures.image_size(order, given[0].size)
    before = pictures.fitted(given[0], size)
    results = []
    for number in range(measures.count(order)):
        after = pictures.edited(before, order.prompt, f"\n{number}")
        pictures.inset(after, given[1:])
        if masks:
            after = pictures.masked(before, after, masks[0])
        form, quality = measures.picture_form(order), measures.quality(order)
        results.append(_picture(media.picture_of(after, form, quality), size))
    return {"images": results}


def _realtime(order: Order, bench: Bench) -> dict[str, Any]:
    if bench.given(order, "picture"):
        return _edit(order, bench)
    return _drawn(order, measures.image_size(order, _ICON))


def _dialogue(order: Order, bench: Bench) -> dict[str, Any]:
    return {"audio": _spoken(order, str(order.fields.get("text", "")), bench)}


def _effect(order: Order, _: Bench) -> dict[str, Any]:
    return {"audio": _noise(order)}


def _audio(order: Order, bench: Bench) -> dict[str, Any]:
    """Say what stands in quotation marks or is a dialogue; make a noise of the rest."""
    script = voice.script_in(order.prompt)
    return {"audio": _spoken(order, script, bench) if script else _noise(order)}


def _transcript(order: Order, bench: Bench) -> dict[str, Any]:
    digest = sha256(bench.needed(order, "sound")).hexdigest()
    return media.transcript(bench.spoken.get(digest, UNKNOWN_SPEECH))


def _separated(order: Order, bench: Bench) -> dict[str, Any]:
    film = bench.needed(order, "film")
    mix = sounds.decoded((bench.given(order, "sound") or [film])[0])
    if mix is None:
        raise SourceUnusable("it has no sound")
    target, residual = separation.separated(mix, films.opened(film))
    return {
        "target": _file(media.sound_of(target, "wav"), "target"),
        "residual": _file(media.sound_of(residual, "wav"), "residual"),
        "duration": mix.shape[1] / sounds.SAMPLES_A_SECOND,
        "sample_rate": sounds.SAMPLES_A_SECOND,
    }


def _music(order: Order, _: Bench) -> dict[str, Any]:
    prompts = order.fields.get("weightedPrompts") or [{"text": order.prompt}]
    told = "\n".join(f"{one.get('text')} {one.get('weight', 1)}" for one in prompts)
    # Music comes from Convex storage, whose links have no extension.
    made = replace(media.music(told, style=measures.style(order)), extension="")
    return {
        "audio": {"url": made, "mimeType": made.mime_type},
        "promptLabel": order.fields.get("promptLabel"),
        "textParts": [],
    }


def _model(order: Order, _: Bench) -> dict[str, Any]:
    return {"model_mesh": _file(media.sculpture(order.prompt), "model")}


RECIPES: dict[str, Recipe] = {
    "text_to_image": _images,
    "icon": _icon,
    "image_edit": _edit,
    "realtime": _realtime,
    "text_to_video": film_recipes.from_words,
    "image_to_video": film_recipes.from_still,
    "video_extend": film_recipes.extended,
    "video_to_video": film_recipes.transformed,
    "text_to_dialogue": _dialogue,
    "sound_effects": _effect,
    "audio_generation": _audio,
    "speech_to_text": _transcript,
    "audio_visual_separate": _separated,
    "text_to_music": _music,
    "text_to_3d": _model,
}


def _drawn(order: Order, size: tuple[int, int]) -> dict[str, Any]:
    form, quality = measures.picture_form(order), measures.quality(order)
    cut_out = measures.is_cut_out(order)
    made = [
        media.picture(order.prompt, number, size, form, quality, cut_out=cut_out)
        for number in range(measures.count(order))
    ]
    return {"images": [_picture(one, size) for one in made]}


def _picture(made: Made, size: tuple[int, int]) -> dict[str, Any]:
    width, height = size
    return {
        "url": made,
        "content_type": made.mime_type,
        "width": width,
        "height": height,
    }


def _spoken(order: Order, script: str, bench: Bench) -> dict[str, Any]:
    made = media.speech(script, measures.sound_form(order, "wav"))
    bench.spoken[sha256(made.data).hexdigest()] = script
    return _file(made, "speech")


def _noise(order: Order) -> dict[str, Any]:
    seconds, form = measures.sound_seconds(order), measures.sound_form(order, "mp3")
    made = media.effect(str(order.fields.get("text") or order.prompt), seconds, form)
    return _file(made, "audio")


def _file(made: Made, name: str) -> dict[str, Any]:
    return {
        "url": made,
        "content_type": made.mime_type,
        "file_name": f"{name}.{made.extension}",
        "file_size": len(made.data),
    }
