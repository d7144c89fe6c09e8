"""The OpenAPI document at its address, and the page made from it, which works without JavaScript."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.api.application import api
from console.api.problems import KINDS, PREFIX

Schema = Mapping[str, Any]
LONGEST_CHOICE = 12


@dataclass(frozen=True)
class Field:
    """One row: a dotted path, its type in words, and what is to know."""

    path: str
    type: str
    required: bool
    note: str


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    summary: str
    description: str
    parameters: list[Field]
    body: list[Field]
    responses: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Section:
    title: str
    anchor: str
    operations: list[Operation]


@cache
def document_text() -> str:
    return json.dumps(api.get_openapi_schema(), indent=2, ensure_ascii=False) + "\n"


@require_safe
def document(request: HttpRequest) -> HttpResponse:
    return HttpResponse(document_text(), content_type="application/json")


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    found = json.loads(document_text())
    sections = [_section(found, tag["name"]) for tag in found["tags"]]
    answers = {name for section in sections for shown in section.operations for *_, name in shown.responses if name}
    context = {
        "about": found["info"]["description"].replace("`", ""),
        "server": request.build_absolute_uri(PREFIX),
        "sections": sections,
        "shapes": [(name, list(_fields(found, found["components"]["schemas"][name]))) for name in sorted(answers)],
        "problems": KINDS,
    }
    return render(request, "api/docs.html", context)


def _section(document: Schema, tag: str) -> Section:
    operations = [
        _operation(document, method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if tag in operation["tags"]
    ]
    return Section(tag, tag.lower().replace(" ", "-"), operations)


def _operation(document: Schema, method: str, path: str, operation: Schema) -> Operation:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    (requirement,) = operation["security"]
    scope = f"Needs the scope {requirement['api_key'][0]}."
    return Operation(
        id=operation["operationId"],
        method=method,
        path=path,
        summary=operation["summary"],
        description=" ".join([operation.get("description", ""), scope]).strip(),
        parameters=[
            Field(
                parameter["name"],
                _describe_type(_resolve(document, parameter["schema"])),
                parameter["required"],
                parameter.get("description", ""),
            )
            for parameter in operation["parameters"]
        ],
        body=list(_fields(document, body)) if body else [],
        responses=[
            (status, response["description"], _schema_name(response))
            for status, response in operation["responses"].items()
        ],
    )


def _fields(document: Schema, schema: Schema, prefix: str = "") -> Iterator[Field]:
    """The fields of an object and, below it, of its objects; of variants, those of all."""
    schema = _resolve(document, schema)
    for name, below in schema.get("properties", {}).items():
        inner = _resolve(document, below)
        yield Field(f"{prefix}{name}", _describe_type(inner), name in schema.get("required", ()), _note(below, inner))
        items = _resolve(document, inner.get("items", {}))
        if "properties" in inner:
            yield from _fields(document, inner, f"{prefix}{name}.")
        elif "properties" in items:
            yield from _fields(document, items, f"{prefix}{name}[].")


def _note(schema: Schema, resolved: Schema) -> str:
    return str(schema.get("description", "" if "$ref" in schema else resolved.get("description", "")))


def _resolve(document: Schema, schema: Schema) -> Schema:
    if "$ref" in schema:
        return _resolve(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    if "anyOf" in schema:
        variants = [_resolve(document, variant) for variant in schema["anyOf"]]
        return reduce(_join, [variant for variant in variants if variant != {"type": "null"}])
    return schema


def _join(one: Schema, other: Schema) -> Schema:
    """What either of two variants allows, as far as a table tells it."""
    both = {**other, **one}
    if "properties" in both:
        fields, others = one.get("properties", {}), other.get("properties", {})
        both["properties"] = {name: _join(fields.get(name, {}), others.get(name, {})) for name in {**others, **fields}}
        both["required"] = [name for name in one.get("required", ()) if name in other.get("required", ())]
    if "enum" in one and "enum" in other:
        both["enum"] = list(dict.fromkeys([*one["enum"], *other["enum"]]))
    if "const" in one and "const" in other:
        both["enum"] = [one["const"], other["const"]]
    return both


def _describe_type(schema: Schema) -> str:
    if "enum" in schema:
        choices = [choice if isinstance(choice, str) else json.dumps(choice) for choice in schema["enum"]]
        return " | ".join(choices[:LONGEST_CHOICE]) + (" | …" if len(choices) > LONGEST_CHOICE else "")
    kinds = schema.get("type", "any")
    text = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if schema.get("format") in ("date-time", "date"):
        text = text.replace("string", "time" if schema["format"] == "date-time" else "date")
    if "minimum" in schema:
        text += f", {schema['minimum']}–{schema['maximum']}" if "maximum" in schema else f", from {schema['minimum']}"
    return f"{text}, usually {json.dumps(schema['default'])}" if schema.get("default") not in (None, "") else text


def _schema_name(response: Schema) -> str:
    content = response.get("content", {}).get("application/json")
    return content["schema"]["$ref"].rsplit("/", 1)[1] if content else ""
