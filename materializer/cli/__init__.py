"""The doors: `stella-materializer` and `stella-media`.

`--help` and `--version` are answered here, before anything is imported.
"""

from __future__ import annotations

import gc
import os
import sys

from materializer import __version__
from materializer.cli.overview import MATERIALIZER, MEDIA, Program

_STAYS = {2, 3}  # starting again does not help


def materializer() -> None:
    """Run `stella-materializer`."""
    _answer_at_once(MATERIALIZER)
    from materializer.cli.door import Door, enter
    from materializer.service import by_launchd

    code = enter(Door(MATERIALIZER))
    _let_go()
    # launchd starts what has failed again, for ever, whatever the code says.
    sys.exit(0 if code in _STAYS and by_launchd(os.environ) else code)


def media() -> None:
    """Run `stella-media`."""
    _answer_at_once(MEDIA)
    from materializer.cli.door import enter
    from materializer.cli.media import media as door

    code = enter(door)
    _let_go()
    sys.exit(code)


def _let_go() -> None:
    """Have the exit fail over nothing that nobody reads any more, and be quick."""
    # The kernel takes it all back at once. To look for what could be freed before would
    # keep whoever waits for this command ten times as long as to end it does.
    gc.freeze()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _answer_at_once(program: Program) -> None:
    """Print what was asked for and exit, if it is about the program itself."""
    match sys.argv[1:]:
        case ["-h" | "--help"]:
            text = program.overview()
        case ["--version"]:
            text = f"{program.name} {__version__}"
        case _:
            return
    try:
        print(text, flush=True)
    except BrokenPipeError:
        sys.stdout = None  # or the exit would flush it
    sys.exit()
