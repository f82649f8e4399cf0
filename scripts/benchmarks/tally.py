"""What a client in Python notes of the values that it was handed.

`client_npm.mjs` does the same in its own language.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterable


class Tally:
    """The values of one phase: when each came, and what they cost together."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._seen: list[tuple[int, int]] = []
        self._rows = 0
        self._cpu = time.process_time()

    def note(self, job_id: str, profile: str | None, rows: int) -> bool:
        """Note a value by its newest job; return whether it was the phase's last."""
        if profile == "begin":
            _say({"begun": True})
            self._begin()
            return False
        self._seen.append((int(job_id.removeprefix("job_")), time.monotonic_ns()))
        self._rows += rows
        if profile == "turn":
            _say({"handed_over": job_id})
        if profile != "end":
            return False
        self._cpu = time.process_time() - self._cpu
        return True

    def tell(self, last: Iterable[tuple[str, str, int, str, str]]) -> None:
        """Print the phase's report.

        Args:
            last: of each job of the last value its id, status, completion, prompt and
                link, from which all clients make the same digest.
        """
        text = "\n".join(" ".join(map(str, job)) for job in last)
        digest = hashlib.sha256(text.encode()).hexdigest()
        report = {"cpu": self._cpu, "rows": self._rows, "seen": self._seen}
        _say(report | {"digest": digest})


def _say(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
