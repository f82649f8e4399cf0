"""The media gateway's HTTP API, as `stella-media` needs it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import httpx
import truststore

from materializer import wording
from materializer.errors import GatewayError, SignInNeeded
from materializer.rows import read_job

# Seconds before a request is sent again whose answer was lost.
_AGAIN = (0.5, 1.0, 2.0)
_TIMEOUT = httpx.Timeout(30.0, connect=15.0)
_UNREADABLE = "The Stella media gateway gave an unreadable answer."
_SIGN_IN = "Stella refused the sign-in. Open Stella, sign in again, then retry."


class Gateway:
    """A client of one gateway, to be used as an async context manager.

    Every call raises SignInNeeded when the token is refused, and GatewayError when
    the gateway says no or gives no answer.

    Args:
        site_url: scheme and host; an absolute path replaces any path it has.
        token: the bearer token.
        device_id: sent as `X-Device-ID` where there is one.

    Attributes:
        token: what the next call is made with; it may be renewed at any time.
    """

    def __init__(self, site_url: str, token: str, device_id: str | None = None) -> None:
        headers = {"X-Device-ID": device_id} if device_id else {}
        self.token = token
        self._site_url = site_url
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=_TIMEOUT,
            verify=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def generate(self, request: Any, *, idempotency_key: str) -> dict[str, Any]:
        """Submit a request as it is and return the accepted object (HTTP 202).

        When the answer is lost, it is sent again under the same key.
        """
        headers = {"Idempotency-Key": idempotency_key}
        pauses = iter(_AGAIN)
        while True:
            try:
                return await self._call(
                    "POST", "/api/media/v1/generate", headers, json=request
                )
            except GatewayError as error:
                pause = next(pauses, None) if error.status is None else None
                if pause is None:
                    raise
                await asyncio.sleep(pause)

    async def job(self, job_id: str) -> dict[str, Any]:
        """Return the row of a job, which `read_job` can read."""
        row = await self._call("GET", "/api/media/v1/job", params={"jobId": job_id})
        try:
            read_job(row)
        except ValueError as error:
            raise GatewayError(_UNREADABLE) from error
        return row

    async def capabilities(self) -> dict[str, Any]:
        """Return the catalogue of capabilities."""
        return await self._call("GET", "/api/media/v1/capabilities")

    async def _call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        url = urljoin(self._site_url, path)
        headers = {**(headers or {}), "Authorization": f"Bearer {self.token}"}
        try:
            response = await self._http.request(method, url, headers=headers, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise GatewayError(
                f"The Stella media gateway at {httpx.URL(url).host} did not answer"
                f" ({type(error).__name__})."
            ) from error
        body = _body(response)
        if not response.is_success:
            raise _refusal(response, body or {})
        if body is None:
            raise GatewayError(_UNREADABLE)
        return body


def _refusal(
    response: httpx.Response, body: dict[str, Any]
) -> SignInNeeded | GatewayError:
    said, code, action = (_text(body.get(key)) for key in ("error", "code", "action"))
    status = response.status_code
    if status == httpx.codes.UNAUTHORIZED:
        return SignInNeeded(wording.shown(said) or _SIGN_IN, action=action or None)
    retry_after = _asked(response.headers.get("retry-after", ""))
    advice = wording.advice(said, code, status=status, retry_after=retry_after)
    return GatewayError(
        wording.shown(said) or f"Stella media request failed with status {status}.",
        status=status,
        action=action or advice,
        retry_after=retry_after,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _body(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _asked(retry_after: str) -> float | None:
    """Return the seconds that are to be waited, which may be told as a date."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        when = parsedate_to_datetime(retry_after)
    except (ValueError, IndexError, OverflowError):
        return None
    left = when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)
    return max(0.0, left.total_seconds())
