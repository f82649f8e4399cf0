from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from materializer.thumbnails import maker

CONFINED = """
import io, os, resource, signal, socket, sys
from materializer.thumbnails import maker
def tried(act):
    try:
        act()
    except OSError as error:
        return error.strerror
    return "it could"
maker._confine(1)
print(tried(socket.socket))
print(tried(lambda: open("/dev/null")))
print(resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_CPU))
print(os.nice(0), signal.getsignal(signal.SIGTERM).name)
"""

SLOW = """
import sys, time
from materializer.thumbnails import maker
def preview(file):
    until = time.process_time() + next(takes)
    while time.process_time() < until:
        pass
    return b"ok"
takes = iter([0.6, 0.6, 99])
maker.SECONDS, maker.preview, maker._rehearse = 1, preview, lambda: None
maker.main([int(number) for number in sys.argv[1:]], sys.stdout.buffer)
"""


def picture(size: tuple[int, int], mode: str = "RGB", form: str = "PNG") -> bytes:
    drawn = io.BytesIO()
    Image.new(mode, size).save(drawn, form)
    return drawn.getvalue()


def previewed(data: bytes) -> Image.Image:
    made = maker.preview(io.BytesIO(data))
    assert made[8:12] == b"WEBP"
    return Image.open(io.BytesIO(made))


def made(*pictures: Path) -> Sequence[bytes]:
    """Run the maker as it is run, and return what it says of each picture."""
    with ExitStack() as open_files:
        files = [open_files.enter_context(path.open("rb")) for path in pictures]
        numbers = [file.fileno() for file in files]
        ended = subprocess.run(
            [sys.executable, "-m", maker.__name__, *map(str, numbers)],
            pass_fds=numbers,
            capture_output=True,
            timeout=30,
        )
    assert (ended.returncode, ended.stderr) == (0, b"")
    said = io.BytesIO(ended.stdout)
    assert said.readline() == b"ready\n"
    previews = [said.read(int(said.readline())) for _ in pictures]
    assert said.read() == b""
    return previews


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_picture_of_any_mode_becomes_small_and_keeps_its_shape(mode: str) -> None:
    assert previewed(picture((1200, 600), mode)).size == (512, 256)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_picture_of_any_format_becomes_a_webp(form: str) -> None:
    assert previewed(picture((600, 1200), form=form)).size == (256, 512)


def test_a_small_picture_is_not_made_larger() -> None:
    assert previewed(picture((20, 10))).size == (20, 10)


def test_what_is_transparent_stays_so() -> None:
    assert previewed(picture((600, 600), "RGBA")).getpixel((9, 9)) == (0, 0, 0, 0)


def test_of_what_moves_the_first_picture_is_taken() -> None:
    drawn = io.BytesIO()
    red, blue = (Image.new("RGB", (9, 9), colour) for colour in ("red", "blue"))
    red.save(drawn, "WEBP", save_all=True, append_images=[blue], lossless=True)
    still = previewed(drawn.getvalue())
    assert getattr(still, "n_frames", 1) == 1
    colour = still.convert("RGB").getpixel((4, 4))
    assert isinstance(colour, tuple)
    assert colour[0] > 200 > 50 > colour[2]


def test_a_photograph_stands_upright() -> None:
    drawn = io.BytesIO()
    lying = Image.new("RGB", (1000, 500))
    turned = lying.getexif()
    turned[0x0112] = 6
    lying.save(drawn, "JPEG", exif=turned)
    assert previewed(drawn.getvalue()).size == (256, 512)


@pytest.mark.skipif("sys.platform == 'win32'", reason="it has no limits")
def test_it_can_open_nothing_has_little_and_goes_when_it_is_killed_only() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CONFINED], capture_output=True, text=True, timeout=30
    )
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == [
        "Too many open files",
        "Too many open files",
        f"({2**30}, {2**30}) (20, 20)",
        "10 SIG_IGN",
    ]


@pytest.mark.skipif("sys.platform == 'win32'", reason="it has no limits")
def test_bombs_and_broken_files_have_no_preview_and_the_others_do(
    tmp_path: Path,
) -> None:
    names = "one bomb large cut text good".split()
    one, bomb, large, cut, text, good = (tmp_path / name for name in names)
    one.write_bytes(picture((800, 400)))
    bomb.write_bytes(picture((30000, 30000), "1"))
    large.write_bytes(picture((8200, 8200), "L", "JPEG"))
    cut.write_bytes(picture((800, 400), form="JPEG")[:400])
    text.write_bytes(b"<svg onload='alert(1)'/>")
    good.write_bytes(picture((800, 400), form="WEBP"))
    assert bomb.stat().st_size < 10**6
    first, *none, last = made(one, bomb, large, cut, text, good)
    assert none == [b""] * 4
    for preview in (first, last):
        assert Image.open(io.BytesIO(preview)).size == (512, 256)


@pytest.mark.skipif("sys.platform == 'win32'", reason="it has no limits")
def test_every_picture_has_its_own_time_and_no_more(tmp_path: Path) -> None:
    picture_file = tmp_path / "picture"
    picture_file.touch()
    with ExitStack() as open_files:
        files = [open_files.enter_context(picture_file.open("rb")) for _ in range(3)]
        numbers = [file.fileno() for file in files]
        ended = subprocess.run(
            [sys.executable, "-c", SLOW, *map(str, numbers)],
            pass_fds=numbers,
            capture_output=True,
            timeout=30,
        )
    assert ended.stdout == b"ready\n" + b"2\nok" * 2
    assert ended.returncode == -signal.SIGXCPU
