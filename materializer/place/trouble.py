"""What a file system says, in words that tell a person what to do."""

from __future__ import annotations

import errno

from materializer.errors import DiskTrouble

_SAYS = {
    "disk_full": "the disk is full: free some space",
    "disk_quota": "your quota on the disk is used up: remove files or have it raised",
    "disk_read_only": "the disk is read-only: make it writable",
    "disk_denied": "the state directory may not be written to: see who owns it",
    "disk_missing": "the outputs directory, or .partial in it, is not there: attach its"
    " disk, or start Stella Materializer again to have it made",
    "disk_failing": "the disk fails: save what is on it and have it checked",
    "disk_outside": "a link stands where the state directory should have a file or"
    " directory of its own: remove it",
    "disk_busy": "too many files are open at once: close some programs",
    "disk": "the state directory cannot be used",
}
_CODES = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_quota",
    errno.EROFS: "disk_read_only",
    errno.EACCES: "disk_denied",
    errno.EPERM: "disk_denied",
    errno.ENOENT: "disk_missing",
    errno.ENOTDIR: "disk_missing",
    errno.ESTALE: "disk_missing",
    errno.ENODEV: "disk_missing",
    errno.ENXIO: "disk_missing",
    errno.EIO: "disk_failing",
    errno.ELOOP: "disk_outside",
    errno.EMFILE: "disk_busy",
    errno.ENFILE: "disk_busy",
}


def trouble(code: str, say: str) -> DiskTrouble:
    """Return a DiskTrouble with a code of its own."""
    made = DiskTrouble(say)
    made.code = code
    return made


class disk_trouble:  # noqa: N801 -- it is used as contextlib.suppress is
    """Turn an error of the file system, in a block, into DiskTrouble.

    Its `code` is disk_full, disk_quota, disk_read_only, disk_denied, disk_missing,
    disk_failing, disk_outside, disk_busy or, for all else, disk.
    """

    def __enter__(self) -> None:
        """Enter the block."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Leave it, or raise."""
        if isinstance(error, OSError):
            code = _CODES.get(error.errno or 0, "disk")
            said = error.strerror or str(error)
            say = f"{_SAYS[code]} ({said}); it goes on by itself"
            raise trouble(code, say) from error
