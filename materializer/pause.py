"""The disk's trouble as a state: nothing starts, then one job tries, then all go on."""

from __future__ import annotations

from materializer.backlog import Key, Task

DISK_PAUSE = 30.0
"""Seconds until a disk that could take nothing is tried again."""

LOOK: Key = ("", "")
"""What stands for the ledger in place of a job."""


class Pause:
    """What the disk could not take, and when that is tried again. Times are ms.

    A job that it could not take is held back for as long as a pause, and comes after
    all others then. When others are taken meanwhile, as images are where a film does
    not fit, it waits alone.
    """

    def __init__(self) -> None:
        self._until: int | None = None
        self._held: dict[Key, int] = {}
        self._probe: Key | None = None

    @property
    def lasts(self) -> bool:
        """Whether there is something that the disk could not take."""
        return bool(self._held)

    def next_at(self, now: int) -> int | None:
        """When the next of what is still held back may be tried again."""
        return min((at for at in self._held.values() if at > now), default=None)

    def begin(self, key: Key, now: int) -> None:
        """Hold a job back that the disk could not take, and the others with it."""
        alone = key in self._held and self._until is None
        self._held.pop(key, None)
        self._held[key] = until = now + int(DISK_PAUSE * 1000)
        if not alone:
            self._until = until

    def may_start(self, now: int) -> bool:
        """Whether another job may start: any, or the one that tries the disk."""
        if self._until is None:
            return True
        return now >= self._until and self._probe is None

    def order(self, task: Task) -> tuple[int, int]:
        """Return what tasks are sorted by: what was held back comes last."""
        held = self._held.get(task.key, 0)
        return held, task.finished_at

    def holds(self, task: Task, now: int) -> bool:
        """Whether a task is still held back."""
        return self._held.get(task.key, 0) > now

    def started(self, key: Key) -> None:
        """Take note of a job that starts."""
        if self._until is not None:
            self._probe = key

    def ended(self, key: Key, *, taken: bool) -> None:
        """Take note of a job that has ended, and of whether the disk took a file."""
        if key == self._probe:
            self._probe = None
        if taken:
            self._held.pop(key, None)
            self._until = None

    def keep(self, wanted: set[Key]) -> None:
        """Forget what was held back and is not wanted any more."""
        for key in self._held.keys() - wanted:
            del self._held[key]
        if not self._held:
            self._until = None
