"""Short-lived EdDSA tokens for the embedded backend; the room of PyJWT."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from materializer.errors import SignInNeeded

LIFETIME = 300.0
_KEY_ID = "dev"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token speaks for, `issuer|subject`, and until when, in seconds."""

    owner: str
    expires_at: float


class Tokens:
    """Issues tokens, and honours every token that the same secret once issued.

    The issuer of a token is not compared: only this backend has the key, and a
    restart may have given it another port.
    """

    def __init__(self, secret: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(sha256(secret).digest())
        self._public = self._private.public_key()

    def issue(
        self, issuer: str, subject: str, now: float, lifetime: float = LIFETIME
    ) -> str:
        """Return a token for `subject`, good for `lifetime` seconds from `now`."""
        claims = {
            "iss": issuer,
            "sub": subject,
            "aud": "convex",
            "iat": int(now),
            "exp": int(now + lifetime),
        }
        return self._sign(claims)

    def session(self, subject: str) -> str:
        """Return what a browser keeps of a sign-in of `subject`; it does not expire."""
        return self._sign({"sub": subject, "aud": "session"})

    def subject(self, session: str) -> str | None:
        """Return whom a session is of, or None where it is none of ours."""
        try:
            claims = jwt.decode(session, self._public, ["EdDSA"], audience="session")
        except jwt.PyJWTError:
            return None
        return str(claims["sub"])

    def verify(self, token: str, now: float) -> Identity:
        """Return whom the token speaks for.

        Raises:
            SignInNeeded: it is no token of ours, or it has expired.
        """
        try:
            claims = jwt.decode(
                token,
                self._public,
                ["EdDSA"],
                audience="convex",
                # The time is an argument here, so that expiry can be played.
                options={
                    "require": ["iss", "sub", "exp"],
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError as error:
            raise SignInNeeded("The token could not be verified.") from error
        if claims["exp"] <= now:
            raise SignInNeeded("The token has expired.")
        return Identity(f"{claims['iss']}|{claims['sub']}", float(claims["exp"]))

    def _sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self._private, "EdDSA", {"kid": _KEY_ID})

    def jwks(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key Set."""
        x = base64.urlsafe_b64encode(self._public.public_bytes_raw()).rstrip(b"=")
        return {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "alg": "EdDSA",
                    "use": "sig",
                    "kid": _KEY_ID,
                    "x": x.decode(),
                }
            ]
        }
