"""`stella-materializer display`: the Display sidebar, in a browser."""

from __future__ import annotations

import asyncio
import threading
import webbrowser
from typing import TYPE_CHECKING, Any

import click

from materializer import host, logs
from materializer.cli import options
from materializer.config import Paths
from materializer.errors import SettingsInvalid

if TYPE_CHECKING:
    from materializer.display.app import DisplayPage


@click.command()
@options.state_dir
@options.config
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 is any free.")
@click.option("--no-browser", is_flag=True, help="Print the address and no more.")
def display(port: int, no_browser: bool, **flags: Any) -> None:
    """Serve the page on this computer alone, and open it, until interrupted.

    The address on stdout lets one browser in, once. A daemon must run.
    """
    paths = options.read(**flags).paths
    logs.setup_logging("warning", "text")
    asyncio.run(_serve(display_page(paths, port), browser=not no_browser))


async def _serve(unstarted: DisplayPage, *, browser: bool) -> None:
    stop = asyncio.Event()
    with host.stop_on_signals(asyncio.get_running_loop(), stop):
        async with unstarted as page:
            click.echo(page.url)
            if browser:
                open_in_browser(page.url)
            await stop.wait()


def display_page(paths: Paths, port: int = 0) -> DisplayPage:
    """Return the page, to be used as an async context manager.

    Raises:
        SettingsInvalid: its libraries are not installed.
    """
    try:
        from materializer.display.app import DisplayPage
    except ImportError as error:
        raise SettingsInvalid(
            "`display` needs the extra `display`:"
            " pip install 'stella-materializer[display]'"
        ) from error
    return DisplayPage(paths, port)


def open_in_browser(url: str) -> None:
    """Open the page in the person's browser; returns at once."""
    # Some browsers run in the terminal until they are left. They must not hold us up.
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
