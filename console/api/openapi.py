"""The OpenAPI 3.1 document, made from the table of operations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from console.api import bodies, idempotency, patches, schemas
from console.api.operations import Operation
from console.api.problems import CONTENT_TYPE, KINDS
from console.api.routes import OPERATIONS
from deployments.specs import Options

Document = dict[str, Any]
ABOUT = (
    "Every request needs `Authorization: Bearer mc_…`. The key's organization is the scope of everything. "
    "Times are RFC 3339 in UTC, ids are opaque, lists come in pages, errors are problem documents (RFC 9457). "
    "Unknown fields are refused. A POST with an Idempotency-Key is done once in 24 hours."
)


def document(options: Options, server: str) -> Document:
    """`options` is what may be deployed now, `server` the address of the API."""
    paths: dict[str, Document] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Models Console", "version": "1", "description": ABOUT},
        "servers": [{"url": server}],
        "security": [{"api_key": []}],
        "tags": [{"name": name} for name in dict.fromkeys(one.tag for one in OPERATIONS)],
        "paths": paths,
        "components": {
            "securitySchemes": {"api_key": {"type": "http", "scheme": "bearer", "bearerFormat": "mc_…"}},
            "headers": {
                "request_id": {"description": "Of every answer.", "required": True, "schema": schemas.TEXT},
                "etag": {"description": "Its version, for If-Match.", "required": True, "schema": schemas.TEXT},
            },
            "schemas": {
                **schemas.ANSWERS,
                "DeploymentBody": bodies.deployment(options),
                "DeploymentPatch": patches.deployment(options),
                "Rollback": bodies.ROLLBACK,
                "ApiKeyBody": bodies.API_KEY,
                "Nothing": bodies.NOTHING,
            },
        },
    }


def _operation(operation: Operation) -> Document:
    found: Document = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": _description(operation),
        "parameters": _parameters(operation),
        "responses": _responses(operation),
    }
    if operation.body:
        schema = {"schema": schemas.ref(operation.body)}
        content = dict.fromkeys(operation.media_types, schema)
        found["requestBody"] = {"required": operation.body_required, "content": content}
    return found


def _description(operation: Operation) -> str:
    """If-Match is told here and is no parameter: what it may hold depends on what was read before."""
    guard = "Send the ETag that you read as If-Match, and a change that came between is a 412 instead of lost."
    parts = [operation.description, guard if operation.is_guarded else "", f"Needs the scope {operation.scope.value}."]
    return " ".join(filter(None, parts))


def _parameters(operation: Operation) -> list[Document]:
    query = [
        {"name": one.name, "in": "query", "description": one.description, "schema": one.schema()}
        for one in operation.all_parameters
    ]
    header = {
        "name": idempotency.HEADER,
        "in": "header",
        "description": "Any text of your own; the same request with it again is answered and not done again.",
        "schema": {"type": "string", "pattern": f"^{idempotency.PATTERN}$"},
    }
    path = [
        {"name": name, "in": "path", "required": True, "description": _about(operation), "schema": schemas.TEXT}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    headers = [
        {"name": one.name, "in": "header", "description": one.description, "schema": one.schema()}
        for one in operation.headers
    ]
    return [*path, *query, *headers, *([header] if operation.is_repeatable else [])]


def _about(operation: Operation) -> str:
    return "Id or name." if operation.path.startswith("/deployments") else "Id."


def _responses(operation: Operation) -> Document:
    answers = {str(status): _response(text, name) for status, (text, name) in operation.answers.items()}
    if operation.streamed:
        stream = {"schema": {"type": "string", "description": operation.streamed}}
        answers["200"]["content"]["text/event-stream"] = stream
    kinds = ["unauthenticated", "scope-missing", "not-found", "invalid-input", "internal", *operation.conflicts]
    if operation.is_repeatable:
        kinds.append("idempotency-key-reused")
    if operation.is_guarded:
        kinds.append("changed-meanwhile")
    if operation.body:
        kinds += ["malformed", "too-large", "unsupported-media-type"]
    refusals: dict[str, list[str]] = {}
    for kind in kinds:
        refusals.setdefault(str(KINDS[kind].status), []).append(KINDS[kind].title)
    return answers | {status: _refusal(titles) for status, titles in sorted(refusals.items())}


def _response(description: str, schema: str | None) -> Document:
    content = {"content": _json(schema)} if schema else {}
    tag = {"ETag": {"$ref": "#/components/headers/etag"}} if schema == "Deployment" else {}
    return {"description": description, "headers": {**_headers(), **tag}, **content}


def _refusal(titles: list[str]) -> Document:
    content = {CONTENT_TYPE: {"schema": schemas.ref("Problem")}}
    return {"description": ", or: ".join(titles) + ".", "headers": _headers(), "content": content}


def _headers() -> Mapping[str, Any]:
    return {"x-request-id": {"$ref": "#/components/headers/request_id"}}


def _json(schema: str) -> Document:
    return {"application/json": {"schema": schemas.ref(schema)}}
