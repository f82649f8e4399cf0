"""The simulated disk: a real directory, and what of it a power cut would leave.

The process works on real files, in memory where the system has such a place. Every call
that changes names or makes something durable is noted, so that a power cut can put the
directory back to what a disk may hold that promises no more than POSIX does: the
content of a file that was synced, and the names as of the last sync of a directory,
plus any number of the changes after that, in their order. What was written since the
last sync of a file may be there, be missing, end too early or be full of zeros.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from simulation.world import World

_open, _fsync, _write = os.open, os.fsync, os.write
_replace, _unlink, _link = os.replace, os.unlink, os.link

Names = dict[str, int]


class Disk:
    """What is below `root`, within `installed`.

    Args:
        on_visible: called with a path below root, relative to it, when a name came.
    """

    def __init__(
        self, world: World, root: Path, on_visible: Callable[[str], None]
    ) -> None:
        self._world = world
        self.root = root
        self._prefix = f"{root}{os.sep}"
        self._on_visible = on_visible
        self._durable: Names = {}
        self._journal: list[Callable[[Names], None]] = []
        self._synced: dict[int, bytes] = {}
        self._gone: dict[int, bytes] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Stand between the process and the system's calls."""
        with ExitStack() as patches:
            for name, ours in (
                ("open", self._opened),
                ("fsync", self._fsynced),
                ("write", self._written),
                ("replace", self._replaced),
                ("rename", self._replaced),
                ("unlink", self._unlinked),
                ("link", self._linked),
            ):
                patches.enter_context(patch.object(os, name, ours))
            yield

    def files(self) -> dict[str, int]:
        """Return the inode of each name, relative to the root."""
        found = {}
        for folder, folders, names in os.walk(self.root):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)  # noqa: PTH118 -- a hot path
                found[path.removeprefix(self._prefix)] = os.lstat(path).st_ino
        return found

    def forget(self, path: str) -> None:
        """Remove a file as the person does, and durably."""
        _unlink(self._prefix + path)
        self._journal.append(partial(_drop, path))
        for change in self._journal:
            change(self._durable)
        self._journal.clear()

    def cut_power(self) -> None:
        """Leave what a disk may hold now, as if it all had been there for long."""
        chance = self._world.chance
        names = dict(self._durable)
        for change in self._journal[: chance.randint(0, len(self._journal))]:
            change(names)
        content = {**self._gone, **self._contents()}
        left = {
            inode: self._left(inode, content.get(inode, b""))
            for inode in sorted({*names.values()})
        }
        for path in self.files():
            _unlink(self._prefix + path)
        first: dict[int, str] = {}
        for path, inode in names.items():
            if inode in first:
                _link(self._prefix + first[inode], self._prefix + path)
                continue
            first[inode] = path
            (self.root / path).write_bytes(left[inode])
        self._world.boot += 1
        self.settle()

    def settle(self) -> None:
        """Take all that is there for durable."""
        self._durable = self.files()
        self._journal.clear()
        self._gone.clear()
        self._synced = self._contents()

    def _left(self, inode: int, content: bytes) -> bytes:
        synced = self._synced.get(inode, b"")
        if content == synced:
            return content
        safe = len(synced) if content.startswith(synced) else 0
        cut = self._world.chance.randint(safe, len(content))
        return self._world.chance.choice(
            [synced, content, content[:cut], content[:cut] + bytes(len(content) - cut)]
        )

    def _contents(self) -> dict[int, bytes]:
        return {i: (self.root / p).read_bytes() for p, i in self.files().items()}

    def _path(self, name: Any, folder: int | None) -> str | None:
        """Return a path relative to the root, or None when it is none of ours."""
        path = os.fspath(name)
        if folder is not None:
            path = f"{os.readlink(f'/proc/self/fd/{folder}')}{os.sep}{path}"  # noqa: PTH115
        if not isinstance(path, str) or not path.startswith(self._prefix):
            return None
        return path.removeprefix(self._prefix)

    def _require_room(self) -> None:
        if self._world.full:
            self._fail(errno.ENOSPC)

    def _fail(self, number: int) -> None:
        self._world.disk_errors += 1
        self._world.troubles[errno.errorcode[number]] += 1
        raise OSError(number, os.strerror(number))

    def _opened(
        self, name: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        path = self._path(name, dir_fd)
        if path is None or not flags & os.O_CREAT:
            return _open(name, flags, mode, dir_fd=dir_fd)
        fresh = not os.path.lexists(self._prefix + path)
        if fresh:
            self._world.effect(f"create {path}")
            self._require_room()
        file = _open(name, flags, mode, dir_fd=dir_fd)
        if fresh:
            inode = os.fstat(file).st_ino
            self._synced.pop(inode, None)
            self._gone.pop(inode, None)
            self._journal.append(lambda names: names.__setitem__(path, inode))
            self._on_visible(path)
        return file

    def _written(self, file: int, data: Any) -> int:
        self._world.effect(f"write {len(data)}")
        self._require_room()
        if len(data) > 1 and self._world.maybe(0.02):
            self._world.troubles["short write"] += 1
            data = data[: len(data) // 2]
        return _write(file, data)

    def _fsynced(self, file: int) -> None:
        known = os.fstat(file)
        folder = stat.S_ISDIR(known.st_mode)
        self._world.effect(f"sync {'names' if folder else known.st_size}")
        if self._world.maybe(0.01):
            self._fail(errno.EIO)
        if folder:
            for change in self._journal:
                change(self._durable)
            self._journal.clear()
        else:
            self._synced[known.st_ino] = Path(f"/proc/self/fd/{file}").read_bytes()

    def _replaced(
        self,
        name: Any,
        new: Any,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
    ) -> None:
        was, now = self._path(name, src_dir_fd), self._path(new, dst_dir_fd)
        if was is not None and now is not None:
            self._world.effect(f"rename {was} {now}")
            self._require_room()
            if os.path.lexists(self._prefix + now):
                self._keep(now)
        _replace(name, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if was is not None and now is not None:
            self._journal.append(lambda names: _move(names, was, now))
            self._on_visible(now)

    def _unlinked(self, name: Any, *, dir_fd: int | None = None) -> None:
        path = self._path(name, dir_fd)
        if path is not None and os.path.lexists(self._prefix + path):
            self._world.effect(f"unlink {path}")
            self._keep(path)
            self._journal.append(partial(_drop, path))
        _unlink(name, dir_fd=dir_fd)

    def _linked(
        self,
        name: Any,
        new: Any,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        now = self._path(new, dst_dir_fd)
        if now is not None:
            self._world.effect(f"link {now}")
            self._require_room()
        _link(
            name,
            new,
            src_dir_fd=src_dir_fd,
            dst_dir_fd=dst_dir_fd,
            follow_symlinks=follow_symlinks,
        )
        if now is not None:
            inode = os.lstat(self._prefix + now).st_ino
            self._journal.append(lambda names: names.__setitem__(now, inode))
            self._on_visible(now)

    def _keep(self, path: str) -> None:
        """Remember what a name holds that goes now: it may be back."""
        inode = os.lstat(self._prefix + path).st_ino
        self._gone[inode] = (self.root / path).read_bytes()


def _drop(path: str, names: Names) -> None:
    names.pop(path, None)


def _move(names: Names, was: str, now: str) -> None:
    if was in names:
        names[now] = names.pop(was)


def empty(root: Path) -> None:
    """Make a directory that is there and has nothing in it."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
