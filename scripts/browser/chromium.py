"""A Chromium without a window: of the tests, the bench and the picture."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

PROGRAMS = ("chromium", "chromedriver")

_ARGUMENTS = (
    "--headless=new",
    "--disable-dev-shm-usage",
    "--mute-audio",
    # Nothing but the page is asked for anything.
    "--disable-background-networking",
    "--no-first-run",
)


# A graphics card for 3D, played by the processor, which makes all else slower.
_CARD = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@contextmanager
def chromium(
    width: int = 1280, height: int = 900, *, card: bool = True
) -> Iterator[Chrome]:
    """Run a browser, whose console is kept, until the block ends.

    `card` is whether it can draw in 3D.
    """
    options = ChromeOptions()
    options.binary_location, driver = (shutil.which(name) or name for name in PROGRAMS)
    drawing = _CARD if card else ("--disable-gpu",)
    for argument in (*_ARGUMENTS, *drawing, f"--window-size={width},{height}"):
        options.add_argument(argument)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Chromium's own sandbox refuses root, which containers run as.
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options, Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


def emulate(browser: Chrome, **features: str) -> None:
    """Let the page see these preferences, such as prefers_color_scheme="dark"."""
    wanted = [
        {"name": name.replace("_", "-"), "value": value}
        for name, value in features.items()
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})
