"""The gate at system calls: what waits there is counted, fails, or is killed."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("the trials are for POSIX", allow_module_level=True)

from scripts.chaos_trials.gate import Keeper, Strike, lacking

pytestmark = pytest.mark.skipif(lacking() is not None, reason=f"needs {lacking()}")

ROOT = Path(__file__).resolve().parents[2]
BEGIN = """\
import os, socket, sys, threading
from scripts.chaos_trials import gate
os.chdir(sys.argv[1])
with socket.socket(fileno=int(sys.argv[2])) as back:
    kept = gate.shut(sys.argv[3].split())
    socket.send_fds(back, [b"!"], [kept])
    os.close(kept)
"""
WAYS = {
    "by name": ("mkdir", "os.mkdir(os.path.abspath('in/new'))"),
    "in a folder": (
        "renameat",
        "d = os.open('in', 0); os.rename('a', 'b', src_dir_fd=d, dst_dir_fd=d)",
    ),
    "by file": ("ftruncate", "os.ftruncate(os.open('in/a', os.O_RDWR), 5)"),
}


async def play(
    room: Path, strike: Strike, does: str
) -> tuple[int, Sequence[str], Keeper]:
    """Run a program behind a gate; return its exit code, its lines, and the keeper."""
    ours, theirs = socket.socketpair()
    with theirs:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", BEGIN + does),
            *(str(room), str(theirs.fileno()), " ".join(strike.calls)),
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
    keeper = Keeper(strike, program.pid, ours)
    async with asyncio.timeout(30):
        said, _ = await program.communicate()
    assert program.returncode is not None
    return program.returncode, said.decode().splitlines(), keeper


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def room(tmp_path: Path) -> Path:
    for name in ("in", "inner"):
        (tmp_path / name).mkdir()
    (tmp_path / "in/a").write_bytes(b"as it was")
    return tmp_path


@pytest.mark.parametrize(("call", "does"), WAYS.values(), ids=WAYS)
async def test_a_call_is_killed_before_anything_of_it_is_done(
    room: Path, call: str, does: str
) -> None:
    code, _, keeper = await play(room, Strike((call,), f"{room}/in", turn=1), does)

    assert (code, keeper.struck) == (-signal.SIGKILL, True)
    assert names(room / "in") == ["a"]
    assert (room / "in/a").read_bytes() == b"as it was"


async def test_only_the_call_at_its_turn_fails(room: Path) -> None:
    strike = Strike(("mkdir",), str(room / "in"), turn=2, error=errno.ENOSPC)
    does = f"""
for name in "bcd":
    try:
        os.mkdir("{room}/in/" + name)
    except OSError as error:
        print(name, error.strerror)
"""
    code, said, keeper = await play(room, strike, does)

    assert (code, said) == (0, ["c No space left on device"])
    assert names(room / "in") == ["a", "b", "d"]
    assert (keeper.calls, keeper.struck) == (3, True)


async def test_calls_of_all_threads_count_and_those_elsewhere_do_not(
    room: Path,
) -> None:
    strike = Strike(("mkdir",), str(room / "in"), turn=0)
    does = f"""
def work(number):
    for folder in ("in", "inner"):
        os.mkdir(f"{room}/{{folder}}/{{number}}")

threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    code, _, keeper = await play(room, strike, does)

    assert (code, keeper.calls, keeper.struck) == (0, 5, False)
    assert len(names(room / "inner")) == 5


async def test_a_ring_for_a_call_that_a_signal_took_back_is_none(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Keeper._answer

    def twice(self: Keeper) -> None:
        answer(self)
        if self.calls in range(1, 300):  # and it has not ended
            answer(self)

    monkeypatch.setattr(Keeper, "_answer", twice)
    strike = Strike(("mkdir",), str(room / "in"), turn=0)
    does = f"""
for number in range(300):
    os.mkdir(f"{room}/in/{{number}}")
"""
    code, _, keeper = await play(room, strike, does)

    assert (code, keeper.calls) == (0, 300)


async def test_a_lock_that_another_holds_is_granted_to_who_pretends(
    room: Path,
) -> None:
    does = """
import fcntl, os, sys
from scripts.chaos_trials import gate
held, other = (os.open(sys.argv[1], os.O_RDWR) for _ in range(2))
fcntl.flock(held, fcntl.LOCK_EX)
try:
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    gate.pretend(["flock"])
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("granted")
"""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", does, str(room / "in/a")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        said, _ = await program.communicate()

    assert (program.returncode, said) == (0, b"granted\n")
