"""The log: what it looks like, where it goes, and what never gets into it.

Secrets are cut in the formatters, so that no call site, library or traceback can
forget to: tokens, and all of a URL beyond scheme and host. One record is one line.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal

from materializer.service import by_launchd

FILE_NAME = "materializer.log"
"""The newest log in its directory."""

_FILE_BYTES = 2**20
_OLD_FILES = 3
_LINE = "stella_line"
_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.NOTSET, 7),
)
_CHATTY = ("httpx", "httpcore", "watchfiles", "websockets")
_CUTS = (
    (re.compile(r"\beyJ[\w-]+(\.[\w-]*)*"), "[token]"),
    (re.compile(r"\b(bearer)\s+[^\s'\",]+", re.IGNORECASE), r"\1 [token]"),
    (
        re.compile(
            r"\b(https?|wss?):(?:\\?/){2}(?:[^\s/?#]*@)?([\w.:\[\]-]*)\S*",
            re.IGNORECASE,
        ),
        r"\1://\2",
    ),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def setup_logging(
    level: Literal["debug", "info", "warning", "error"],
    style: Literal["text", "json"],
    file: Path | None = None,
) -> None:
    """Send the whole process's log to standard error and, rotated, to a file.

    Where standard error is systemd's journal, a line begins with its priority and
    leaves out what the journal notes itself. Nothing turns launchd's file over, so
    under launchd there is only ours.

    Raises:
        OSError: the file cannot be opened.
    """
    formatter = _Formatter(_json if style == "json" else _text)
    handlers: list[logging.Handler] = []
    if file is not None:
        handlers.append(_PrivateFile(file))
        handlers[0].setFormatter(formatter)
    if file is None or not by_launchd(os.environ):
        console = logging.StreamHandler(sys.stderr)
        console.setFormatter(_JournalFormatter(style) if _is_journal() else formatter)
        handlers.append(console)
    logging.basicConfig(level=level.upper(), handlers=handlers, force=True)
    logging.captureWarnings(capture=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Its answer to a full disk is to print the record as it was before the cuts.
    logging.raiseExceptions = False


def redact(text: str) -> str:
    """Return one line without control characters, tokens and the paths of URLs."""
    for secret, rest in _CUTS:
        text = secret.sub(rest, text)
    return _CONTROL.sub(" | ", text.strip())


class _Formatter(logging.Formatter):
    """Makes the line of a record once, for all handlers."""

    def __init__(self, write: Callable[[logging.LogRecord], str]) -> None:
        super().__init__()
        self._write = write

    def format(self, record: logging.LogRecord) -> str:
        line = getattr(record, _LINE, None)
        if line is None:
            line = self._write(record)
            setattr(record, _LINE, line)
        return str(line)


class _JournalFormatter(logging.Formatter):
    """Makes lines for systemd's journal, see sd-daemon(3)."""

    def __init__(self, style: Literal["text", "json"]) -> None:
        super().__init__()
        self._write = _json if style == "json" else _said

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_priority(record.levelno)}>{self._write(record)}"


def _is_journal() -> bool:
    """Whether standard error is the stream to the journal that systemd has opened."""
    try:
        there = os.fstat(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def _priority(level: int) -> int:
    """Return syslog's number for a level."""
    return next(number for least, number in _PRIORITIES if level >= least)


def _text(record: logging.LogRecord) -> str:
    return f"{_moment(record)} {record.levelname} {_said(record)}"


def _said(record: logging.LogRecord) -> str:
    parts = [_message(record), _traceback(record)]
    return redact(f"{record.name}: " + "\n".join(filter(None, parts)))


def _json(record: logging.LogRecord) -> str:
    line = {
        "time": _moment(record),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": redact(_message(record)),
    }
    if (job_id := _job(record)) is not None:
        line["jobId"] = redact(job_id)
    if traceback := _traceback(record):
        line["exception"] = redact(traceback)
    return json.dumps(line, ensure_ascii=False)


class _PrivateFile(RotatingFileHandler):
    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            maxBytes=_FILE_BYTES,
            backupCount=_OLD_FILES,
            encoding="utf-8",
            errors="backslashreplace",
        )

    # As the library's own, but for a look at the file that takes as long as a write.
    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 -- the library's name
        length = len(self.format(record)) + 1
        return self.stream is not None and self.stream.tell() + length > self.maxBytes

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        fd = os.open(self.baseFilename, flags, 0o600)
        return os.fdopen(fd, "a", encoding=self.encoding, errors=self.errors)


def _moment(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - a wrong log call must not lose its record
        return f"{record.msg} ({type(error).__name__} while formatting)"


def _job(record: logging.LogRecord) -> str | None:
    """Return the id of the job that a record tells of: its words begin with it."""
    told = record.args if isinstance(record.args, tuple) else ()
    return str(told[0]) if told and str(record.msg).startswith("job %s") else None


def _traceback(record: logging.LogRecord) -> str:
    told = (
        logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
    )
    return f"{told}\n{record.stack_info or ''}".strip()
