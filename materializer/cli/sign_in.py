"""Whose token a call of `stella-media` uses, and which gateway it asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from materializer.cli import options
from materializer.config import Settings
from materializer.credentials import Credentials
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
    """The settings of this call, whose token it uses, and where that is good."""

    settings: Settings
    credentials: Credentials
    site_url: str

    @classmethod
    async def now(cls) -> SignIn:
        """Read settings and token.

        Raises:
            SignInNeeded: there is no token, or nothing says which gateway to ask.
            SettingsInvalid: a setting or the token's source is unusable.
        """
        settings = options.read()
        credentials = Credentials.of(settings)
        grant = await credentials.ask()
        site_url = settings.site_url or grant.site_url
        if grant.bearer is None or site_url is None:
            raise SignInNeeded(_SIGN_IN)
        return cls(settings, credentials, site_url)

    def gateway(self) -> Gateway:
        """Return a client of the gateway, to be used in `async with`."""
        # Its library is what makes a command start slowly.
        from materializer.gateway import Gateway

        bearer = self.credentials.grant.bearer or ""
        return Gateway(self.site_url, bearer, self.settings.device_id)

    async def renew(self, gateway: Gateway, *, force: bool = False) -> bool:
        """Hand the gateway the token that is good now; return whether it is another.

        Args:
            force: whether a token that a command printed earlier will not do.

        Raises:
            SignInNeeded: somebody has signed out.
            SettingsInvalid: the token's source is unusable now.
        """
        bearer = (await self.credentials.ask(force=force)).bearer
        if bearer is None:
            raise SignInNeeded(_SIGN_IN)
        another, gateway.token = bearer != gateway.token, bearer
        return another

    @property
    def account(self) -> Account:
        """Whose ledger the job goes to: the token's account, as far as it says."""
        grant = self.credentials.grant
        try:
            token = grant.token
        except SettingsInvalid:
            token = None
        # The gateway takes tokens that name nobody; those are this site's own.
        owner = token.owner if token else f"{self.site_url}|"
        deployment = self.settings.convex_url or grant.convex_url
        return Account(deployment or self.site_url, owner)
