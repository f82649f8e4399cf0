"""A directory that stays the one it was: held open, and entered by single names.

Where the system has descriptors of directories, a name is looked up in the held one
and no link is followed, so nothing that is swapped in on the way there changes a file
elsewhere. Windows has none: there the path is looked up anew each time. That way has
been run on Linux only.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import weakref
from contextlib import suppress
from pathlib import Path

from materializer.place.trouble import trouble

HOLDS = os.name != "nt"
"""Whether this system has descriptors of directories."""

_FILE = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe in the place of a file must not halt us
    | getattr(os, "O_BINARY", 0)
)
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_SYNC = os.O_RDONLY if HOLDS else os.O_RDWR
_SEPARATOR = re.compile(r"[/\\\0]")
_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP}


def is_name(name: str) -> bool:
    """Whether it is one visible name, which leads nowhere else."""
    return name[:1] not in ("", ".") and _SEPARATOR.search(name) is None


class Directory:
    """One directory. Its descriptor is closed when nothing uses it any more.

    Methods raise OSError when the file system does not play along, and ValueError for
    a name that is not a single visible one.
    """

    def __init__(self, path: Path, held: int | None) -> None:
        self.path = path
        self._held = held
        if held is not None:
            found = os.fstat(held)
            self._identity = found.st_dev, found.st_ino
            weakref.finalize(self, os.close, held).atexit = False

    @classmethod
    def open(cls, path: Path, within: Path) -> Directory:
        """Open a directory that lies in `within`.

        Raises:
            DiskTrouble: a link leads out of `within`.
            OSError: there is none.
        """
        root = os.path.realpath(within, strict=True)
        real = Path(os.path.realpath(path, strict=True))
        if not real.is_relative_to(root):
            raise trouble(
                "disk_outside",
                f"{path} is a link that leads out of the state directory: put a"
                " directory in its place, or choose another with --state-dir",
            )
        if not HOLDS:
            return cls(path, None)
        # Step by step, since each one may have been swapped for a link meanwhile.
        directory = cls(Path(root), os.open(root, _DIRECTORY))
        for name in real.relative_to(root).parts:
            directory = directory.child(name)
        directory.path = path
        return directory

    def child(self, name: str) -> Directory:
        """Open a directory in this one; a link to one is an error."""
        path = self.path / name
        found = os.stat(
            path if self._held is None else name,
            dir_fd=self._held,
            follow_symlinks=False,
        )
        if stat.S_ISLNK(found.st_mode):
            raise OSError(errno.ELOOP, f"{path} is a link")
        if self._held is None:
            return Directory(path, None)
        return Directory(path, os.open(name, _DIRECTORY, dir_fd=self._held))

    def is_at(self, path: Path) -> bool:
        """Whether a path leads here now; only of a held directory that can be known."""
        if self._held is None:
            return False
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (found.st_dev, found.st_ino) == self._identity

    @property
    def handle(self) -> int | Path:
        """What stands for the directory in a call of the system."""
        return self.path if self._held is None else self._held

    def names(self) -> list[str]:
        """Return the names of what is in it."""
        return os.listdir(self.handle)  # noqa: PTH208 -- a Path holds no descriptor

    def has(self, name: str) -> bool:
        """Whether a file of this name is known to be there, be it behind a link."""
        return os.access(self._at(name), os.F_OK, dir_fd=self._held)

    def stat(self, name: str) -> os.stat_result:
        """Return what is known of a file, or of a link itself."""
        return os.stat(self._at(name), dir_fd=self._held, follow_symlinks=False)

    def open_file(self, name: str, flags: int) -> int:
        """Open or create a regular file, for its owner alone; return a descriptor."""
        file = os.open(self._at(name), flags | _FILE, 0o600, dir_fd=self._held)
        try:
            _require_file(name, os.fstat(file))
        except OSError:
            os.close(file)
            raise
        return file

    def require_file(self, name: str) -> None:
        """Raise OSError unless it is a regular file, which a link is not."""
        _require_file(name, self.stat(name))

    def sync_file(self, name: str) -> None:
        """Make the content of a file survive a power cut."""
        file = self.open_file(name, _SYNC)
        try:
            os.fsync(file)
        finally:
            os.close(file)

    def sync(self) -> None:
        """Make the names in it survive a power cut."""
        if self._held is None:  # NTFS journals them
            return
        try:
            os.fsync(self._held)
        except OSError as error:
            # Some network file systems have no such thing; there is no other way.
            if error.errno not in _CANNOT_SYNC:
                raise

    def move(self, name: str, to: Directory, new: str) -> None:
        """Rename a file into a directory, in place of what has that name there."""
        os.replace(
            self._at(name), to._at(new), src_dir_fd=self._held, dst_dir_fd=to._held
        )

    def link(self, name: str, to: Directory, new: str) -> None:
        """Give a file a second name."""
        os.link(
            self._at(name),
            to._at(new),
            src_dir_fd=self._held,
            dst_dir_fd=to._held,
            follow_symlinks=not HOLDS,
        )

    def unlink(self, name: str) -> None:
        """Remove a file, if there is one."""
        with suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self._held)

    def _at(self, name: str) -> str | Path:
        if not is_name(name):
            raise ValueError(f"{name!r} is no name of a file here")
        return name if self._held is not None else self.path / name


def _require_file(name: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.ELOOP, f"{name} is a link or no file at all")
