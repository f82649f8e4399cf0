"""What each of the two programs can do, on one page.

To say that takes a few lines; loading what reads arguments would take three times as
long as starting Python does. So this module imports nothing.
"""

from __future__ import annotations


class Program:
    """A command and its subcommands.

    Args:
        name: of the command.
        does: what it is for.
        rooms: for each subcommand its module in this package, and what it does.
    """

    def __init__(self, name: str, does: str, rooms: dict[str, tuple[str, str]]) -> None:
        self.name = name
        self.does = does
        self.rooms = rooms

    def overview(self) -> str:
        """Return what `--help` prints."""
        width = max(map(len, self.rooms))
        lines = [f"  {line}".rstrip() for line in self.does.splitlines()]
        commands = [
            f"  {name:<{width}}  {say}" for name, (_, say) in self.rooms.items()
        ]
        return "\n".join(
            [
                f"Usage: {self.name} [OPTIONS] COMMAND [ARGS]...",
                *("", *lines, ""),
                "Options:",
                "  --version   Show the version and exit.",
                "  -h, --help  Show this message and exit.",
                *("", "Commands:", *commands),
            ]
        )


MATERIALIZER = Program(
    "stella-materializer",
    "Make finished AI media be there: on disk, in the gallery, on the screen.",
    {
        "run": ("run", "The daemon, in the foreground."),
        "status": ("look", "What the daemon is doing."),
        "watch": ("look", "Print display updates as they come."),
        "gallery": ("gallery", "The index of what is on this disk."),
        "display": ("display", "The Display sidebar, as a page in the browser."),
        "retry": ("retry", "New attempts at jobs that did not arrive."),
        "service": ("service", "The daemon at every login."),
        "snooze": ("snooze", "No notifications for a while."),
        "auth": ("auth", "Hand the running daemon a token, or take it back."),
        "doctor": ("doctor", "What is wrong here, and what to do about it."),
        "paths": ("paths", "Where everything is."),
        "config": ("paths", "The settings, and where each was written."),
        "logs": ("logs", "What the daemon has logged."),
        "dev": ("dev", "A whole Stella backend on this machine, without an account."),
        "demo": ("demo", "Backend, daemon and page together, one job of every kind."),
    },
)

MEDIA = Program(
    "stella-media",
    """\
Make images, videos, voices, music and 3D models with Stella.

stella-media generate --wait --request '{"capability": "text_to_image",
  "prompt": "cinematic rainy Tokyo alley at night", "aspectRatio": "9:16"}'
stella-media generate --request-file request.json --wait --timeout 240
stella-media status --job-id ID --save
stella-media docs images""",
    {
        "generate": ("generate", "Submit a job; wait for it and save its files."),
        "status": ("job", "How a job is doing; save its files."),
        "capabilities": ("job", "What can be made, as JSON."),
        "docs": ("pages", "How to ask for it: the documentation, page by page."),
        "completion": ("pages", "What makes a shell complete these commands."),
    },
)
