import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from materializer.config import Paths
from materializer.errors import AlreadyRunning, SettingsInvalid
from materializer.host import (
    InstanceLock,
    note_hangups,
    parent_gone,
    prepare_directories,
    private_directory,
    stop_on_signals,
)

HOLD = """
import sys
from pathlib import Path
from materializer.host import InstanceLock
with InstanceLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
STOP = """
import asyncio, sys, time
from materializer.host import stop_on_signals
async def main():
    stop = asyncio.Event()
    with stop_on_signals(asyncio.get_running_loop(), stop):
        print("ready", flush=True)
        await stop.wait()
        print("stopping", flush=True)
        if "stuck" in sys.argv:
            while True:
                pass
asyncio.run(main())
"""
PARENT = """
import asyncio
from materializer.host import parent_gone
async def main():
    stop = asyncio.Event()
    parent_gone(stop)
    print("ready", flush=True)
    {wait}
asyncio.run(main())
print("left")
"""
HEAPS = """
import sys, threading
from materializer.host import share_one_heap
if "shared" in sys.argv:
    share_one_heap()
taken = threading.Barrier(3)
def take():
    kept = b"x" * len(sys.argv) * 4096
    taken.wait()
    taken.wait()
threads = [threading.Thread(target=take) for _ in range(2)]
for thread in threads:
    thread.start()
taken.wait()
# Each further heap is 64 MiB of addresses, of which most is not yet there.
lines = [line for line in open("/proc/self/maps") if "---p" in line]
spans = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
print(sum(end - start > 60 << 20 for start, end in spans))
taken.wait()
"""
posix = pytest.mark.skipif("sys.platform == 'win32'", reason="POSIX only")


@contextlib.contextmanager
def started(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    place = tmp_path / "state" / "materializer" / "daemon.lock"
    place.parent.mkdir(parents=True)
    return place


@pytest.fixture
def holder(lock: Path) -> Iterator[subprocess.Popen[str]]:
    with started(HOLD, str(lock)) as process:
        assert heard(process) == "held"
        yield process


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """Be somebody whom the modes of files bind, with a directory to write to."""
    me = os.geteuid()
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        if me == 0:
            os.seteuid(65534)
        try:
            yield Path(place)
        finally:
            os.seteuid(me)


def test_the_second_instance_is_told_who_the_first_is(
    lock: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(AlreadyRunning) as caught, InstanceLock(lock):
        pytest.fail("two processes hold one lock")

    assert caught.value.pid == holder.pid
    assert str(caught.value) == (
        f"process {holder.pid} already serves {lock.parent.parent}; stop it first, or"
        " choose another directory with --state-dir"
    )


def test_a_killed_holder_holds_nothing(
    lock: Path, holder: subprocess.Popen[str]
) -> None:
    holder.kill()
    holder.wait(10)

    with InstanceLock(lock):
        assert lock.read_text() == f"{os.getpid()}\n"


def test_the_lock_ends_with_the_block_and_its_file_stays(lock: Path) -> None:
    with InstanceLock(lock):
        pass

    assert lock.read_text() == ""
    with started(HOLD, str(lock)) as process:
        assert heard(process) == "held"
        process.communicate(timeout=10)


@posix
def test_a_child_does_not_inherit_the_lock(lock: Path) -> None:
    with subprocess.Popen(["sleep", "60"], close_fds=False) as early:
        with InstanceLock(lock):
            child = subprocess.Popen(["sleep", "60"], close_fds=False)
        try:
            with InstanceLock(lock):
                assert child.poll() is None
        finally:
            for process in (early, child):
                process.kill()
                process.wait(10)


def test_a_lock_that_cannot_be_made_is_a_setting_to_change(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingsInvalid, match=r"cannot be locked: No such file .*local"),
        InstanceLock(tmp_path / "gone" / "daemon.lock"),
    ):
        pytest.fail("locked a file that cannot be there")


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_first_signal_stops_and_a_second_kills(number: signal.Signals) -> None:
    with started(STOP, "stuck") as process:
        assert heard(process) == "ready"
        process.send_signal(number)
        assert heard(process) == "stopping"
        process.send_signal(number)

        assert process.wait(10) == 128 + number


@posix
def test_one_signal_alone_ends_well() -> None:
    with started(STOP) as process:
        assert heard(process) == "ready"
        process.send_signal(signal.SIGTERM)

        assert heard(process) == "stopping"
        assert process.wait(10) == 0


async def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_on_signals(asyncio.get_running_loop(), asyncio.Event()):
        assert signal.getsignal(signal.SIGTERM) is not before[0]

    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_the_end_of_input_stops() -> None:
    with started(PARENT.format(wait="await stop.wait()")) as process:
        assert heard(process) == "ready"
        assert process.stdin is not None
        process.stdin.write("not the end\n")
        process.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.stdin.close()

        assert heard(process) == "left"
        assert process.wait(10) == 0


def test_open_input_does_not_hold_up_the_exit() -> None:
    with started(PARENT.format(wait="pass")) as process:
        assert heard(process) == "ready"
        assert heard(process) == "left"
        assert process.wait(10) == 0


async def test_input_that_cannot_be_read_counts_as_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreadable(*_: object) -> bytes:
        raise OSError("closed")

    stop = asyncio.Event()
    monkeypatch.setattr(os, "read", unreadable)
    parent_gone(stop)
    async with asyncio.timeout(10):
        await stop.wait()


@posix
def test_directories_are_made_for_this_user_alone(tmp_path: Path) -> None:
    paths = Paths.of(tmp_path / "deep" / "state")
    prepare_directories(paths)
    prepare_directories(paths)

    made = [paths.state, paths.outputs, paths.partial, paths.materializer, paths.logs]
    assert [stat.S_IMODE(path.stat().st_mode) for path in made] == [0o700] * 5
    assert list(paths.partial.iterdir()) == []


@posix
def test_a_daemon_keeps_no_secrets_where_others_may_write(tmp_path: Path) -> None:
    paths = Paths.of(tmp_path / "state")
    paths.materializer.mkdir(parents=True)
    paths.materializer.chmod(0o777)

    with pytest.raises(SettingsInvalid, match="can be changed by other users"):
        prepare_directories(paths)
    assert not paths.outputs.exists()


@posix
def test_directories_that_were_there_keep_their_mode(tmp_path: Path) -> None:
    paths = Paths.of(tmp_path / "state")
    paths.outputs.mkdir(parents=True)
    paths.outputs.chmod(0o755)
    prepare_directories(paths)

    assert stat.S_IMODE(paths.outputs.stat().st_mode) == 0o755


@pytest.mark.parametrize("taken", ["state", "state/media", "state/materializer"])
def test_a_file_in_the_way_leaves_nothing_half_made(tmp_path: Path, taken: str) -> None:
    path = tmp_path / "new" / taken
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(SettingsInvalid, match=r"cannot hold the state: .*--state-dir"):
        prepare_directories(Paths.of(tmp_path / "new" / "state"))
    assert sorted(tmp_path.rglob("*")) == before


@posix
def test_a_directory_without_leave_to_write_is_refused(unprivileged: Path) -> None:
    paths = Paths.of(unprivileged / "state")
    prepare_directories(paths)
    paths.outputs.chmod(0o555)

    with pytest.raises(SettingsInvalid, match=r"Permission denied .*outputs.*--state"):
        prepare_directories(paths)


@posix
def test_a_private_directory_must_be_ones_own(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    loose = tmp_path / "loose"
    loose.mkdir()
    loose.chmod(0o770)
    with pytest.raises(SettingsInvalid, match="no link"):
        private_directory(tmp_path / "link")
    with pytest.raises(SettingsInvalid, match=f"run: chmod go-w '{loose}'"):
        private_directory(loose)


@posix
def test_somebody_elses_directory_is_never_private(tmp_path: Path) -> None:
    theirs = Path("/usr")
    if os.geteuid() == 0:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        os.chown(theirs, 65534, -1)

    with pytest.raises(SettingsInvalid, match=r"belongs to user \d+; remove it"):
        private_directory(theirs)


@posix
async def test_a_hangup_is_noted_and_the_handler_of_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGHUP)
    hangup = asyncio.Event()
    with note_hangups(asyncio.get_running_loop(), hangup):
        for _ in range(2):
            hangup.clear()
            os.kill(os.getpid(), signal.SIGHUP)
            async with asyncio.timeout(10):
                await hangup.wait()

    assert signal.getsignal(signal.SIGHUP) is before


@pytest.mark.skipif("platform.libc_ver()[0] != 'glibc'", reason="glibc's heaps")
@pytest.mark.parametrize(("share", "further"), [("apart", "2"), ("shared", "0")])
def test_threads_share_one_heap(share: str, further: str) -> None:
    said = subprocess.check_output([sys.executable, "-c", HEAPS, share], text=True)
    assert said.strip() == further
