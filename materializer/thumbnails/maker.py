"""The process that makes previews of pictures, and can do nothing else.

    python -m materializer.thumbnails.maker 7 8 9

says `ready`, and then for each picture that is open under one of these descriptors the
number of bytes of its preview in a line, 0 for none, and the preview itself.

What a decoder is fed comes from outside, and decoders have holes. So once its libraries
are loaded this process can open nothing any more, no file and no socket. It has the
memory that a picture of MAX_PIXELS takes, and for each picture so much time.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
import warnings
from collections.abc import Sequence
from math import ceil
from typing import IO

from PIL import Image, ImageOps

SIDE = 512
MAX_PIXELS = 2**26
MEMORY = 2**30
SECONDS = 10

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def preview(file: IO[bytes]) -> bytes:
    """Return a WebP of at most SIDE by SIDE; of what moves, the first picture.

    Raises what Pillow raises, which can be almost anything.
    """
    with Image.open(file, formats=_FORMATS) as opened:
        image: Image.Image = opened
        mode = "RGBA" if image.has_transparency_data else "RGB"
        # A JPEG is made smaller as it is read, unless it is converted before.
        if image.format != "JPEG" and image.mode != mode:
            image = image.convert(mode)
        image.thumbnail((SIDE, SIDE))
        upright = ImageOps.exif_transpose(image).convert(mode)
    made = io.BytesIO()
    upright.save(made, "WEBP", quality=80)
    return made.getvalue()


def main(descriptors: Sequence[int], out: IO[bytes]) -> None:
    """Give up what is not needed, then make a preview of each."""
    pictures = [os.fdopen(number, "rb") for number in descriptors]
    _confine(len(pictures))
    out.write(b"ready\n")
    out.flush()
    for file in pictures:
        _allow_time()
        try:
            made = preview(file)
        except Exception:  # noqa: BLE001 -- however broken it is, it has none
            made = b""
        out.write(b"%d\n" % len(made) + made)
        out.flush()
        file.close()


def _confine(pictures: int) -> None:
    # Whoever ends the daemon's whole group must not seem to be a picture's fault.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.nice(10)
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    _rehearse()
    limits = {
        resource.RLIMIT_CPU: SECONDS * (pictures + 1),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 0,
    }
    if sys.platform != "darwin":  # which refuses this one
        limits[resource.RLIMIT_AS] = MEMORY
    for limit, most in limits.items():
        resource.setrlimit(limit, (most, most))


def _rehearse() -> None:
    """Let Pillow load all that it loads late."""
    for form in (*_FORMATS, "MPO"):
        sample = io.BytesIO()
        Image.new("L", (1, 1)).save(sample, form)
        preview(sample)


def _allow_time() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    spent = resource.getrusage(resource.RUSAGE_SELF)
    until = ceil(spent.ru_utime + spent.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (min(until, most), most))


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1:]], sys.stdout.buffer)
