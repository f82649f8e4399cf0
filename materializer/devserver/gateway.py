"""The media gateway's HTTP API, as the hosted one answers."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from materializer.devserver.catalog import CAPABILITIES, Order
from materializer.devserver.deployment import Deployment, Row
from materializer.devserver.orders import DOCS_URL, read_order
from materializer.devserver.rules import RateLimit, Rules
from materializer.devserver.tokens import Tokens
from materializer.errors import GatewayError, SignInNeeded
from materializer.manual import pages

_AUTH_REQUIRED = {
    "error": "Media generation needs a signed-in Stella account.",
    "code": "auth_required",
    "action": (
        "Have the person open Stella and sign in, then send the same request again, "
        "unchanged."
    ),
    "docsUrl": DOCS_URL,
}
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="stella-media", error="invalid_token"'}
_PLAN_REQUIRED = {
    "error": "Media generation requires a Stella subscription.",
    "code": "paid_plan_required",
    "docsUrl": DOCS_URL,
}

Accept = Callable[[str, str, Order, str | None], Awaitable[Row]]


class Gateway:
    """Takes orders for the signed-in owner and tells what became of them.

    Args:
        accept: called with owner, job id, order and idempotency key; queues the job and
            returns its row, which of an `at_once` order is the one at its end.
        rules: the rules that hold.
    """

    def __init__(
        self,
        deployment: Deployment,
        tokens: Tokens,
        accept: Accept,
        rules: Rules,
    ) -> None:
        self._deployment = deployment
        self._tokens = tokens
        self._accept = accept
        self._rules = rules
        self._limit = RateLimit()

    @property
    def routes(self) -> list[Route]:
        """The endpoints, and the pages about them."""
        return [
            Route("/api/media/v1/generate", self._generate, methods=["POST"]),
            Route("/api/media/v1/job", self._job, methods=["GET", "DELETE"]),
            Route("/api/media/v1/capabilities", _capabilities),
            Route("/docs/media", _page),
            Route("/docs/media/{kind}", _page),
        ]

    async def _generate(self, request: Request) -> Response:
        try:
            owner = self._owner(request)
        except SignInNeeded:
            return _sign_in()
        if self._rules.paid_plan:
            return JSONResponse(_PLAN_REQUIRED, 402)
        # All at once from here to the row, so that two with one key are one job.
        body = await request.body()
        key = request.headers.get("idempotency-key")
        if key and (row := self._deployment.keyed(owner, key)):
            return self._accepted(row)
        if wait := self._wait(owner):
            later = {"Retry-After": str(math.ceil(wait))}
            return _error("Rate limit exceeded", 429, later)
        try:
            order = read_order(body)
        except GatewayError as error:
            return _error(str(error), error.status or 400)
        return self._accepted(await self._accept(owner, str(uuid.uuid4()), order, key))

    async def _job(self, request: Request) -> Response:
        try:
            row = self._asked_for(request, self._owner(request))
        except SignInNeeded:
            return _sign_in()
        if row is None:
            return _error("Media job not found.", 404)
        if request.method == "DELETE" and self._deployment.is_open(row.job_id):
            self._deployment.cancel(time.time_ns(), row.job_id)
            row = self._deployment.row(row.job_id, row.owner) or row
        return JSONResponse(row.wire(self._deployment.words))

    def _asked_for(self, request: Request, owner: str) -> Row | None:
        """Find a job by its id, or by the idempotency key that it was sent with."""
        asked = request.query_params
        if key := asked.get("clientRequestKey"):
            return self._deployment.keyed(owner, key)
        return self._deployment.row(asked.get("jobId", ""), owner)

    def _accepted(self, row: Row) -> Response:
        at_once = CAPABILITIES[row.capability].at_once
        if row.error and (at_once or row.started_at is None):
            return _error(row.error["message"], 502)
        told = row.wire(self._deployment.words)
        output = {"output": told["output"]} if at_once and "output" in told else {}
        accepted: dict[str, Any] = {
            "jobId": row.job_id,
            "capability": row.capability,
            "profile": row.profile,
            "status": told["status"],
            "upstreamStatus": row.upstream_status,
            "subscription": {
                "query": "api.media_jobs.getByJobId",
                "args": {"jobId": row.job_id},
            },
        }
        return JSONResponse(accepted | output, 202)

    def _wait(self, owner: str) -> float:
        limited = self._rules.rate_limit
        return self._limit.wait(owner, time.monotonic()) if limited else 0.0

    def _owner(self, request: Request) -> str:
        return self._tokens.verify(bearer(request) or "", time.time()).owner


async def _capabilities(_: Request) -> Response:
    entries = [entry.wire() for entry in CAPABILITIES.values()]
    return JSONResponse({"data": entries, "docsUrl": DOCS_URL})


async def _page(request: Request) -> Response:
    kind = request.path_params.get("kind", "")
    if kind not in ("", *pages.KINDS):
        return _error("There is no such page.", 404)
    return PlainTextResponse(pages.page(kind))


def _sign_in() -> Response:
    return JSONResponse(_AUTH_REQUIRED, 401, _CHALLENGE)


def _error(say: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": say}, status, headers)


def bearer(request: Request) -> str | None:
    """Return the token of the `Authorization: Bearer` header, if there is one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
