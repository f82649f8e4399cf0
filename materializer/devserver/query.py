"""`POST /api/query`: one Convex query over plain HTTP."""

from __future__ import annotations

import time
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from materializer.convex import values
from materializer.devserver.deployment import Deployment, FunctionFailed
from materializer.devserver.gateway import bearer
from materializer.devserver.tokens import Tokens
from materializer.errors import SignInNeeded

# Rows hold nothing that the two formats write differently: no bytes, no 64-bit
# integers, no NaN.
_FORMATS = (None, "convex_encoded_json", "json")


class _Body(BaseModel):
    path: str
    args: dict[str, Any] | list[dict[str, Any]]
    format: str | None = None


async def answer(request: Request, deployment: Deployment, tokens: Tokens) -> Response:
    """Run the query as the bearer of the token, or as nobody without one.

    A function's error is status 200 with `status: "error"`, as Convex has it.
    """
    token = bearer(request)
    try:
        owner = tokens.verify(token, time.time()).owner if token else None
        body = _Body.model_validate_json(await request.body())
        args = _decoded(body.args)
    except SignInNeeded as error:
        return _refuse(401, "InvalidAuthHeader", str(error))
    except ValidationError:
        return _refuse(400, "BadJsonBody", "The body needs `path` and `args`.")
    except ValueError as error:
        return _refuse(400, "BadQueryArgs", str(error))
    if body.format not in _FORMATS:
        return _refuse(400, "BadFormat", "The format is none of ours.")
    try:
        value = deployment.run(body.path, args, owner)
    except FunctionFailed as error:
        return JSONResponse({"status": "error", "errorMessage": str(error)})
    return JSONResponse({"status": "success", "value": value})


def _decoded(args: dict[str, Any] | list[dict[str, Any]]) -> dict[str, Any]:
    only = args if isinstance(args, dict) else args[0] if len(args) == 1 else None
    decoded = values.decode(only)
    if not isinstance(decoded, dict):
        raise ValueError("The arguments are one object.")
    return decoded


def _refuse(status: int, code: str, message: str) -> Response:
    return JSONResponse({"code": code, "message": message}, status)
