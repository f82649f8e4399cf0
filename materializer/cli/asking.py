"""The gateway is asked for a job time and again, until it has ended."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from materializer.cli.sign_in import SignIn
from materializer.errors import GatewayError, SettingsInvalid, SignInNeeded
from materializer.rows import read_job

if TYPE_CHECKING:
    from materializer.gateway import Gateway

# So long is waited at most, unless the gateway or the person asks for more.
_LONGEST_PAUSE = 15.0
# A look that begins as the time is up gets so long all the same.
_LAST_LOOK = 2.0
_MAY_PASS = frozenset({None, 408, 425, 429})


class Asking:
    """Asks for one job; a question that failed says nothing about it.

    Args:
        interval: seconds between two questions.
        tell: called with the job's status.

    Attributes:
        trouble: why the last question failed, or None.
    """

    def __init__(
        self,
        sign_in: SignIn,
        gateway: Gateway,
        job_id: str,
        interval: float,
        tell: Callable[[str], None],
    ) -> None:
        self._sign_in = sign_in
        self._gateway = gateway
        self._job_id = job_id
        self._interval = interval
        self._tell = tell
        self._failures = 0
        self.trouble: GatewayError | None = None

    async def until_ended(self, timeout: float) -> dict[str, Any] | None:
        """Return the row of the ended job, or None when `timeout` seconds are over.

        Raises:
            SignInNeeded: the token is refused, and there is no other one.
            GatewayError: the gateway knows no such job, or will not tell.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            left = deadline - loop.time()
            row = await self._look(max(left, _LAST_LOOK))
            if row is not None and read_job(row).ended:
                return row
            asked = self.trouble.retry_after or 0 if self.trouble else 0
            if loop.time() + asked > deadline:
                return None  # nothing more can be known in time
            left = max(0.0, deadline - loop.time())
            await asyncio.sleep(min(left, max(self._pause(), asked)))

    def _pause(self) -> float:
        if not self._failures:
            return self._interval
        doubled = self._interval * 2.0 ** min(self._failures, 16)
        longest = max(self._interval, _LONGEST_PAUSE)
        chance = random.random()  # noqa: S311 -- spreads clients, guards nothing
        return min(doubled, longest) * (0.5 + chance / 2)

    async def _look(self, within: float) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(within):
                row = await self._ask()
        except TimeoutError:
            self.trouble = GatewayError("The Stella media gateway did not answer.")
        except GatewayError as error:
            if error.status not in _MAY_PASS and (error.status or 0) < 500:
                raise
            self.trouble = error
        else:
            self.trouble, self._failures = None, 0
            self._tell(str(row["status"]))
            return row
        self._failures += 1
        return None

    async def _ask(self) -> dict[str, Any]:
        with suppress(SettingsInvalid):  # the token that there was may still do
            await self._sign_in.renew(self._gateway)
        try:
            return await self._gateway.job(self._job_id)
        except SignInNeeded:
            if not await self._another_token():
                raise
        return await self._gateway.job(self._job_id)

    async def _another_token(self) -> bool:
        try:
            return await self._sign_in.renew(self._gateway, force=True)
        except SettingsInvalid:
            return False
