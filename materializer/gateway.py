"""The media gateway's HTTP API, as `stella-media` needs it."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import httpx
import truststore

from materializer.errors import GatewayError, SignInNeeded

_TIMEOUT = httpx.Timeout(30.0, connect=15.0)
_SIGN_IN = "Stella refused the sign-in. Open Stella, sign in again, then retry."


class Gateway:
    """A client of one gateway, to be used as an async context manager.

    Every call raises SignInNeeded when the token is refused, and GatewayError when
    the gateway says no or gives no answer.

    Args:
        site_url: scheme and host; an absolute path replaces any path it has.
        token: the bearer token.
        device_id: sent as `X-Device-ID` where there is one.
    """

    def __init__(self, site_url: str, token: str, device_id: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        if device_id:
            headers["X-Device-ID"] = device_id
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
        """Submit a request as it is and return the accepted object (HTTP 202)."""
        return await self._call(
            "POST",
            "/api/media/v1/generate",
            json=request,
            headers={"Idempotency-Key": idempotency_key},
        )

    async def job(self, job_id: str) -> dict[str, Any]:
        """Return the row of a job."""
        return await self._call("GET", "/api/media/v1/job", params={"jobId": job_id})

    async def capabilities(self) -> dict[str, Any]:
        """Return the catalogue of capabilities."""
        return await self._call("GET", "/api/media/v1/capabilities")

    async def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        url = urljoin(self._site_url, path)
        try:
            response = await self._http.request(method, url, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise GatewayError(
                f"The Stella media gateway at {httpx.URL(url).host} did not answer"
                f" ({type(error).__name__})."
            ) from error
        body = _body(response)
        if response.is_success and body is not None:
            return body
        if response.is_success:
            raise GatewayError("The Stella media gateway gave an unreadable answer.")
        body = body or {}
        say = body.get("error")
        say = say if isinstance(say, str) and say else None
        if response.status_code == httpx.codes.UNAUTHORIZED:
            action = body.get("action")
            raise SignInNeeded(
                say or _SIGN_IN, action=action if isinstance(action, str) else None
            )
        raise GatewayError(
            say or f"Stella media request failed with status {response.status_code}.",
            status=response.status_code,
            retry_after=_seconds(response.headers.get("retry-after", "")),
        )


def _body(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() else None
