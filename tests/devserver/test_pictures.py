from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from materializer.devserver import pictures
from materializer.devserver.sources import SourceUnusable
from senses import difference, likeness, seen

SIZE = (320, 200)


def png(image: Image.Image) -> bytes:
    return pictures.encoded(image, "png")


def edges(image: Image.Image) -> int:
    """Return how many pixels differ much from their neighbours on the left."""
    steps = np.abs(np.diff(np.asarray(image, np.int16), axis=1)).max(axis=2)
    return int((steps > 30).sum())


def test_the_prompt_is_written_into_the_picture_in_white() -> None:
    pixels = seen(png(pictures.drawn("mmmmmmmm", (480, 480))))
    assert pixels[:100].min(axis=2).max() > 250
    assert pixels[100:].min(axis=2).max() < 250


def test_pictures_differ_by_prompt_and_by_variant_and_by_nothing_else() -> None:
    def drawn(prompt: str, variant: str) -> bytes:
        return png(pictures.drawn(prompt, (64, 64), variant=variant))

    assert drawn("a", "0") == drawn("a", "0")
    assert len({drawn("a", "0"), drawn("a", "1"), drawn("b", "0")}) == 3


def test_more_quality_is_more_to_see() -> None:
    found = [
        edges(pictures.drawn("a fox", SIZE, quality=quality))
        for quality in ("", "low", "medium", "high")
    ]
    assert found == sorted(set(found))


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_more_quality_is_written_with_less_loss(form: str) -> None:
    image = pictures.drawn("a fox", SIZE, quality="high")
    losses = [
        difference(seen(pictures.encoded(image, form, quality)), seen(png(image)))
        for quality in ("low", "medium", "high")
    ]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 1.2 * losses[-1]


def test_recolouring_changes_every_colour_and_keeps_the_shapes() -> None:
    before = pictures.drawn("a fox", SIZE, quality="high")
    for prompt in ("winter", "summer", "rust"):
        after = seen(png(pictures.recoloured(before, prompt)))
        assert difference(after, seen(png(before))) > 10
        assert likeness(after, seen(png(before))) > 0.7


def test_an_edit_writes_the_prompt_into_the_picture() -> None:
    dark = Image.new("RGB", SIZE, "navy")
    pixels = seen(png(pictures.edited(dark, "mmmm")))
    assert pixels[:100].max() < 250 < pixels[100:].min(axis=2).max()


def test_what_is_grey_or_white_is_recoloured_too() -> None:
    for grey in ("white", "gray", "black"):
        before = Image.new("RGB", SIZE, grey)
        after = pictures.recoloured(before, "winter")
        assert difference(seen(png(after)), seen(png(before))) > 3


def test_no_strength_is_no_change() -> None:
    before = pictures.drawn("a fox", SIZE)
    assert png(pictures.recoloured(before, "winter", 0)) == png(before)
    assert png(pictures.tinted(before, (200, 0, 0), 0)) == png(before)


def test_tinting_brings_a_picture_towards_a_colour() -> None:
    before = pictures.drawn("a fox", SIZE, quality="high")
    red, green, blue = pictures.colour(pictures.tinted(before, (200, 20, 0), 1))
    assert red > 5 * green > 0 == blue
    assert pictures.colour(Image.new("RGB", SIZE, (9, 8, 7))) == (9, 8, 7)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_only_what_the_mask_opens_is_changed(mode: str) -> None:
    before = pictures.drawn("a fox", SIZE)
    if mode == "RGBA":  # open where it is transparent
        mask = Image.new("RGBA", SIZE, (0, 0, 0, 255))
        mask.paste((0, 0, 0, 0), (0, 0, 160, 200))
    else:  # open where it is white
        mask = Image.new("RGB", SIZE, "black")
        mask.paste("white", (0, 0, 160, 200))
    after = pictures.masked(before, pictures.edited(before, "winter"), mask)
    was, now = seen(png(before)), seen(png(after))
    assert difference(now[:, :160], was[:, :160]) > 3
    assert np.array_equal(now[:, 160:], was[:, 160:])


def test_other_pictures_are_put_in_along_the_lower_edge() -> None:
    image = Image.new("RGB", (400, 200), "white")
    pictures.inset(image, [Image.new("RGB", (9, 99), c) for c in ("red", "blue")])
    assert image.getpixel((25, 175)) == (255, 0, 0)
    assert image.getpixel((75, 175)) == (0, 0, 255)
    assert image.getpixel((125, 175)) == image.getpixel((25, 100)) == (255, 255, 255)


def test_a_cut_out_picture_has_transparent_corners() -> None:
    image = pictures.cut_out(pictures.drawn("a fox", SIZE))
    alpha = image.getchannel("A")
    assert alpha.getpixel((0, 0)) == 0
    assert alpha.getpixel((160, 100)) == 255
    jpeg = pictures.encoded(image, "jpeg")
    assert seen(jpeg).shape == (200, 320, 3)


def test_a_fitted_picture_is_cut_not_squeezed() -> None:
    image = Image.new("RGB", (400, 100), "white")
    image.paste("black", (0, 0, 100, 100))
    assert pictures.colour(pictures.fitted(image, (100, 100))) == (255, 255, 255)
    assert pictures.fitted(image, (400, 100)) is image


def test_a_picture_is_opened_upright_and_with_its_alpha() -> None:
    out = io.BytesIO()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (30, 10)).save(out, "jpeg", exif=turned)
    assert pictures.opened(out.getvalue()).size == (10, 30)
    assert pictures.opened(png(Image.new("RGBA", (5, 5)))).mode == "RGBA"
    assert pictures.opened(png(Image.new("L", (5, 5)))).mode == "RGB"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it cannot be read as a picture"),
        (b"hello", "it cannot be read as a picture"),
        (png(Image.new("RGB", SIZE))[:60], "it cannot be read as a picture"),
        (png(Image.new("1", (8000, 8000))), "its picture is too large"),
        (png(Image.new("1", (20000, 20000))), "it cannot be read as a picture"),
    ],
    ids=["empty", "text", "cut", "large", "bomb"],
)
def test_what_is_no_usable_picture_is_told(data: bytes, why: str) -> None:
    with pytest.raises(SourceUnusable, match=why):
        pictures.opened(data)
