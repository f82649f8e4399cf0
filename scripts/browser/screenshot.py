"""Makes docs/display.png: the page with an output of every kind."""

from __future__ import annotations

import asyncio
import base64
import tempfile
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium.webdriver.support.wait import WebDriverWait

from materializer.config import Paths
from materializer.devserver import media
from materializer.devserver.app import Backend
from scripts.browser.chromium import chromium, emulate
from scripts.browser.commands import running

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "display.png"
_SIZE = (1180, 1000)
_PATIENCE = 60.0
_COMPLETE = """
const [...cards] = document.querySelectorAll(".card");
const [...pictures] = document.querySelectorAll(".card img");
return cards.length === arguments[0]
  && pictures.every((it) => it.complete)
  && document.querySelector("canvas.still")
  && document.querySelector(".card .excerpt").textContent
  && document.querySelector(".card video").readyState >= 2
  && [...document.querySelectorAll(".card audio")].every((it) => it.readyState);
"""
_FAILED = "The provider is busy. Ask again in a few minutes."


def _jobs() -> list[tuple[str, str, dict[str, Any]]]:
    """Capability, prompt and output of each job, oldest first."""
    notes = BytesIO()
    with zipfile.ZipFile(notes, "w") as archive:
        archive.writestr("layers.txt", "one layer a line")
    layers = media.Made(notes.getvalue(), "application/zip", "zip")
    leaf = media.Made(_LEAF.encode(), "image/svg+xml", "svg")
    words = (
        "Good morning. The lamp by the window is the one that I meant: the blue one."
    )
    lamps = [media.picture("blue lamp", n, (768, 768), "png") for n in range(3)]
    return [
        ("text_to_image", "The layers of the poster", {"file": _file(layers)}),
        ("text_to_image", "A leaf, as a vector", {"images": [_file(leaf)]}),
        ("speech_to_text", "", {"text": f"{words} {words}"}),
        ("text_to_image", "Harbour at dusk", _image("Harbour at dusk", "jpeg")),
        ("text_to_3d", "A smooth pebble", {"model_mesh": _file(_pebble())}),
        ("text_to_music", "Warm lo-fi keys", {"audio": _file(media.music("keys"))}),
        ("text_to_dialogue", "Welcome to Stella.", {"audio": _file(_speech())}),
        ("image_to_video", "A slow push-in", {"video": _file(_film())}),
        ("text_to_image", "Fox in the snow", _image("Fox in the snow", "webp")),
        (
            "text_to_image",
            "A translucent blue desk lamp",
            {"images": [_file(lamp) for lamp in lamps]},
        ),
    ]


_LEAF = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 200">
<rect width="200" height="200" fill="#e4efe2"/>
<path d="M40 160C40 80 90 40 165 35C165 110 120 160 40 160Z" fill="#3d7a52"/>
<path d="M40 160L130 70" stroke="#e4efe2" stroke-width="4"/></svg>"""


def _image(prompt: str, form: str) -> dict[str, Any]:
    return {"images": [_file(media.picture(prompt, 0, (768, 768), form))]}


def _film() -> media.Made:
    return media.film("A slow push-in", (640, 360))


def _pebble() -> media.Made:
    return media.sculpture("a smooth pebble")


def _speech() -> media.Made:
    return media.speech("Welcome to Stella, where media simply are there.")


def _file(made: media.Made) -> dict[str, str]:
    data = base64.b64encode(made.data).decode()
    return {
        "url": f"data:{made.mime_type};base64,{data}",
        "file_name": f"file.{made.extension}",
    }


async def _main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths.of(Path(folder, "state"))
        paths.state.mkdir()
        async with Backend(Path(folder, "backend")) as backend:
            count = _deliver(backend)
            token = ("--token-file", str(backend.token_file), "--ready-json")
            allowed = {"STELLA_ALLOW_PRIVATE_HOSTS": urlsplit(backend.site_url).netloc}
            async with (
                running("run", paths, *token, environment=allowed),
                running("display", paths, "--no-browser") as url,
            ):
                picture = await asyncio.to_thread(_look, url, count)
    await asyncio.to_thread(PICTURE.write_bytes, picture)


def _deliver(backend: Backend) -> int:
    """Finish every job, and one that failed; return how many cards that makes."""
    deployment, jobs = backend.deployment, _jobs()
    for number, (capability, prompt, output) in enumerate(jobs):
        now = time.time_ns() - (len(jobs) - number) * 10**9
        job_id, request = f"job{number}", {"prompt": prompt}
        who = {"owner": backend.owner(), "job_id": job_id, "capability": capability}
        deployment.submit(now, **who, request=request)
        deployment.succeed(now, job_id, output)
    now = time.time_ns()
    deployment.submit(
        now, owner=backend.owner(), job_id="lost", capability="text_to_video"
    )
    deployment.fail(now, "lost", _FAILED)
    return len(jobs)


def _look(url: str, count: int) -> bytes:
    with chromium(*_SIZE) as browser:
        emulate(browser, prefers_color_scheme="light")
        browser.get(url)
        wait = WebDriverWait(browser, _PATIENCE)
        wait.until(lambda it: it.execute_script(_COMPLETE, count))
        return browser.get_screenshot_as_png()


if __name__ == "__main__":
    asyncio.run(_main())
