import os
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from materializer.errors import AlreadyRunning, SettingsInvalid
from materializer.ipc import sockets
from materializer.ipc.address import Address


def chosen(path: Path) -> Address:
    return Address("unix", str(path))


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        return caller.connect_ex(str(path)) == 0


def dead_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


def test_a_socket_is_ours_alone_and_so_is_a_directory_made_for_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "new" / "x.sock"
    with sockets.listening(chosen(path)):
        assert answers(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        sockets.vacate(path)
        assert not path.exists()
        sockets.vacate(path)


def test_a_directory_that_a_person_chose_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with sockets.listening(chosen(tmp_path / "x.sock")):
        assert tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_can_change_is_refused(
    tmp_path: Path, mode: int
) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(SettingsInvalid, match="can be changed by other users"):
        sockets.listening(chosen(tmp_path / "x.sock"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can pose")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(SettingsInvalid, match="can be changed by other users"):
        sockets.listening(chosen(tmp_path / "x.sock"))


def test_a_dead_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    dead_socket(path)
    with sockets.listening(chosen(path)):
        with pytest.raises(AlreadyRunning, match="another program answers"):
            sockets.listening(chosen(path))
        assert answers(path)


def test_a_socket_with_more_callers_than_it_can_take_is_alive(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.sock"
    with ExitStack() as open_:
        busy = open_.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        for _ in range(2):
            caller = open_.enter_context(socket.socket(socket.AF_UNIX))
            caller.setblocking(False)
            caller.connect_ex(str(path))
        with pytest.raises(AlreadyRunning):
            sockets.listening(chosen(path))
    assert path.exists()


def test_a_path_that_is_too_long_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="no socket can be made at"):
        sockets.listening(chosen(tmp_path / ("x" * 200)))


def test_of_many_that_find_a_dead_socket_at_once_one_takes_its_place(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.sock"
    for _ in range(20):
        dead_socket(path)
        made: list[socket.socket] = []
        refused: list[AlreadyRunning] = []
        race(8, lambda: take(path, made, refused))  # noqa: B023 -- ends in this turn
        assert (len(made), len(refused)) == (1, 7)
        assert answers(path)
        sockets.vacate(path)
        made[0].close()


def take(path: Path, made: list[socket.socket], refused: list[AlreadyRunning]) -> None:
    try:
        made.append(sockets.listening(chosen(path)))
    except AlreadyRunning as error:
        refused.append(error)


def race(runners: int, run: Callable[[], None]) -> None:
    start = threading.Barrier(runners)

    def runner() -> None:
        start.wait()
        run()

    threads = [threading.Thread(target=runner) for _ in range(runners)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)


def test_a_peer_of_the_same_user_is_us() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert sockets.peer_is_us(ours)
