"""What can happen to a session, and what it can want done.

Tokens and results, which hold links, are not shown by `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from materializer.convex.queries import Result, Wanted
from materializer.convex.token import Token
from materializer.convex.values import ABSENT, Absent, Value

State = Literal[
    "connecting", "authenticating", "live", "backoff", "signed_out", "stopped"
]


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happened, in seconds.

    Attributes:
        wall: since 1970; it jumps.
        mono: since some moment; it only goes on, and may stand still in sleep.
    """

    wall: float
    mono: float


@dataclass(frozen=True, slots=True)
class Started:
    """There shall be a conversation, for good."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """There shall be none any more."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The connection that was asked for stands."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message came in."""

    message: str | bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection has ended, or could not be made; the reason says why."""

    reason: str


@dataclass(frozen=True, slots=True)
class TokenChanged:
    """This is the token now; None means that nobody is signed in."""

    token: Token | None


@dataclass(frozen=True, slots=True)
class TokenUnavailable:
    """The token could not be had this time, which does not mean signed out."""

    reason: str


@dataclass(frozen=True, slots=True)
class QueriesWanted:
    """These queries, by name, and no others shall be answered."""

    queries: Wanted


@dataclass(frozen=True, slots=True)
class MutationWanted:
    """This mutation shall be carried out, once; it ends with Settled.

    Attributes:
        key: the caller's name for it, which no other pending one may have.
    """

    key: str
    path: str
    args: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ActionWanted:
    """This action shall be carried out, at most once; it ends with Settled.

    Attributes:
        key: the caller's name for it, which no other pending one may have.
    """

    key: str
    path: str
    args: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Woke:
    """Time has passed.

    Attributes:
        heard: the `mono` at which anything at all was last heard on the connection,
            pings included.
    """

    heard: float


Event: TypeAlias = (
    Started
    | Stopped
    | Opened
    | Received
    | Closed
    | TokenChanged
    | TokenUnavailable
    | QueriesWanted
    | MutationWanted
    | ActionWanted
    | Woke
)


@dataclass(frozen=True, slots=True)
class Connect:
    """Make a connection; answer with Opened or Closed."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message on it."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Close:
    """Send what is to be sent, then end it; nothing more is heard from it."""


@dataclass(frozen=True, slots=True)
class NeedToken:
    """Answer with TokenChanged or TokenUnavailable.

    Attributes:
        force: whether a token that was good before will not do.
    """

    force: bool


@dataclass(frozen=True, slots=True)
class Deliver:
    """All wanted queries' results, at one moment of the deployment.

    Attributes:
        owner: the account that they were computed for.
        results: by the names of QueriesWanted.
        first: whether these are the first on this connection or for this account.
    """

    owner: str
    results: Mapping[str, Result] = field(repr=False)
    first: bool


@dataclass(frozen=True, slots=True)
class Returned:
    """It was carried out, and the queries show what it did."""

    value: Value = field(repr=False)


@dataclass(frozen=True, slots=True)
class Threw:
    """Its function threw.

    Attributes:
        message: the deployment's words.
        data: what a ConvexError carried, which may be null; another has none.
    """

    message: str = field(repr=False)
    data: Value | Absent = field(default=ABSENT, repr=False)


@dataclass(frozen=True, slots=True)
class Lost:
    """There will be no answer.

    Attributes:
        reason: why, in words.
        sent: whether it went out, so that it may have been carried out.
    """

    reason: str
    sent: bool


Outcome: TypeAlias = Returned | Threw | Lost


@dataclass(frozen=True, slots=True)
class Settled:
    """A mutation or an action has come to its end.

    Attributes:
        key: of MutationWanted or ActionWanted.
    """

    key: str
    outcome: Outcome


Effect: TypeAlias = Connect | Send | Close | NeedToken | Deliver | Settled
