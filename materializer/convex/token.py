"""A sign-in token: whose it is and how long it is good, as it says itself."""

from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import dataclass, field

from materializer.errors import SettingsInvalid

LEEWAY = 90.0
SELDOM = 10.0
MAX_LENGTH = 16 * 2**10

_JWT = re.compile(r"[\w-]+\.([\w-]+)\.[\w-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT; its signature is for the deployment to judge.

    Attributes:
        value: the token itself, a secret.
        owner: the account, `iss` and `sub` joined by a pipe.
        issued_at: seconds since 1970, or None when it does not say.
        expires_at: the same.
    """

    value: str = field(repr=False)
    owner: str
    issued_at: float | None = None
    expires_at: float | None = None

    @classmethod
    def read(cls, text: str) -> Token:
        """Read a token from its text.

        Raises:
            SettingsInvalid: it is no JWT that names an account. The words do not show
                the token.
        """
        text = text.strip()
        match = _JWT.fullmatch(text) if len(text) <= MAX_LENGTH else None
        if match is None:
            raise SettingsInvalid(
                "the sign-in token is no JWT (three base64url parts joined by dots);"
                " get a fresh one from the app"
            )
        claims = _claims(match[1])
        issuer, subject = claims.get("iss"), claims.get("sub")
        if not (isinstance(issuer, str) and issuer):
            raise SettingsInvalid("the sign-in token has no issuer (`iss`)")
        if not (isinstance(subject, str) and subject):
            raise SettingsInvalid("the sign-in token has no subject (`sub`)")
        return cls(
            value=text,
            owner=f"{issuer}|{subject}",
            issued_at=_seconds(claims.get("iat")),
            expires_at=_seconds(claims.get("exp")),
        )

    def good_for(self, wall: float) -> float:
        """Return the seconds until a fresh token should be asked for.

        That is 90 s before it expires, or less for short lives, and never sooner
        than in 10 s, even if it ends before; infinity when it does not expire.

        Args:
            wall: seconds since 1970, at which the deployment took the token.
        """
        left, leeway = self._left(wall)
        if self.issued_at is not None and self.expires_at is not None:
            life = self.expires_at - self.issued_at
            if not 0 < left <= life:
                # A token that was just taken is good: our clock is wrong, not it.
                left = life
        return max(SELDOM, left - leeway)

    def expiring(self, wall: float) -> bool:
        """Whether it has expired or is about to, by our own clock."""
        left, leeway = self._left(wall)
        return left <= leeway

    def _left(self, wall: float) -> tuple[float, float]:
        if self.expires_at is None:
            return math.inf, LEEWAY
        left = self.expires_at - wall
        life = left if self.issued_at is None else self.expires_at - self.issued_at
        return left, min(LEEWAY, max(life, 0.0) / 3)


def _claims(payload: str) -> dict[str, object]:
    try:
        raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        claims = json.loads(raw)
    except (ValueError, RecursionError):
        # The cause would quote the payload, which belongs to the secret.
        raise SettingsInvalid("the sign-in token's payload is no JSON") from None
    if not isinstance(claims, dict):
        raise SettingsInvalid("the sign-in token's payload is no JSON object")
    return claims


def _seconds(claim: object) -> float | None:
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        return None
    return float(claim) if math.isfinite(claim) and 0 < claim < 2**53 else None
