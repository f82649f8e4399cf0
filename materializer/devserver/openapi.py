"""The gateway described for programs: OpenAPI 3.1, served by itself.

What is described here holds for every answer; the tests hold the answers against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from materializer import __version__
from materializer.devserver.catalog import CAPABILITIES
from materializer.devserver.rules import FIRST_WORDS
from materializer.manual import pages

Schema = dict[str, Any]

_STATUSES = ("queued", "running", "succeeded", "failed", "canceled")
_TEXT: Schema = {"type": "string"}
_MS: Schema = {"type": "integer", "minimum": 0, "description": "ms since 1970"}
_ANY_OBJECT: Schema = {"type": "object"}
_BASE64: Schema = {
    "type": "object",
    "properties": {"base64": _TEXT, "mimeType": _TEXT, "fileName": _TEXT},
    "required": ["base64", "mimeType"],
}
_SOURCE: Schema = {"anyOf": [_TEXT | {"description": "a URL or data URI"}, _BASE64]}


def document(site_url: str) -> Schema:
    """Return the description of the gateway at this address."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stella's media gateway, embedded",
            "version": __version__,
            "description": "Takes orders for media and tells what became of them.",
        },
        "servers": [{"url": site_url}],
        "paths": {
            "/api/media/v1/generate": {"post": _generate()},
            "/api/media/v1/job": {
                "get": _job("getJob", "Tells how a job is doing."),
                "delete": _job(
                    "cancelJob", "Cancels a job; one that has ended stays as it is."
                ),
            },
            "/api/media/v1/capabilities": {"get": _capabilities()},
            "/docs/media": {"get": _page("What can be ordered, and how.")},
            "/docs/media/{kind}": {"get": _page_of_a_kind()},
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "From GET /api/auth/convex/token.",
                }
            },
        },
    }


def _generate() -> Schema:
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
        "description": "A request that is sent again with it is the same job.",
    }
    retry = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    follow = {
        name: {"operationId": name, "parameters": {"jobId": "$response.body#/jobId"}}
        for name in ("getJob", "cancelJob")
    }
    return {
        "operationId": "generate",
        "summary": "Orders one piece of media.",
        "security": [{"token": []}],
        "parameters": [key],
        "requestBody": {"required": True, "content": _json("Request")},
        "responses": {
            "202": {
                "description": "It is a job now.",
                "content": _json("Accepted"),
                "links": follow,
            },
            "400": _refusal("The request is not one."),
            "401": _sign_in(),
            "402": {
                "description": "The account has no plan that includes this.",
                "content": _json("PlanRequired"),
            },
            "429": _refusal("Too many requests.") | {"headers": retry},
            "502": _refusal("The provider would not take it."),
        },
    }


def _job(name: str, summary: str) -> Schema:
    def query(name: str, description: str) -> Schema:
        told = {"schema": _TEXT, "description": description}
        return {"name": name, "in": "query"} | told

    return {
        "operationId": name,
        "summary": summary,
        "security": [{"token": []}],
        "parameters": [
            query("jobId", "Which."),
            query("clientRequestKey", "Or: its Idempotency-Key."),
        ],
        "responses": {
            "200": {"description": "The job as it is now.", "content": _json("Job")},
            "401": _sign_in(),
            "404": _refusal("The account has no such job."),
        },
    }


def _capabilities() -> Schema:
    return {
        "summary": "Lists what can be ordered.",
        "responses": {
            "200": {"description": "Everything.", "content": _json("Capabilities")}
        },
    }


def _page(summary: str) -> Schema:
    text = {"text/plain": {"schema": _TEXT}}
    return {
        "summary": summary,
        "responses": {"200": {"description": "A page.", "content": text}},
    }


def _page_of_a_kind() -> Schema:
    operation = _page("The same of one kind of media.")
    operation["responses"]["404"] = _refusal("There is no such page.")
    return operation | {
        "parameters": [
            {
                "name": "kind",
                "in": "path",
                "required": True,
                "schema": {"enum": list(pages.KINDS)},
            }
        ]
    }


def _schemas() -> dict[str, Schema]:
    job = {
        "jobId": _TEXT,
        "capability": _TEXT,
        "profile": _TEXT,
        "status": {"enum": sorted({*_STATUSES, *FIRST_WORDS.values()})},
        "upstreamStatus": _TEXT,
    }
    error = _object({"message": _TEXT}, code=_TEXT, details={})
    refusal = {"error": _TEXT}
    return {
        "Request": _request(),
        "Accepted": _object(
            job | {"subscription": _object({"query": _TEXT, "args": _ANY_OBJECT})},
            output=_ANY_OBJECT,
        ),
        "Job": _object(
            job
            | {
                "request": _ANY_OBJECT,
                "queuePosition": {"type": ["integer", "null"]},
                "createdAt": _MS,
                "updatedAt": _MS,
            },
            startedAt=_MS,
            completedAt=_MS,
            output=_ANY_OBJECT,
            error=error,
            logs={"type": "array", "items": _ANY_OBJECT},
        ),
        "Capabilities": _object(
            {"data": {"type": "array", "items": _capability()}, "docsUrl": _TEXT}
        ),
        "Refusal": _object(refusal),
        "SignIn": _object(
            refusal
            | {"code": {"const": "auth_required"}, "action": _TEXT, "docsUrl": _TEXT}
        ),
        "PlanRequired": _object(
            refusal | {"code": {"const": "paid_plan_required"}, "docsUrl": _TEXT}
        ),
    }


def _request() -> Schema:
    members = {
        "capability": {"enum": list(CAPABILITIES)},
        "profile": _TEXT,
        "prompt": _TEXT,
        "aspectRatio": _TEXT,
        "sourceUrl": _TEXT,
        "source": _SOURCE,
        "sources": {"type": "object", "additionalProperties": _SOURCE},
        "input": _ANY_OBJECT,
    }
    lamp = {
        "capability": "text_to_image",
        "prompt": "a translucent blue desk lamp",
        "aspectRatio": "16:9",
        "input": {"num_images": 2},
    }
    return {
        "type": "object",
        "properties": members,
        "required": ["capability"],
        "examples": [lamp],
    }


def _capability() -> Schema:
    text_or_null = {"type": ["string", "null"]}
    texts, truth = {"type": "array", "items": _TEXT}, {"type": "boolean"}
    profile = {"id": _TEXT, "provider": _TEXT, "endpointId": _TEXT, "isDefault": truth}
    return _object(
        {
            "id": _TEXT,
            "name": _TEXT,
            "category": _TEXT,
            "promptKey": text_or_null,
            "sourceUrlKey": text_or_null,
            "requiresSourceUrl": truth,
            "supportsAspectRatio": truth,
            "inputHints": texts,
            "outputHints": texts,
            "profiles": {"type": "array", "minItems": 1, "items": _object(profile)},
        }
    )


def _object(members: Mapping[str, Schema], **optional: Schema) -> Schema:
    """Return the schema of an object that has these members and no other."""
    return {
        "type": "object",
        "properties": {**members, **optional},
        "required": list(members),
        "additionalProperties": False,
    }


def _json(name: str) -> Schema:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _refusal(description: str) -> Schema:
    return {"description": description, "content": _json("Refusal")}


def _sign_in() -> Schema:
    challenge = {"description": "How to sign in.", "schema": _TEXT, "required": True}
    return {
        "description": "The token is missing, wrong or no longer good.",
        "headers": {"WWW-Authenticate": challenge},
        "content": _json("SignIn"),
    }
