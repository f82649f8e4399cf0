"""Pictures: drawn from words, opened, changed and written; the room of Pillow."""

from __future__ import annotations

import io
import textwrap
from hashlib import sha256

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from materializer.devserver.sources import SourceUnusable

_MOST_PIXELS = 40_000_000
_SHAPES = {"low": 6, "medium": 24, "high": 96}
_WRITTEN_WITH = {"low": 75, "medium": 85, "high": 95}
_SWAPS = ((1, 2, 0), (2, 0, 1), (2, 1, 0))


def seed(text: str) -> bytes:
    """Return 32 bytes that the text decides."""
    return sha256(text.encode(errors="surrogatepass")).digest()


def drawn(
    prompt: str, size: tuple[int, int], *, variant: str = "", quality: str = ""
) -> Image.Image:
    """Draw the prompt: its words on colours that it decides.

    Args:
        prompt: what is written.
        size: width and height.
        variant: makes another picture of the same prompt.
        quality: low, medium or high draws ever more shapes; without it, none.
    """
    width, height = size
    bytes_ = seed(prompt + variant)
    ends = np.frombuffer(bytes_, np.uint8)[:6].reshape(2, 3) * 0.6
    slope = np.linspace(0, 1, height)[:, None, None]
    column = ends[0] * (1 - slope) + ends[1] * slope
    pixels = np.broadcast_to(column, (height, width, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    _scatter(image, bytes_, _SHAPES.get(quality, 0))
    inscribe(image, prompt or "untitled")
    return image


def inscribe(image: Image.Image, text: str, *, low: bool = False) -> None:
    """Write a text into the picture: from its upper left corner on, or further down."""
    letter = max(12, image.width // 24)
    at = (image.width // 6, image.height * 3 // 5) if low else (letter, letter)
    font = ImageFont.load_default(letter)
    pen = ImageDraw.Draw(image)
    lines = textwrap.fill(text[:400], 36)
    pen.text(at, lines, "white", font, stroke_width=letter // 12, stroke_fill="black")


def opened(data: bytes) -> Image.Image:
    """Return the picture in a file, upright, its colours as RGB or RGBA.

    Raises:
        SourceUnusable: it is none, or a huge one.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise SourceUnusable("its picture is too large")
            upright = ImageOps.exif_transpose(image)
            return upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        ValueError,
        SyntaxError,
    ) as error:
        raise SourceUnusable("it cannot be read as a picture") from error


def recoloured(image: Image.Image, by: str, strength: float = 0.5) -> Image.Image:
    """Return the picture in other colours, which `by` decides; its shapes stay.

    Args:
        image: its alpha channel stays as it is.
        by: any text.
        strength: 0 changes nothing, 1 leaves the least of the old colours.
    """
    bytes_ = seed(by)
    swap = _SWAPS[bytes_[0] % len(_SWAPS)]
    keep, mix, tint = 1 - strength, strength * 0.7, strength * 0.3
    matrix: list[float] = []
    for channel in range(3):
        row = [0.0, 0.0, 0.0, bytes_[1 + channel] * tint]
        row[channel] += keep
        row[swap[channel]] += mix
        matrix += row
    changed = image.convert("RGB").convert("RGB", tuple(matrix))
    if image.mode == "RGBA":
        changed.putalpha(image.getchannel("A"))
    return changed


def edited(image: Image.Image, prompt: str, variant: str = "") -> Image.Image:
    """Return the picture as the prompt changes it: recoloured, and inscribed."""
    changed = recoloured(image, prompt + variant)
    inscribe(changed, prompt, low=True)
    return changed


def inset(image: Image.Image, others: list[Image.Image]) -> None:
    """Put the others into the picture, small, along its lower edge."""
    edge = max(1, min(image.size) // 4)
    for place, other in enumerate(others):
        small = ImageOps.fit(other.convert("RGB"), (edge, edge))
        image.paste(small, (place * edge, image.height - edge))


def colour(image: Image.Image) -> tuple[int, int, int]:
    """Return the mean colour of a picture."""
    red, green, blue = np.asarray(image.convert("RGB")).mean(axis=(0, 1))
    return round(red), round(green), round(blue)


def tinted(
    image: Image.Image, towards: tuple[int, int, int], strength: float
) -> Image.Image:
    """Return the picture with its light in that colour, the more the stronger."""
    matrix: list[float] = []
    for channel in range(3):
        share = strength * towards[channel] / max(1, *towards)
        row = [0.3 * share, 0.59 * share, 0.11 * share, 0.0]
        row[channel] += 1 - strength
        matrix += row
    return image.convert("RGB").convert("RGB", tuple(matrix))


def masked(before: Image.Image, after: Image.Image, mask: Image.Image) -> Image.Image:
    """Return `after` where the mask says so, `before` elsewhere.

    A mask with an alpha channel is open where it is transparent, another where it is
    white.
    """
    if mask.mode == "RGBA":
        openings = ImageOps.invert(mask.getchannel("A"))
    else:
        openings = mask.convert("L")
    return Image.composite(
        after.convert(before.mode), before, openings.resize(before.size)
    )


def fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the picture filling that size, cut where its shape is another."""
    return image if image.size == size else ImageOps.fit(image, size)


def cut_out(image: Image.Image) -> Image.Image:
    """Return the picture on a transparent ground: a disc of it stays."""
    disc = Image.new("L", image.size)
    ImageDraw.Draw(disc).ellipse((0, 0, *image.size), 255)
    image = image.copy()
    image.putalpha(disc)
    return image


def encoded(image: Image.Image, form: str, quality: str = "") -> bytes:
    """Return the picture as a file: `form` is png, jpeg or webp."""
    out = io.BytesIO()
    if form == "png":
        image.save(out, form, compress_level=4)
    else:
        still = image.convert("RGB") if form == "jpeg" else image
        still.save(out, form, quality=_WRITTEN_WITH.get(quality, 75))
    return out.getvalue()


def _scatter(image: Image.Image, bytes_: bytes, count: int) -> None:
    chance = np.random.default_rng(list(bytes_))
    pen = ImageDraw.Draw(image)
    radius = max(2, min(image.size) // 16)
    for _ in range(count):
        x, y = chance.random(2) * image.size
        red, green, blue = (int(part) for part in chance.integers(40, 200, 3))
        pen.circle((float(x), float(y)), radius, (red, green, blue))
