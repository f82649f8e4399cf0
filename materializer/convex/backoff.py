"""When to try again: longer after each failure, never all at once.

The first delay depends on why the connection ended, as the deployment's own clients
have it: a busy server is given more time than a lost socket.
"""

from __future__ import annotations

CAP = 16.0
PATIENT_CAP = 300.0

OURSELVES = ("InactiveServer", "FailedToSendMessage", "WokeUp", "AuthError")
BUSY = (
    "SubscriptionsWorkerFullError",
    "TooManyConcurrentRequests",
    "CommitterFullError",
    "AwsTooManyRequestsException",
    "ExecuteFullError",
    "SystemTimeoutError",
    "ExpiredInQueue",
    "VectorIndexTooLarge",
    "SearchIndexTooLarge",
    "TooManyWritesInTimePeriod",
)
# The server understood us and will not have us: only a person or an update helps.
HOPELESS = ("FatalError", "ClientVersionUnsupported")


def delay(reason: str, failures: int, chance: float, *, ours: bool = False) -> float:
    """Return the seconds to wait before the next attempt.

    Args:
        reason: why the last one ended; its beginning decides.
        failures: how many attempts have failed before it, since the last success.
        chance: a number in [0, 1) that spreads clients; the wait is half to one and
            a half of the planned one.
        ours: whether it was the client that ended it, which the other side's words
            cannot claim.
    """
    first, cap = 1.0, CAP
    if ours and reason in OURSELVES:
        first = 0.1
    elif reason.startswith(BUSY):
        first = 3.0
    elif reason.startswith(HOPELESS):
        first, cap = 30.0, PATIENT_CAP
    return min(first * 2.0 ** min(failures, 16), cap) * (0.5 + chance)
