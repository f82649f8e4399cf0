"""Media as real encoders make it, in many forms: Pillow, FFmpeg, trimesh, zipfile.

Every maker gives the bytes of one small file; what it made once is kept.
"""

from __future__ import annotations

import functools
import io
import tempfile
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import trimesh
from PIL import Image

WIDTH, HEIGHT = 150, 94
SECONDS = 2
RATE = 48000


class Pipe(io.RawIOBase):
    """Somewhere to write to that cannot seek back, as an encoder on a pipe has it."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.written += data
        return len(data)


def pixels(seed: int = 0) -> Any:
    """Something with detail, so that compression leaves more than headers."""
    noise = np.random.default_rng(seed).integers(0, 64, (HEIGHT, WIDTH, 3))
    slope = np.linspace(0, 190, WIDTH)[None, :, None]
    return (noise + slope).astype(np.uint8)


def samples() -> Any:
    """Two seconds of a tone in noise, mono, 16 bit."""
    time = np.arange(SECONDS * RATE) / RATE
    noise = np.random.default_rng(1).normal(0, 500, time.size)
    return (9000 * np.sin(2 * np.pi * 440 * time) + noise).astype(np.int16)[None, :]


@functools.cache
def picture(form: str, mode: str = "RGB", /, frames: int = 1, **options: Any) -> bytes:
    """Return a picture as Pillow saves it."""
    buffer = io.BytesIO()
    first, *others = [Image.fromarray(pixels(n)).convert(mode) for n in range(frames)]
    more = {"save_all": True, "append_images": others} if others else {}
    first.save(buffer, form, **more, **options)
    return buffer.getvalue()


@functools.cache
def sound(
    container: str, codec: str, layout: str = "mono", *, pipe: bool = False
) -> bytes:
    """Return two seconds of sound as FFmpeg writes them."""
    out: Any = Pipe() if pipe else io.BytesIO()
    with av.open(out, "w", format=container) as muxer:
        # FFmpeg's own Vorbis encoder has to be asked twice.
        own = {"strict": "-2"} if codec == "vorbis" else {}
        stream: Any = muxer.add_stream(codec, rate=RATE, layout=layout, options=own)
        wave = samples().repeat(2 if layout == "stereo" else 1, axis=1)
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout=layout)
        frame.rate = RATE
        muxer.mux(stream.encode(frame))
        muxer.mux(stream.encode())
    return bytes(out.written) if pipe else out.getvalue()


@functools.cache
def film(container: str, codec: str, *, pipe: bool = False, **options: str) -> bytes:
    """Return two seconds of film as FFmpeg writes them."""
    with tempfile.TemporaryDirectory() as directory:
        # On a path, since FFmpeg reads back what it wrote to put the index in front.
        path = Path(directory) / "film"
        out = Pipe()
        with av.open(
            out if pipe else str(path), "w", format=container, options=options
        ) as muxer:
            stream: Any = muxer.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.gop_size = 5
            for n in range(10 * SECONDS):
                muxer.mux(stream.encode(av.VideoFrame.from_ndarray(pixels(n))))
            muxer.mux(stream.encode())
        return bytes(out.written) if pipe else path.read_bytes()


@functools.cache
def wav(width: int = 2) -> bytes:
    """Return two seconds of noise as the standard library writes them."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(width)
        out.setframerate(8000)
        out.writeframes(np.random.default_rng(2).bytes(SECONDS * 8000 * width))
    return buffer.getvalue()


@functools.cache
def mesh(form: str, **options: Any) -> bytes:
    """Return a ball as trimesh exports it."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    data = ball.export(file_type=form, **options)
    if isinstance(data, dict):  # a glTF and its buffers
        data = data["model.gltf"]
    return data if isinstance(data, bytes) else str(data).encode()


@functools.cache
def archive(
    name: str = "a.bin",
    compression: int = zipfile.ZIP_DEFLATED,
    comment: bytes = b"",
) -> bytes:
    """Return a zip of two members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as out:
        out.writestr(name, np.random.default_rng(3).bytes(3000))
        out.writestr("b.txt", "b" * 3000)
        out.comment = comment
    return buffer.getvalue()


def heic() -> bytes:
    """Return a HEIF file whose brand says HEIC; no encoder here makes a real one."""
    return picture("AVIF").replace(b"avif", b"heic", 2)


def motion_photo() -> bytes:
    """Return a photo with a film behind it, as telephones make them."""
    return picture("JPEG") + film("mp4", "libx264")


# Files whose end can be told: a name, the extension, the maker.
Maker = Callable[[], bytes]
_MODES = {
    "PNG": ("png", "1 L LA P RGB RGBA I;16"),
    "JPEG": ("jpg", "L RGB CMYK"),
    "GIF": ("gif", "1 L P RGB RGBA"),
    "WEBP": ("webp", "L RGB RGBA"),
    "AVIF": ("avif", "L RGB RGBA"),
}
_FRAGMENTS = "frag_keyframe+empty_moov"
ENDED: dict[str, tuple[str, Maker]] = {
    f"{form} {mode}": (extension, functools.partial(picture, form, mode))
    for form, (extension, modes) in _MODES.items()
    for mode in modes.split()
} | {
    "PNG animated": ("png", functools.partial(picture, "PNG", frames=3)),
    "JPEG progressive": ("jpg", functools.partial(picture, "JPEG", progressive=True)),
    "JPEG with a comment": (
        "jpg",
        functools.partial(picture, "JPEG", comment=b"a mark \xff\xd9 in words"),
    ),
    "GIF animated": ("gif", functools.partial(picture, "GIF", frames=3)),
    "GIF interlaced": ("gif", functools.partial(picture, "GIF", interlace=1)),
    "WEBP lossless": ("webp", functools.partial(picture, "WEBP", lossless=True)),
    "WEBP animated": ("webp", functools.partial(picture, "WEBP", frames=3)),
    "AVIF animated": ("avif", functools.partial(picture, "AVIF", frames=3)),
    "HEIC": ("heic", heic),
    "MP4": ("mp4", functools.partial(film, "mp4", "libx264")),
    "MP4 index in front": (
        "mp4",
        functools.partial(film, "mp4", "libx264", movflags="faststart"),
    ),
    "MP4 fragmented": (
        "mp4",
        functools.partial(film, "mp4", "libx264", movflags=_FRAGMENTS),
    ),
    "MP4 fragmented on a pipe": (
        "mp4",
        functools.partial(film, "mp4", "libx264", pipe=True, movflags=_FRAGMENTS),
    ),
    "MP4 with an index of fragments": (
        "mp4",
        functools.partial(film, "mp4", "libx264", movflags="dash+global_sidx"),
    ),
    "MP4 for streaming": (
        "mp4",
        functools.partial(film, "mp4", "libx264", movflags="cmaf+frag_keyframe"),
    ),
    "MOV": ("mov", functools.partial(film, "mov", "libx264")),
    "M4A": ("m4a", functools.partial(sound, "ipod", "aac")),
    "M4A lossless": ("m4a", functools.partial(sound, "ipod", "alac")),
    "WebM VP8": ("webm", functools.partial(film, "webm", "libvpx")),
    "WebM VP9": ("webm", functools.partial(film, "webm", "libvpx-vp9")),
    "WebM live": ("webm", functools.partial(film, "webm", "libvpx", live="1")),
    "WebM on a pipe": ("webm", functools.partial(film, "webm", "libvpx", pipe=True)),
    "WebM index in front": (
        "webm",
        functools.partial(
            film, "webm", "libvpx", cues_to_front="1", reserve_index_space="1000"
        ),
    ),
    "WebM sound": ("webm", functools.partial(sound, "webm", "libopus")),
    "MKV": ("mkv", functools.partial(film, "matroska", "libx264")),
    "MKV on a pipe": ("mkv", functools.partial(film, "matroska", "libx264", pipe=True)),
    "AVI": ("avi", functools.partial(film, "avi", "mpeg4")),
    "WAV 16 bit": ("wav", wav),
    "WAV 24 bit": ("wav", functools.partial(wav, 3)),
    "WAV float": ("wav", functools.partial(sound, "wav", "pcm_f32le")),
    "AIFF": ("aiff", functools.partial(sound, "aiff", "pcm_s16be")),
    "FLAC": ("flac", functools.partial(sound, "flac", "flac")),
    "Ogg Vorbis": ("ogg", functools.partial(sound, "ogg", "vorbis", "stereo")),
    "Opus": ("opus", functools.partial(sound, "ogg", "libopus")),
    "GLB": ("glb", functools.partial(mesh, "glb")),
    "ZIP": ("zip", archive),
    "ZIP stored": ("zip", functools.partial(archive, compression=zipfile.ZIP_STORED)),
    "ZIP with a comment": ("zip", functools.partial(archive, comment=b"hello " * 9)),
    "USDZ": (
        "usdz",
        functools.partial(archive, "scene.usdc", compression=zipfile.ZIP_STORED),
    ),
}

# Files whose writer did not know, or whose format does not tell, where they end.
ENDLESS: dict[str, tuple[str, Maker]] = {
    "motion photo": ("jpg", motion_photo),
    "two pictures in one": ("jpg", functools.partial(picture, "MPO", frames=2)),
    "WAV on a pipe": ("wav", functools.partial(sound, "wav", "pcm_s16le", pipe=True)),
    "AIFF on a pipe": (
        "aiff",
        functools.partial(sound, "aiff", "pcm_s16be", pipe=True),
    ),
    "AVI on a pipe": ("avi", functools.partial(film, "avi", "mpeg4", pipe=True)),
    "FLAC on a pipe": ("flac", functools.partial(sound, "flac", "flac", pipe=True)),
    "MP3": ("mp3", functools.partial(sound, "mp3", "libmp3lame")),
    "AAC": ("aac", functools.partial(sound, "adts", "aac")),
    "BMP": ("bmp", functools.partial(picture, "BMP")),
    "TIFF": ("tiff", functools.partial(picture, "TIFF")),
    "TIFF compressed": (
        "tiff",
        functools.partial(picture, "TIFF", compression="tiff_lzw"),
    ),
    "ICO": ("ico", functools.partial(picture, "ICO")),
    "STL": ("stl", functools.partial(mesh, "stl")),
    "STL in letters": ("stl", functools.partial(mesh, "stl_ascii")),
    "OBJ": ("obj", functools.partial(mesh, "obj")),
    "PLY": ("ply", functools.partial(mesh, "ply")),
    "PLY in letters": ("ply", functools.partial(mesh, "ply", encoding="ascii")),
    "glTF": ("gltf", functools.partial(mesh, "gltf")),
    "PDF": ("pdf", functools.partial(picture, "PDF")),
}
MADE = ENDED | ENDLESS
