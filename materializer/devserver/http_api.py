"""Functions over plain HTTP, as a Convex deployment offers them.

A function's error is status 200 with `status: "error"`; other statuses are about the
request, and their body is `{code, message}`. There are no admin keys here.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from materializer import __version__
from materializer.convex import values
from materializer.convex.messages import decode_timestamp, encode_timestamp
from materializer.devserver.calls import failure, success
from materializer.devserver.deployment import Deployment
from materializer.devserver.formats import ENCODED, READABLE, text_of, written
from materializer.devserver.functions import FunctionFailed, Kind, Returned, canonical
from materializer.devserver.tokens import Tokens
from materializer.devserver.versions import ClientVersion, from_header
from materializer.errors import SignInNeeded

_ANY_PAGE = Middleware(
    CORSMiddleware,
    allow_origin_regex=".*",
    allow_credentials=True,
    allow_methods=["GET", "POST", "OPTIONS", "PATCH", "DELETE", "PUT"],
    allow_headers=["*"],
    max_age=86400,
)
_RUNNING = "This is a Convex deployment for tests and developers, embedded in Stella.\n"


class _Call(BaseModel):
    model_config = ConfigDict(strict=True)

    path: str = ""
    args: dict[str, Any] | list[dict[str, Any]]
    format: str | None = None
    ts: str | None = None


class _Batch(BaseModel):
    queries: list[_Call]


_Body = TypeVar("_Body", _Call, _Batch)


class _Refused(Exception):
    """The request is answered with a status, a code and a sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class HttpApi:
    """The functions of a deployment, for whoever the bearer token speaks for.

    No history is kept: a query at an earlier time is answered as of now.
    """

    def __init__(self, deployment: Deployment, tokens: Tokens) -> None:
        self._deployment = deployment
        self._tokens = tokens

    @property
    def routes(self) -> list[Route]:
        """All endpoints. Pages of any origin may use those that call functions."""
        return [
            self._route("/api/query", self._query, "GET", "POST"),
            self._route("/api/query_at_ts", self._query, "POST"),
            self._route("/api/query_batch", self._query_batch, "POST"),
            self._route("/api/query_ts", self._query_ts, "POST"),
            self._route("/api/mutation", self._mutation, "POST"),
            self._route("/api/action", self._action, "POST"),
            self._route("/api/function", self._function, "POST"),
            self._route("/api/run/{path:path}", self._run, "POST"),
            Route("/", _says(_RUNNING)),
            Route("/version", _says(__version__)),
            Route("/instance_name", _says("stella-dev")),
        ]

    def _route(
        self, path: str, answer: Callable[[Request], Awaitable[Any]], *methods: str
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            headers = {"Convex-Request-Id": secrets.token_hex(8)}
            try:
                client = _client(request)
                headers |= client.deprecation
                _check_supported(client)
                status, told = 200, await answer(request)
            except _Refused as refused:
                status = refused.status
                told = {"code": refused.code, "message": str(refused)}
            return Response(text_of(told), status, headers, "application/json")

        # Also a preflight must get as far as the middleware.
        methods = (*methods, "OPTIONS")
        return Route(path, endpoint, methods=methods, middleware=[_ANY_PAGE])

    async def _query(self, request: Request) -> Any:
        if request.method == "POST":
            call = await _read(request, _Call)
        else:
            call = _in_address(request)
        return await self._call("query", call, request)

    async def _query_batch(self, request: Request) -> Any:
        batch = await _read(request, _Batch)
        results = [await self._call("query", one, request) for one in batch.queries]
        return {"results": results}

    async def _query_ts(self, _: Request) -> Any:
        return {"ts": encode_timestamp(self._deployment.ts)}

    async def _mutation(self, request: Request) -> Any:
        return await self._call("mutation", await _read(request, _Call), request)

    async def _action(self, request: Request) -> Any:
        return await self._call("action", await _read(request, _Call), request)

    async def _function(self, _: Request) -> Any:
        raise _no_admin()

    async def _run(self, request: Request) -> Any:
        module, _, name = request.path_params["path"].rpartition("/")
        if not module:
            raise _Refused(400, "MissingIdentifier", "Name a module and a function.")
        call = await _read(request, _Call)
        call.path = f"{module}:{name}"
        call.format = call.format or READABLE[0]
        function = self._deployment.find(_path(call))
        return await self._call(function.kind if function else "query", call, request)

    async def _call(self, kind: Kind, call: _Call, request: Request) -> Any:
        what = _path(call), _arguments(call), self._owner(request)
        format_ = _format(call, request)
        function = self._deployment.find(call.path)
        if function and function.until:
            await function.until()
        try:
            returned = self._returned(kind, *what)
        except FunctionFailed as error:
            told = failure(error, secrets.token_hex(8)) | {"status": "error"}
        else:
            value = written(returned.value, format_)
            told = success(returned, "value") | {"status": "success", "value": value}
        return {name: part for name, part in told.items() if part or name != "logLines"}

    def _returned(
        self, kind: Kind, path: str, args: dict[str, Any], owner: str | None
    ) -> Returned:
        if kind == "mutation":
            returned, _ = self._deployment.mutate(time.time_ns(), path, args, owner)
            return returned
        run = self._deployment.run if kind == "query" else self._deployment.act
        return run(path, args, owner)

    def _owner(self, request: Request) -> str | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        match scheme.lower():
            case "":
                return None
            case "bearer":
                try:
                    return self._tokens.verify(token.strip(), time.time()).owner
                except SignInNeeded as error:
                    raise _Refused(401, "InvalidAuthHeader", str(error)) from error
            case "convex":
                raise _no_admin()
            case _:
                message = "Authorization is `Bearer` and a token."
                raise _Refused(400, "InvalidAdminKey", message)


def _client(request: Request) -> ClientVersion:
    header = request.headers.get("convex-client")
    try:
        return from_header(header) if header else ClientVersion()
    except ValueError as error:
        raise _Refused(400, "InvalidClientVersion", str(error)) from error


def _check_supported(client: ClientVersion) -> None:
    if client.unsupported:
        raise _Refused(400, "ClientVersionUnsupported", client.complaint)


async def _read(request: Request, model: type[_Body]) -> _Body:
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind.strip().lower() != "application/json":
        raise _Refused(400, "BadJsonBody", "The Content-Type is application/json.")
    return _body(await request.body(), model)


def _body(text: str | bytes, model: type[_Body]) -> _Body:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        message = "The body needs `path` and `args`, or `queries` of these."
        raise _Refused(400, "BadJsonBody", message) from error


def _in_address(request: Request) -> _Call:
    asked = request.query_params
    try:
        args = json.loads(asked.get("args", "{}"))
        return _Call(path=asked["path"], args=args, format=asked.get("format"))
    except (KeyError, ValueError) as error:
        message = "The address needs `path`, and `args` as JSON."
        raise _Refused(400, "BadQueryArgs", message) from error


def _path(call: _Call) -> str:
    try:
        return canonical(call.path)
    except ValueError as error:
        message = f"{call.path!r} is not a valid path to a Convex function: {error}."
        raise _Refused(400, "BadConvexFunctionIdentifier", message) from error


def _arguments(call: _Call) -> dict[str, Any]:
    args = call.args
    only = args if isinstance(args, dict) else args[0] if len(args) == 1 else None
    try:
        decoded = values.decode(only)
        decode_timestamp(call.ts or encode_timestamp(0))
    except ValueError as error:
        raise _Refused(400, "BadQueryArgs", str(error)) from error
    if not isinstance(decoded, dict):
        raise _Refused(400, "BadQueryArgs", "The arguments are one object.")
    return decoded


def _format(call: _Call, request: Request) -> str:
    name = call.format or _client(request).default_format
    if name not in ENCODED + READABLE:
        raise _Refused(400, "BadFormat", "The format is none of ours.")
    return name


def _no_admin() -> _Refused:
    return _Refused(403, "BadDeployKey", "There are no admin keys here.")


def _says(text: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(_: Request) -> Response:
        return PlainTextResponse(text)

    return endpoint
