"""The OpenAPI 3.1 document, made from the operations. It is constant: nothing in it depends on rows, settings or host.

What the library leaves out is added here: the scope of each operation, the problems that it may answer with, the
headers of every answer.
"""

import json
from typing import Any

from ninja import NinjaAPI
from ninja.errors import ConfigError
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from console.api import json_body
from console.api.problems import CONTENT_TYPE, KINDS, PREFIX

Schema = dict[str, Any]
_COMPONENTS = "#/components/schemas/"
_SECURITY = "api_key"
_ALWAYS = ("refused", "unauthenticated", "scope-missing", "not-found", "invalid-input", "internal")
_WITH_BODY = ("malformed", "too-large", "unsupported-media-type")
_TEXT = {"type": "string"}
_HEADERS = {
    "request_id": {"description": "ID of the request; in every response.", "required": True, "schema": _TEXT},
    "etag": {"description": "Version of the resource, for If-Match.", "required": True, "schema": _TEXT},
    "location": {"description": "URL of the new resource.", "required": True, "schema": _TEXT},
    "replayed": {
        "description": "Whether this is the stored response of an earlier request with the same Idempotency-Key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
_PROBLEM = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail", "request_id"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "enum": [f"{PREFIX}/docs#{kind}" for kind in KINDS]},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "request_id": _TEXT,
        "errors": {"type": "array", "items": {"$ref": f"{_COMPONENTS}FieldError"}},
    },
}
_FIELD_ERROR = {
    "type": "object",
    "required": ["field", "code", "message"],
    "additionalProperties": False,
    "properties": {
        "field": {**_TEXT, "description": "Path of a field, such as autoscaling.max_replicas, or name of a parameter."},
        "code": _TEXT,
        "message": _TEXT,
    },
}


class Document(OpenAPISchema):
    def __init__(self, api: NinjaAPI) -> None:
        super().__init__(api, path_prefix="")
        operations = [operation for path in self["paths"].values() for operation in path.values()]
        self["tags"] = [{"name": name} for name in dict.fromkeys(tag for found in operations for tag in found["tags"])]
        self["components"]["headers"] = _HEADERS
        self["components"]["securitySchemes"] = {
            _SECURITY: {"type": "http", "scheme": "bearer", "bearerFormat": "mc_…"}
        }
        self["components"]["schemas"] |= {"Problem": _PROBLEM, "FieldError": _FIELD_ERROR}
        self["paths"] = _without_titles(self["paths"])
        self["components"]["schemas"] = _without_titles(self._used_schemas())

    def operation_details(self, operation: Operation) -> Schema:
        details: Schema = super().operation_details(operation)
        for parameter in details["parameters"]:
            parameter["schema"] = _simplify(parameter["schema"])
        details["description"] = " ".join(details.get("description", "").split())
        if "requestBody" in details:
            self._name_body(details["requestBody"])
        details["security"] = [{_SECURITY: [operation.auth_callbacks[0].scope.value]}]  # type: ignore[attr-defined]
        responses = {str(status): response for status, response in details["responses"].items()}
        for status, response in responses.items():
            response["headers"] = _headers(status, json.dumps(response), is_post="POST" in operation.methods)
        details["responses"] = responses | _refusals(operation, has_body="requestBody" in details)
        return details

    def add_schema_definitions(self, definitions: Schema) -> None:
        for name, schema in definitions.items():
            if self.schemas.setdefault(name, schema) != schema:
                raise ConfigError(f"Two schemas are named {name}; rename the class of one.")

    def _name_body(self, body: Schema) -> None:
        """A schema written out becomes a component under its title; the default of an optional body is left out."""
        for content in body["content"].values():
            schema = content["schema"]
            if "allOf" in schema:
                content["schema"] = schema["allOf"][0]
            elif "title" in schema:
                definitions = schema.pop("$defs", {})
                self.add_schema_definitions(definitions | {schema["title"]: schema})
                content["schema"] = {"$ref": _COMPONENTS + schema["title"]}

    def _used_schemas(self) -> Schema:
        """Without those of query parameters, which the library names and then writes out in place."""
        schemas = json.loads(json.dumps(self["components"]["schemas"]).replace("#/$defs/", _COMPONENTS))
        used: set[str] = set()
        found = _references(self["paths"])
        while found - used:
            used |= found
            found = _references([schemas[name] for name in used])
        return {name: schema for name, schema in schemas.items() if name in used}


def _headers(status: str, response: str, *, is_post: bool) -> Schema:
    names = {"x-request-id": "request_id"}
    if f'{_COMPONENTS}Deployment"' in response:
        names |= {"ETag": "etag", **({"Location": "location"} if status == "201" else {})}
    if is_post:
        names["Idempotency-Replayed"] = "replayed"
    return {header: {"$ref": f"#/components/headers/{name}"} for header, name in names.items()}


def _refusals(operation: Operation, *, has_body: bool) -> Schema:
    kinds = [*_ALWAYS, *(_WITH_BODY if has_body else ()), *getattr(operation.view_func, "problem_kinds", ())]
    if operation.auth_callbacks[0].right != "read":  # type: ignore[attr-defined]
        kinds.append("right-missing")
    titles: dict[str, list[str]] = {}
    for kind in kinds:
        titles.setdefault(str(KINDS[kind].status), []).append(KINDS[kind].title)
    return {
        status: {
            "description": ", or: ".join(titles[status]) + ".",
            "headers": {"x-request-id": {"$ref": "#/components/headers/request_id"}},
            "content": {CONTENT_TYPE: {"schema": {"$ref": f"{_COMPONENTS}Problem"}}},
        }
        for status in sorted(titles)
    }


def _simplify(schema: Schema) -> Schema:
    """Of a parameter, which is left out and never null; its description stands beside the schema."""
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "allOf", "description")}
    variants = [*schema.get("anyOf", ()), *schema.get("allOf", ())]
    variants = [variant for variant in variants if variant != {"type": "null"}]
    return rest | {"anyOf": variants} if len(variants) > 1 else rest | dict(*variants)


def _without_titles(node: Any) -> Any:
    """Without the titles that pydantic makes of names."""
    if isinstance(node, list):
        return [_without_titles(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        name: _without_titles(value) for name, value in node.items() if name != "title" or not isinstance(value, str)
    }


def _references(node: Any) -> set[str]:
    parts = json.dumps(node).split(f'"$ref": "{_COMPONENTS}')[1:]
    return {part.partition('"')[0] for part in parts}


def describe_body(schema: Schema, *more_media_types: str) -> Schema:
    """`openapi_extra` of an operation that reads its body itself; `schema` has a title, by which it is named."""
    media_types = (json_body.JSON, *more_media_types)
    return {"requestBody": {"required": True, "content": {name: {"schema": schema} for name in media_types}}}
