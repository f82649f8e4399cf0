"""The media gateway's HTTP API, as the hosted one answers."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from materializer.devserver.catalog import CAPABILITIES, Order
from materializer.devserver.deployment import Deployment, Row
from materializer.devserver.orders import DOCS_URL, read_order
from materializer.devserver.tokens import Identity, Tokens
from materializer.errors import GatewayError, SignInNeeded

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


class Gateway:
    """Takes orders for the signed-in owner and tells what became of them.

    Args:
        accept: called with owner, job id and order; queues the job.
    """

    def __init__(
        self,
        deployment: Deployment,
        tokens: Tokens,
        accept: Callable[[str, str, Order], Row],
    ) -> None:
        self._deployment = deployment
        self._tokens = tokens
        self._accept = accept
        self._job_by_key: dict[tuple[str, str], str] = {}

    @property
    def routes(self) -> list[Route]:
        """The three endpoints."""
        return [
            Route("/api/media/v1/generate", self._generate, methods=["POST"]),
            Route("/api/media/v1/job", self._job),
            Route("/api/media/v1/capabilities", self._capabilities),
        ]

    async def _generate(self, request: Request) -> Response:
        try:
            owner = self._identify(request).owner
            order = read_order(await request.body())
        except SignInNeeded:
            return JSONResponse(_AUTH_REQUIRED, 401, _CHALLENGE)
        except GatewayError as error:
            return JSONResponse({"error": str(error)}, error.status or 400)
        job_id = str(uuid.uuid4())
        if key := request.headers.get("idempotency-key"):
            job_id = self._job_by_key.setdefault((owner, key), job_id)
        row = self._deployment.row(job_id, owner) or self._accept(owner, job_id, order)
        return JSONResponse(_accepted(row), 202)

    async def _job(self, request: Request) -> Response:
        try:
            owner = self._identify(request).owner
        except SignInNeeded:
            return JSONResponse(_AUTH_REQUIRED, 401, _CHALLENGE)
        row = self._deployment.row(request.query_params.get("jobId", ""), owner)
        if row is None:
            return JSONResponse({"error": "Media job not found."}, 404)
        return JSONResponse(row.wire())

    async def _capabilities(self, _: Request) -> Response:
        entries = [entry.wire() for entry in CAPABILITIES.values()]
        return JSONResponse({"data": entries, "docsUrl": DOCS_URL})

    def _identify(self, request: Request) -> Identity:
        return self._tokens.verify(bearer(request) or "", time.time())


def _accepted(row: Row) -> dict[str, Any]:
    return {
        "jobId": row.job_id,
        "capability": row.capability,
        "profile": row.profile,
        "status": row.status,
        "upstreamStatus": row.upstream_status,
        "subscription": {
            "query": "api.media_jobs.getByJobId",
            "args": {"jobId": row.job_id},
        },
    }


def bearer(request: Request) -> str | None:
    """Return the token of the `Authorization: Bearer` header, if there is one."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
