"""The backend's state: jobs, the functions over it, one clock of changes.

Pure: no I/O, and every change is told what time it is, in nanoseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from materializer.devserver.functions import (
    Arguments,
    Call,
    Function,
    FunctionFailed,
    Kind,
    Returned,
    canonical,
)
from materializer.devserver.rules import CURRENT_WORDS

NS_IN_MS = 1_000_000
DEFAULT_LIMIT, MAX_LIMIT = 50, 200
MAX_LOGS = 100

# Nobody outside knows whether the hosted backend lists canceled and unknown jobs as
# failed. They are listed here: a client can skip a row by its status, but it can never
# learn that a job has ended from a row that it is not shown.
FAILED_STATUSES = frozenset({"failed", "canceled", "unknown"})


@dataclass(frozen=True, slots=True)
class Row:
    """One `media_jobs` row.

    Clients do not see the owner, nor the idempotency key under which it was submitted.
    """

    owner: str
    job_id: str
    capability: str
    profile: str
    request: Mapping[str, Any]
    created_at: int
    updated_at: int
    status: str = "queued"
    upstream_status: str = "IN_QUEUE"
    started_at: int | None = None
    completed_at: int | None = None
    output: Any = None
    error: Mapping[str, Any] | None = None
    key: str | None = None
    logs: tuple[Mapping[str, Any], ...] = ()

    def wire(
        self, words: Mapping[str, str] = CURRENT_WORDS, *, logs: bool = True
    ) -> dict[str, Any]:
        """Return the row as clients get it; what has not happened yet is left out.

        Args:
            words: what is said instead of a status, where something else is.
            logs: whether the newest of the job's log is in it, oldest first.
        """
        later = {
            "logs": list(self.logs) if logs and self.logs else None,
            "output": self.output,
            "error": self.error,
            "startedAt": self.started_at,
            "completedAt": self.completed_at,
        }
        return {
            "jobId": self.job_id,
            "capability": self.capability,
            "profile": self.profile,
            "request": dict(self.request),
            "status": words.get(self.status, self.status),
            "upstreamStatus": self.upstream_status,
            "queuePosition": 0 if self.status == "queued" else None,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
        } | {name: value for name, value in later.items() if value is not None}


class Deployment:
    """Jobs of all owners, and the public functions: three queries over the jobs.

    Args:
        now: when this begins.
        rows: the jobs that there are already.
        keep: called with each row that is new or has changed.
        words: what clients are told instead of a status, where something else is.

    Attributes:
        ts: the time of the newest change in nanoseconds. It only ever grows, also over
            a restart, since it starts at the time of the start.
        watchers: called, without arguments, after each change.
        words: as given.
        functions: by canonical path. Tests may add and remove some.
    """

    def __init__(
        self,
        now: int,
        rows: Iterable[Row] = (),
        keep: Callable[[Row], object] = lambda _: None,
        words: Mapping[str, str] = CURRENT_WORDS,
    ) -> None:
        self.ts = now
        self.watchers: set[Callable[[], object]] = set()
        self.words = words
        self._keep = keep
        self._rows = {row.job_id: row for row in rows}
        self._keyed = {(row.owner, row.key): row.job_id for row in self._rows.values()}
        self._mutated: dict[tuple[UUID, int], tuple[Returned, int]] = {}
        self.functions = {
            "media_jobs:getByJobId": Function("query", self._get_by_job_id),
            "media_jobs:listSucceededSince": Function("query", self._list_succeeded),
            "media_jobs:listFailedSince": Function("query", self._list_failed),
        }

    def submit(
        self,
        now: int,
        *,
        owner: str,
        job_id: str,
        capability: str,
        profile: str = "default",
        request: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Row:
        """Queue a job and return its row; by its owner and `key` it is `keyed`."""
        at = now // NS_IN_MS
        row = Row(owner, job_id, capability, profile, request or {}, at, at, key=key)
        self._store(now, row := _logged(row, at, "Queued."))
        return row

    def start(self, now: int, job_id: str) -> None:
        """Move a queued job to running."""
        at = now // NS_IN_MS
        running = {"status": "running", "upstream_status": "IN_PROGRESS"}
        self._change(now, job_id, "Started.", started_at=at, **running)

    def process(self, now: int, job_id: str) -> None:
        """Note that a running job's result is being made ready to be fetched."""
        self._change(now, job_id, "Processing.", status="processing")

    def succeed(self, now: int, job_id: str, output: object) -> None:
        """End a job with its output."""
        self._end(now, job_id, "succeeded", "COMPLETED", output=output)

    def fail(
        self, now: int, job_id: str, message: str, code: str | None = None
    ) -> None:
        """End a job with the upstream's message, and its code where there is one."""
        error = {"message": message} | ({"code": code} if code else {})
        self._end(now, job_id, "failed", "ERROR", error=error)

    def cancel(self, now: int, job_id: str) -> None:
        """End a job as canceled."""
        self._end(now, job_id, "canceled", "CANCELED")

    def is_open(self, job_id: str) -> bool:
        """Tell whether a job has not ended yet."""
        row = self._rows.get(job_id)
        return row is not None and row.completed_at is None

    def row(self, job_id: str, owner: str | None) -> Row | None:
        """Return the job's row, or None where it is missing or another owner's."""
        row = self._rows.get(job_id)
        return row if row is not None and row.owner == owner else None

    def keyed(self, owner: str, key: str) -> Row | None:
        """Return the job that the owner submitted under an idempotency key."""
        return self.row(self._keyed.get((owner, key), ""), owner)

    def run(self, path: str, args: Mapping[str, Any], owner: str | None) -> Returned:
        """Run a query as `owner` (None: signed out).

        Raises:
            FunctionFailed: it did, or there is no such query.
        """
        return self._find("query", path).call(args, owner)

    def act(self, path: str, args: Mapping[str, Any], owner: str | None) -> Returned:
        """Run an action; raises as `run`."""
        return self._find("action", path).call(args, owner)

    def mutate(
        self,
        now: int,
        path: str,
        args: Mapping[str, Any],
        owner: str | None,
        key: tuple[UUID, int] | None = None,
    ) -> tuple[Returned, int]:
        """Run a mutation; return also from when on queries show it. Raises as `run`.

        Args:
            key: session and request. A mutation that has succeeded under it is not run
                again while this backend runs, and returns what it returned then.
        """
        if key in self._mutated:
            return self._mutated[key]
        returned = self._find("mutation", path).call(args, owner)
        self._commit(now)
        if key is not None:
            self._mutated[key] = returned, self.ts
        return returned, self.ts

    def find(self, path: str) -> Function | None:
        """Return a function, however its path is spelled, or None.

        Raises:
            ValueError: no function could have this path.
        """
        return self.functions.get(canonical(path))

    def _find(self, kind: Kind, path: str) -> Function:
        function = self.find(path)
        if function is None:
            raise FunctionFailed(
                f"Could not find public function for '{canonical(path)}'."
            )
        if function.kind != kind:
            raise FunctionFailed(
                f"'{canonical(path)}' is no {kind} but a {function.kind}."
            )
        return function

    def _get_by_job_id(self, call: Call) -> Any:
        args = Arguments(call)
        job_id = args.take("jobId", str, "v.string()")
        args.done()
        row = self.row(job_id, call.owner)
        return row and row.wire(self.words)

    def _list_succeeded(self, call: Call) -> Any:
        return self._list(frozenset({"succeeded"}), call)

    def _list_failed(self, call: Call) -> Any:
        return self._list(FAILED_STATUSES, call)

    def _list(self, statuses: frozenset[str], call: Call) -> list[Any]:
        args = Arguments(call)
        since = args.take("since", int | float, "v.float64()")
        limit = args.take("limit", int | float, "v.float64()", DEFAULT_LIMIT)
        logs = args.take("includeLogs", bool, "v.boolean()", default=False)
        args.done()
        # In this order NaN counts as the smallest limit.
        limit = int(min(max(1, limit), MAX_LIMIT))
        ended = [
            (row.completed_at, row)
            for row in self._rows.values()
            if row.owner == call.owner
            and row.status in statuses
            and row.completed_at is not None
            and row.completed_at >= since
        ]
        ended.sort(key=lambda pair: pair[0], reverse=True)
        return [row.wire(self.words, logs=logs) for _, row in ended[:limit]]

    def _end(
        self, now: int, job_id: str, status: str, upstream: str, **fields: Any
    ) -> None:
        self._change(
            now,
            job_id,
            f"Ended: {status}.",
            status=status,
            upstream_status=upstream,
            completed_at=now // NS_IN_MS,
            **fields,
        )

    def _change(self, now: int, job_id: str, message: str, **fields: Any) -> None:
        at = now // NS_IN_MS
        row = replace(self._rows[job_id], updated_at=at, **fields)
        self._store(now, _logged(row, at, message))

    def _store(self, now: int, row: Row) -> None:
        self._rows[row.job_id] = row
        self._keyed[row.owner, row.key] = row.job_id
        self._keep(row)
        self._commit(now)

    def _commit(self, now: int) -> None:
        self.ts = max(self.ts + 1, now)
        for watcher in tuple(self.watchers):
            watcher()


def _logged(row: Row, at: int, message: str) -> Row:
    logs = (*row.logs, {"message": message, "timestamp": at})
    return replace(row, logs=logs[-MAX_LOGS:])
