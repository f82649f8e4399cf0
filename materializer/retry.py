"""When an attempt that failed is made again, and when no more.

Transient and permanent are told apart by the class of the error: what is refused is
final, what is damaged is tried a few times, a link that is gone is tried anew with the
newest one that the feed has, and all else until the calendar ends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from materializer.errors import (
    FetchError,
    FetchUnavailable,
    LinkGone,
    OutputDamaged,
    OutputRefused,
)
from materializer.model import Job

# The longest wait, in seconds, before the second, third, ... attempt. Every shorter one
# is as likely, so that what failed together does not come back together; it comes to a
# day and a half in all, on average.
_CALENDAR = (4, 10, 30, 120, 600, 1800, 7200, *(12 * 3600,) * 6)
_FLOOR = 1.0
_LONGEST_ASKED = 3600.0

# A source that sends a page in place of the file, time and again, will not mend.
_DAMAGED_ATTEMPTS = 4

# The gravest first. A link is before what mends by itself: the feed is asked about it.
_GRAVITY = (OutputRefused, LinkGone, OutputDamaged, FetchUnavailable, FetchError)


@dataclass(frozen=True, slots=True)
class Tried:
    """What the last attempt at a job leaves to remember, while the program runs.

    Attributes:
        gone: the digest of the output whose link was gone; None when none was, or when
            it was tried before its time, in place of another one.
        damaged: how many attempts in a row came to nothing but damaged outputs.
    """

    gone: str | None = None
    damaged: int = 0


def recall(
    job: Job, errors: Sequence[FetchError], before: Tried | None, *, ahead: bool
) -> Tried:
    """Return what an attempt that ended in these errors leaves to remember.

    `ahead` is whether it was made before its time, `before` what was remembered then.
    """
    if _any(errors, LinkGone):
        return Tried(gone=None if ahead and before else digest(job))
    if _only_damaged(passing(errors)):
        return Tried(damaged=1 + (before.damaged if before else 0))
    return Tried()


def is_renewed(job: Job, tried: Tried | None) -> bool:
    """Whether a job whose link was gone has another output than the one tried.

    It counts as another when nothing is remembered, as after a restart, and as the
    same when the last one was another one already: some sources sign a new link for
    every answer, and would be asked without end.
    """
    if tried is None:
        return True
    return tried.gone is not None and tried.gone != digest(job)


def digest(job: Job) -> str:
    """Return what tells one output from another and gives nothing of it away."""
    text = json.dumps(job.output, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def next_attempt(
    attempts: int,
    errors: Sequence[FetchError],
    tried: Tried | None,
    *,
    link_gone: bool,
    now: int,
    chance: float,
) -> int | None:
    """Return when to try again after an attempt that ended in `errors`, in ms.

    None stands for never. One error that may pass is enough to try again.

    Args:
        attempts: with that one.
        errors: of all outputs that are missing.
        tried: what was remembered before it.
        link_gone: whether the attempt before it ended with a link that was gone.
        now: in ms.
        chance: in [0, 1), the share of the calendar's step that is waited.
    """
    hope = passing(errors)
    damaged = 1 + (tried.damaged if tried else 0)
    if not hope or (_only_damaged(hope) and damaged >= _DAMAGED_ATTEMPTS):
        return None
    # The feed is asked for a newer link meanwhile. So when one is gone for the first
    # time another attempt comes soon, even at the end of the calendar.
    soon = _any(hope, LinkGone) and not link_gone
    asked = max(error.retry_after or 0 for error in hope)
    return retry_at(1 if soon else attempts, now=now, chance=chance, retry_after=asked)


def retry_at(
    attempts: int, *, now: int, chance: float, retry_after: float = 0
) -> int | None:
    """Return when to try again after `attempts` tries, in ms; None when never.

    `chance` in [0, 1) is the share of the calendar's step that is waited, at least a
    second. It is never sooner than `retry_after` seconds, up to an hour of them.
    """
    if not 1 <= attempts <= len(_CALENDAR):
        return None
    step = _CALENDAR[attempts - 1]
    wait = max(step * chance, min(_FLOOR, step), min(retry_after, _LONGEST_ASKED))
    return now + int(wait * 1000)


def passing(errors: Sequence[FetchError]) -> list[FetchError]:
    """Return the errors that may pass."""
    return [error for error in errors if not isinstance(error, OutputRefused)]


def gravest(errors: Sequence[FetchError]) -> tuple[str, str] | None:
    """Return the error that a person is told of, as (code, words)."""
    for kind in _GRAVITY:
        for error in errors:
            if isinstance(error, kind):
                return error.code, str(error)
    return None


def _any(errors: Sequence[FetchError], kind: type[FetchError]) -> bool:
    return any(isinstance(error, kind) for error in errors)


def _only_damaged(errors: Sequence[FetchError]) -> bool:
    return bool(errors) and all(isinstance(e, OutputDamaged) for e in errors)
