"""The trouble that a prompt asks for, so that every bad ending can be seen."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SAYS = r":(?:(\S+)[ ]|[ ])([^\]]+)\]"
_FAIL, _REFUSE = re.compile(rf"\[fail{_SAYS}"), re.compile(rf"\[refuse{_SAYS}")
_SLOW = re.compile(r"\[slow:(\d{1,4}(?:\.\d{1,3})?)\]")


@dataclass(frozen=True, slots=True)
class Faults:
    """How a job differs from one that simply succeeds.

    Attributes:
        failure: the upstream's message and code, or None.
        refusal: likewise, of an upstream that does not even take the job.
        slow: seconds that the job runs longer.
        cancel: it ends as canceled.
        expire: the links of its output have already expired.
        empty: it succeeds with an output that holds nothing.
    """

    failure: tuple[str, str | None] | None = None
    refusal: tuple[str, str | None] | None = None
    slow: float = 0.0
    cancel: bool = False
    expire: bool = False
    empty: bool = False


def asked_for(prompt: str) -> Faults:
    """Read `[fail: MESSAGE]`, `[fail:CODE MESSAGE]`, `[slow:SECONDS]` and the rest."""
    slow = _SLOW.search(prompt)
    return Faults(
        failure=_said(_FAIL, prompt),
        refusal=_said(_REFUSE, prompt),
        slow=float(slow[1]) if slow else 0.0,
        cancel="[cancel]" in prompt,
        expire="[expire]" in prompt,
        empty="[empty]" in prompt,
    )


def _said(wanted: re.Pattern[str], prompt: str) -> tuple[str, str | None] | None:
    found = wanted.search(prompt)
    return (found[2].strip(), found[1]) if found else None
