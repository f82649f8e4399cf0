"""Who can sign in at the embedded backend: anybody, under any name.

Its directory holds the secret behind all tokens, sessions and links, and a token file.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from materializer.devserver.tokens import LIFETIME, Tokens
from materializer.errors import SettingsInvalid

DEVELOPER = "dev"
_COOKIE = "better-auth.session_token"


def secret_of(state_dir: Path) -> bytes:
    """Return the secret of a backend's directory; both are made where missing.

    Raises:
        SettingsInvalid: the directory cannot be used.
    """
    path = state_dir / "secret"
    with _usable(state_dir):
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _write_private(path, secrets.token_bytes(32))
        return path.read_bytes()


def token_of(state_dir: Path, subject: str, lifetime: float) -> str:
    """Return a token for an account of the backend that has, or had, this directory.

    Raises:
        SettingsInvalid: none has.
    """
    try:
        site_url = json.loads((state_dir / "token.json").read_bytes())["siteUrl"]
        secret = (state_dir / "secret").read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise SettingsInvalid(
            f"{state_dir} is not the directory of an embedded backend; name it with"
            " --state, or its token file in STELLA_MEDIA_TOKEN_FILE"
        ) from error
    return Tokens(secret).issue(site_url, subject, time.time(), lifetime)


class Accounts:
    """Hands out tokens: of the developer's account, of others, of anonymous ones.

    Args:
        site_url: issues the tokens.
        convex_url: is told in the token file.

    Attributes:
        token_file: JSON `{token, convexUrl, siteUrl}`, mode 0600.
    """

    def __init__(
        self, state_dir: Path, tokens: Tokens, site_url: str, convex_url: str
    ) -> None:
        self.token_file = state_dir / "token.json"
        self._tokens = tokens
        self._site_url = site_url
        self._convex_url = convex_url

    @property
    def routes(self) -> list[Route]:
        """The endpoints of sign-in, as the hosted backend has them."""
        return [
            Route("/api/auth/sign-in/anonymous", self._anonymous, methods=["POST"]),
            Route("/api/auth/convex/token", self._token),
            Route("/api/auth/convex/jwks", self._jwks),
        ]

    def token(self, subject: str = DEVELOPER, lifetime: float = LIFETIME) -> str:
        """Return a fresh token for an account, good for `lifetime` seconds."""
        return self._tokens.issue(self._site_url, subject, time.time(), lifetime)

    def write_token_file(self) -> None:
        """Put a fresh token of the developer's account into the token file.

        Raises:
            SettingsInvalid: it cannot be written.
        """
        content = {
            "token": self.token(),
            "convexUrl": self._convex_url,
            "siteUrl": self._site_url,
        }
        with _usable(self.token_file.parent):
            _write_private(self.token_file, json.dumps(content).encode())

    async def _anonymous(self, _: Request) -> Response:
        subject = f"anonymous-{secrets.token_hex(8)}"
        user = {"id": subject, "name": "Anonymous", "isAnonymous": True}
        session = self._tokens.session(subject)
        response = JSONResponse({"token": session, "user": user})
        response.set_cookie(_COOKIE, session, httponly=True, samesite="lax")
        return response

    async def _token(self, request: Request) -> Response:
        subject = self._tokens.subject(request.cookies.get(_COOKIE, ""))
        return JSONResponse({"token": self.token(subject or DEVELOPER)})

    async def _jwks(self, _: Request) -> Response:
        return JSONResponse(self._tokens.jwks())


def _write_private(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
    with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
        file.write(data)
    part.replace(path)


@contextmanager
def _usable(state_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsInvalid(
            f"the backend's state directory {state_dir} cannot be used: "
            f"{error.strerror}; name another one with --state"
        ) from error
