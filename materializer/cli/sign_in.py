"""Whose token a call of `stella-media` uses, and which gateway it asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from materializer.cli import options
from materializer.config import Settings
from materializer.credentials import Credentials, Grant
from materializer.errors import SettingsInvalid, SignInNeeded
from materializer.model import Account

if TYPE_CHECKING:
    from materializer.gateway import Gateway

_SIGN_IN = (
    "stella-media requires Stella sign-in."
    " Open Stella and finish signing in, then retry."
)


@dataclass(frozen=True, slots=True)
class SignIn:
    """The settings of this call, and whose token it uses."""

    settings: Settings
    grant: Grant
    site_url: str

    @classmethod
    def now(cls) -> SignIn:
        """Read settings and token.

        Raises:
            SignInNeeded: there is no token, or nothing says which gateway to ask.
            SettingsInvalid: a setting or the token's source is unusable.
        """
        settings = options.read()
        grant = asyncio.run(Credentials.of(settings).ask())
        site_url = settings.site_url or grant.site_url
        if grant.bearer is None or site_url is None:
            raise SignInNeeded(_SIGN_IN)
        return cls(settings, grant, site_url)

    def gateway(self) -> Gateway:
        """Return a client of the gateway, to be used in `async with`."""
        # Its library is what makes a command start slowly.
        from materializer.gateway import Gateway

        bearer = self.grant.bearer or ""
        return Gateway(self.site_url, bearer, self.settings.device_id)

    @property
    def account(self) -> Account:
        """Whose ledger the job goes to: the token's account, as far as it says."""
        try:
            token = self.grant.token
        except SettingsInvalid:
            token = None
        # The gateway takes tokens that name nobody; those are this site's own.
        owner = token.owner if token else f"{self.site_url}|"
        deployment = self.settings.convex_url or self.grant.convex_url
        return Account(deployment or self.site_url, owner)
