"""The backend's state: jobs, the functions over them, one clock of changes.

Pure: no I/O, and every change is told what time it is, in nanoseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from materializer.convex import values

NS_IN_MS = 1_000_000
DEFAULT_LIMIT, MAX_LIMIT = 50, 200

# Nobody outside knows whether the hosted backend lists canceled and unknown jobs as
# failed. They are listed here: a client can skip a row by its status, but it can never
# learn that a job has ended from a row that it is not shown.
FAILED_STATUSES = frozenset({"failed", "canceled", "unknown"})


class FunctionFailed(Exception):
    """A Convex function ended in an error; the text is what the caller is told."""


@dataclass(frozen=True, slots=True)
class Row:
    """One `media_jobs` row with its owner, who is not part of what clients see."""

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

    def wire(self) -> dict[str, Any]:
        """Return the row as clients get it; what has not happened yet is left out."""
        later = {
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
            "status": self.status,
            "upstreamStatus": self.upstream_status,
            "queuePosition": 0 if self.status == "queued" else None,
            "createdAt": self.created_at,
            "updatedAt": self.updated_at,
        } | {name: value for name, value in later.items() if value is not None}


class Deployment:
    """Jobs of all owners, and the three public query functions over them.

    `ts` is the time of the newest change in nanoseconds. It only ever grows, also over
    a restart, since it starts at the time of the start. Every callback in `watchers` is
    called, without arguments, after each change.
    """

    def __init__(self, now: int) -> None:
        self.ts = now
        self.watchers: set[Callable[[], object]] = set()
        self._rows: dict[str, Row] = {}
        self._functions: dict[str, Callable[[_Arguments, str | None], Any]] = {
            "media_jobs:getByJobId": self._get_by_job_id,
            "media_jobs:listSucceededSince": self._list_succeeded_since,
            "media_jobs:listFailedSince": self._list_failed_since,
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
    ) -> Row:
        """Queue a job and return its row."""
        at = now // NS_IN_MS
        row = Row(owner, job_id, capability, profile, request or {}, at, at)
        self._store(now, row)
        return row

    def start(self, now: int, job_id: str) -> None:
        """Move a queued job to running."""
        self._change(
            now,
            job_id,
            status="running",
            upstream_status="IN_PROGRESS",
            started_at=now // NS_IN_MS,
        )

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

    def row(self, job_id: str, owner: str | None) -> Row | None:
        """Return the job's row, or None where it is missing or another owner's."""
        row = self._rows.get(job_id)
        return row if row is not None and row.owner == owner else None

    def run(self, path: str, args: Mapping[str, Any], owner: str | None) -> Any:
        """Run a public query as `owner` (None: signed out); return its value's JSON.

        Raises:
            FunctionFailed: there is no such function, the arguments do not fit, or a
                row holds what is no Convex value.
        """
        module, _, export = path.rpartition(":")
        function = self._functions.get(f"{module.removesuffix('.js')}:{export}")
        if function is None:
            raise FunctionFailed(f"Could not find public function for '{path}'.")
        try:
            return values.encode(function(_Arguments(args), owner))
        except ValueError as error:
            raise FunctionFailed(f"The value cannot be returned. {error}") from error

    def _get_by_job_id(self, args: _Arguments, owner: str | None) -> Any:
        job_id = args.take("jobId", str, "v.string()")
        args.done()
        row = self.row(job_id, owner)
        return row and row.wire()

    def _list_succeeded_since(self, args: _Arguments, owner: str | None) -> Any:
        return self._list(frozenset({"succeeded"}), args, owner)

    def _list_failed_since(self, args: _Arguments, owner: str | None) -> Any:
        return self._list(FAILED_STATUSES, args, owner)

    def _list(
        self, statuses: frozenset[str], args: _Arguments, owner: str | None
    ) -> list[Any]:
        since = args.take("since", int | float, "v.float64()")
        limit = args.take("limit", int | float, "v.float64()", DEFAULT_LIMIT)
        args.take("includeLogs", bool, "v.boolean()", default=False)
        args.done()
        # In this order NaN counts as the smallest limit.
        limit = int(min(max(1, limit), MAX_LIMIT))
        ended = [
            (row.completed_at, row)
            for row in self._rows.values()
            if row.owner == owner
            and row.status in statuses
            and row.completed_at is not None
            and row.completed_at >= since
        ]
        ended.sort(key=lambda pair: pair[0], reverse=True)
        return [row.wire() for _, row in ended[:limit]]

    def _end(
        self, now: int, job_id: str, status: str, upstream: str, **fields: Any
    ) -> None:
        self._change(
            now,
            job_id,
            status=status,
            upstream_status=upstream,
            completed_at=now // NS_IN_MS,
            **fields,
        )

    def _change(self, now: int, job_id: str, **fields: Any) -> None:
        row = replace(self._rows[job_id], updated_at=now // NS_IN_MS, **fields)
        self._store(now, row)

    def _store(self, now: int, row: Row) -> None:
        self._rows[row.job_id] = row
        self.ts = max(self.ts + 1, now)
        for watcher in tuple(self.watchers):
            watcher()


class _Arguments:
    """A function's arguments, checked as they are taken."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._left = dict(given)

    def take(self, name: str, kind: Any, validator: str, default: Any = None) -> Any:
        if name not in self._left:
            if default is not None:
                return default
            raise FunctionFailed(
                "ArgumentValidationError: Object is missing the required field "
                f"`{name}`."
            )
        value = self._left.pop(name)
        if not isinstance(value, kind) or (
            isinstance(value, bool) and kind is not bool
        ):
            raise FunctionFailed(
                "ArgumentValidationError: Value does not match validator. "
                f"Path: .{name} Validator: {validator}"
            )
        return value

    def done(self) -> None:
        for name in self._left:
            raise FunctionFailed(
                f"ArgumentValidationError: Object contains extra field `{name}` "
                "that is not in the validator."
            )
