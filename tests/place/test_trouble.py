from __future__ import annotations

import errno
import os

import pytest

from materializer.errors import DiskTrouble
from materializer.place import disk_trouble
from materializer.place.trouble import trouble


@pytest.mark.parametrize(
    ("number", "code", "advice"),
    [
        (errno.ENOSPC, "disk_full", "free some space"),
        (errno.EDQUOT, "disk_quota", "have it raised"),
        (errno.EROFS, "disk_read_only", "make it writable"),
        (errno.EACCES, "disk_denied", "see who owns it"),
        (errno.EPERM, "disk_denied", "see who owns it"),
        (errno.ENOENT, "disk_missing", "attach its disk"),
        (errno.ENOTDIR, "disk_missing", "attach its disk"),
        (errno.ESTALE, "disk_missing", "attach its disk"),
        (errno.ENODEV, "disk_missing", "attach its disk"),
        (errno.EIO, "disk_failing", "have it checked"),
        (errno.ELOOP, "disk_outside", "remove it"),
        (errno.EMFILE, "disk_busy", "close some programs"),
        (errno.ENFILE, "disk_busy", "close some programs"),
        (errno.EBUSY, "disk", "cannot be used"),
    ],
)
def test_an_error_of_the_file_system_says_what_to_do(
    number: int, code: str, advice: str
) -> None:
    with pytest.raises(DiskTrouble) as raised, disk_trouble():
        raise OSError(number, os.strerror(number), "/state/a-path-that-says-too-much")
    assert raised.value.code == code
    assert advice in str(raised.value)
    assert os.strerror(number) in str(raised.value)
    assert "too-much" not in str(raised.value)


def test_an_error_without_a_number_keeps_its_words() -> None:
    with pytest.raises(DiskTrouble, match="no gallery") as raised, disk_trouble():
        raise OSError("no gallery")
    assert raised.value.code == "disk"


def test_what_is_no_error_of_the_file_system_stays_what_it_is() -> None:
    with pytest.raises(ZeroDivisionError), disk_trouble():
        raise ZeroDivisionError
    with pytest.raises(DiskTrouble, match=r"^full$"), disk_trouble():
        raise trouble("disk_full", "full")
    assert DiskTrouble("another").code == "disk"
