"""The simulated edge of SQLite: commits are effects, can be refused, and be undone.

A commit is written to the log beside the database, and the log is synced where
`synchronous` is FULL. A power cut leaves all of the log up to its last sync, and any
part of what was written to it after that. Within a life the log only grows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulation.world import World

_SYNCHRONOUS_FULL = 2


class Database:
    """What the lives of one history commit to, one after the other."""

    def __init__(self, world: World, path: Path) -> None:
        self._world = world
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._open: list[sqlite3.Connection] = []
        self._synced = 0
        self._unsynced: tuple[bytes, bytes] | None = None

    def connecting(self, connect: Callable[..., Any]) -> Callable[..., Any]:
        """Return what a process of this world calls in the place of `connect`."""
        history = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
                if sql == "BEGIN IMMEDIATE":
                    history.refuse()
                if sql != "COMMIT":
                    return super().execute(sql, *args)
                history._world.effect("commit")
                cursor = super().execute(sql)
                (mode,) = super().execute("PRAGMA synchronous").fetchone()
                history.committed(durable=mode >= _SYNCHRONOUS_FULL)
                return cursor

        def connected(*args: Any, **kwargs: Any) -> Any:
            if not self._open:
                self._synced = self._written()
            made = connect(*args, factory=Connection, **kwargs)
            self._open.append(made)
            made.execute("PRAGMA wal_autocheckpoint = 0")
            return made

        return connected

    def refuse(self) -> None:
        """Begin no transaction, at times, while the disk is full."""
        world = self._world
        if world.full and world.maybe(0.5):
            world.troubles["transaction refused"] += 1
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    def committed(self, *, durable: bool) -> None:
        """Note how much of the log is synced now."""
        if durable:
            self._synced = self._written()
        self._world.effect("committed")

    def end(self) -> None:
        """End every connection, as the end of a process does."""
        self._unsynced = None
        if self._written() > self._synced:
            self._unsynced = self._path.read_bytes(), self._log.read_bytes()
        while self._open:  # what was not committed is undone
            self._open.pop().close()

    def cut_power(self) -> None:
        """Leave what a disk may hold now."""
        if self._unsynced is None:
            return
        database, log = self._unsynced
        there = self._world.chance.randint(self._synced, len(log))
        self._world.troubles["commit undone"] += there < len(log)
        self._path.write_bytes(database)
        self._log.write_bytes(log[:there])

    def _written(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0
