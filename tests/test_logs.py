import json
import logging
import stat
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Literal

import pytest

from materializer import logs
from materializer.logs import redact, setup_logging
from materializer.service import LABEL

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LXNpZw"
SIGNED = "https://files.example.test/canary-path/a.png?sig=canary-query#canary"


@pytest.fixture(autouse=True)
def logging_of_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the root logger back as it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers.clear()
    monkeypatch.setattr(logging, "raiseExceptions", True)
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.handlers, level = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    for name in ("httpx", "httpcore", "websockets"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "materializer.log"


class Weird:
    """Cannot be written down."""

    def __str__(self) -> str:
        raise RuntimeError(JWT)


def fail() -> None:
    """Raise errors that hold secrets, one within the other."""
    cause = ConnectionError(f"GET {SIGNED} with Bearer {JWT}")
    raise ExceptionGroup(f"while {SIGNED}", [ValueError(JWT)]) from cause


def spill() -> None:
    """Log secrets in every way that a call site or a library could."""
    log = logging.getLogger("materializer.spill")
    log.warning("token %s", JWT)
    log.warning("header %r", {"Authorization": "Bearer canary-opaque"})
    log.warning("link %s", SIGNED)
    log.warning(f"link {SIGNED}")  # noqa: G004 - what must not matter
    log.warning("wrong %d", JWT)
    log.warning("weird %s", Weird())
    log.warning("where", stack_info=True, extra={"token": JWT})
    try:
        fail()
    except ExceptionGroup:
        log.exception("failed")
    logging.getLogger("httpx").warning("HTTP Request: GET %s", SIGNED)
    warnings.warn(f"odd {SIGNED}", stacklevel=1)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("style", ["text", "json"])
def test_no_secret_gets_into_the_log(
    style: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logging("debug", "json" if style == "json" else "text", file)
    spill()

    told = file.read_text("utf-8")
    assert capsys.readouterr().err == told
    assert "canary" not in told
    assert "eyJ" not in told
    assert told.count("https://files.example.test") >= 5
    assert "[token]" in told
    assert "ConnectionError" in told
    assert "UserWarning" in told
    assert "RuntimeError while formatting" in told


def test_a_json_line_of_a_job_names_it(file: Path) -> None:
    setup_logging("info", "json", file)
    log = logging.getLogger("materializer.recorder")
    log.info("job %s (%s): %s", "j-1", "icon", "done")
    log.info("job %s", {"of": "nobody"})
    log.info("jobs: %s", 2)

    one, odd, two = map(json.loads, file.read_text("utf-8").splitlines())
    assert (one["jobId"], one["message"]) == ("j-1", "job j-1 (icon): done")
    assert "jobId" not in odd
    assert "jobId" not in two


def test_a_json_line_is_an_object_with_the_traceback_in_it(file: Path) -> None:
    setup_logging("info", "json", file)
    try:
        json.loads("{")
    except ValueError:
        logging.getLogger("materializer.feed").exception("it broke: %s", SIGNED)

    (line,) = file.read_text("utf-8").splitlines()
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert "JSONDecodeError: Expecting property name" in told.pop("exception")
    assert told == {
        "level": "error",
        "logger": "materializer.feed",
        "message": "it broke: https://files.example.test",
    }


def test_what_comes_from_outside_cannot_start_a_line_of_its_own(file: Path) -> None:
    setup_logging("info", "text", file)
    logging.getLogger("materializer").info(
        "name: %s", "a\r\n2026 ERROR b\x1b[31m\u2028c"
    )
    logging.getLogger("materializer").info("sole surrogate \udc80")

    first, second = file.read_text("utf-8").splitlines()
    assert first.endswith("INFO materializer: name: a | 2026 ERROR b | [31m | c")
    assert second.endswith(r"sole surrogate \udc80")


def test_the_level_is_ours_and_libraries_keep_quiet(file: Path) -> None:
    setup_logging("debug", "text", file)
    for name in ("materializer.feed", "httpx", "httpcore.http11", "websockets.client"):
        logging.getLogger(name).debug("from %s", name)
        logging.getLogger(name).info("from %s", name)
    assert file.read_text("utf-8").count("from ") == 2

    setup_logging("error", "text", file)
    logging.getLogger("materializer").warning("nobody asked")
    assert "nobody asked" not in file.read_text("utf-8")


@pytest.mark.skipif("sys.platform == 'win32'", reason="no modes there")
def test_the_file_is_private_and_turns_over(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_FILE_BYTES", 500)
    setup_logging("info", "text", file)
    for _ in range(40):
        logging.getLogger("materializer").info("x" * 100)

    kept = sorted(file.parent.iterdir())
    assert [path.name for path in kept] == [
        "materializer.log",
        "materializer.log.1",
        "materializer.log.2",
        "materializer.log.3",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert all(path.stat().st_size <= 500 for path in kept)


@pytest.mark.skipif("sys.platform != 'linux'", reason="/dev/full is Linux's")
def test_a_log_that_cannot_be_written_does_not_spill_elsewhere() -> None:
    code = (
        "import logging, sys; from pathlib import Path;"
        "from materializer.logs import setup_logging;"
        "setup_logging('info', 'text', Path('/dev/full'));"
        "logging.getLogger().error('token %s', sys.argv[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, JWT], capture_output=True, text=True, timeout=30
    )

    assert done.returncode == 0
    assert "ERROR root: token [token]" in done.stderr
    assert "eyJ" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("plain words", "plain words"),
        ("HTTPS://Host.test:8443/p?q=1 then", "HTTPS://Host.test:8443 then"),
        ("wss://user:secret@host.test/x", "wss://host.test"),
        ("http://[::1]:80/x", "http://[::1]:80"),
        (r"https:\/\/host.test\/secret", "https://host.test"),
        ("'https://host.test/a'b?sig=s'", "'https://host.test"),
        ("unix:///run/a.sock", "unix:///run/a.sock"),
        ("Bearer abc, more", "Bearer [token], more"),
        ("b'bearer abc'", "b'bearer [token]'"),
        (f"({JWT})", "([token])"),
        ("eyJonly.half", "[token]"),
        ("a\x00\x07b\tc", "a | b | c"),
    ],
)
def test_redaction_leaves_what_helps(said: str, told: str) -> None:
    assert redact(said) == told


@pytest.fixture
def stderr(tmp_path: Path) -> Path:
    return tmp_path / "stderr"


@contextmanager
def told_to(path: Path) -> Iterator[None]:
    """Let standard error be a file; pytest has one of its own for each test."""
    with path.open("w") as stream, redirect_stderr(stream):
        yield


@pytest.mark.parametrize("style", ["text", "json"])
def test_lines_for_the_journal_begin_with_their_priority(
    style: Literal["text", "json"],
    file: Path,
    stderr: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with told_to(stderr):
        there = stderr.stat()
        monkeypatch.setenv("JOURNAL_STREAM", f"{there.st_dev}:{there.st_ino}")
        setup_logging("debug", style, file)
        log = logging.getLogger("materializer")
        for level in (10, 20, 30, 40, 50):
            log.log(level, "token %s\n<0>told", JWT)

    told, kept = stderr.read_text().splitlines(), file.read_text().splitlines()
    assert [line[:3] for line in told] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    if style == "text":
        assert {line[3:] for line in told} == {"materializer: token [token] | <0>told"}
        assert kept[1].endswith(" INFO materializer: token [token] | <0>told")
    else:
        assert [line[3:] for line in told] == kept


@pytest.mark.parametrize("stream", [None, "1:1", ""])
def test_what_is_not_the_journal_gets_whole_lines(
    stream: str | None, stderr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    if stream is not None:
        monkeypatch.setenv("JOURNAL_STREAM", stream)
    with told_to(stderr):
        setup_logging("info", "text")
        logging.getLogger("materializer").info("told")

    assert stderr.read_text().endswith("Z INFO materializer: told\n")


def test_where_nothing_turns_the_file_over_there_is_only_ours(
    file: Path, stderr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPC_SERVICE_NAME", LABEL)
    with told_to(stderr):
        setup_logging("info", "text", file)
        logging.getLogger("materializer").info("told")

    assert stderr.read_text() == ""
    assert "told" in file.read_text()


def test_a_process_without_standard_error_logs_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    setup_logging("info", "text", file)
    logging.getLogger("materializer").info("told")

    assert "told" in file.read_text()
