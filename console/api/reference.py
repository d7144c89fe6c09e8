"""The OpenAPI document as the readable page shows it: groups of operations with flat tables of fields."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from console.api.problems import KINDS, Kind
from console.api.schemas import ANSWERS

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
class Entry:
    """One operation."""

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
    entries: list[Entry]


@dataclass(frozen=True)
class Reference:
    """`shapes` are the schemas of answers by name."""

    server: str
    about: str
    sections: list[Section]
    shapes: list[tuple[str, list[Field]]]
    problems: Mapping[str, Kind]


def reference(document: Mapping[str, Any]) -> Reference:
    return Reference(
        server=document["servers"][0]["url"],
        about=document["info"]["description"].replace("`", ""),
        sections=[_section(document, tag["name"]) for tag in document["tags"]],
        shapes=[
            (name, list(_fields(document, schema)))
            for name, schema in document["components"]["schemas"].items()
            if name in ANSWERS
        ],
        problems=KINDS,
    )


def _section(document: Mapping[str, Any], tag: str) -> Section:
    entries = [
        _entry(document, method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if tag in operation["tags"]
    ]
    return Section(tag, tag.lower().replace(" ", "-"), entries)


def _entry(document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> Entry:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    return Entry(
        id=operation["operationId"],
        method=method,
        path=path,
        summary=operation["summary"],
        description=operation["description"],
        parameters=[
            Field(one["name"], _type(one["schema"]), one.get("required", False), one["description"])
            for one in operation["parameters"]
        ],
        body=list(_fields(document, body)) if body else [],
        responses=[
            (status, response["description"], _named_schema(response))
            for status, response in operation["responses"].items()
        ],
    )


def _fields(document: Mapping[str, Any], schema: Schema, prefix: str = "") -> Iterator[Field]:
    """The fields of an object and, below it, of its objects; of variants, those of all."""
    schema = _plain(document, schema)
    for name, below in schema.get("properties", {}).items():
        inner = _plain(document, below)
        note = below.get("description", "")
        yield Field(f"{prefix}{name}", _type(inner), name in schema.get("required", ()), note)
        if "properties" in inner:
            yield from _fields(document, inner, f"{prefix}{name}.")
        elif "properties" in inner.get("items", {}):
            yield from _fields(document, inner["items"], f"{prefix}{name}[].")


def _plain(document: Mapping[str, Any], schema: Schema) -> Schema:
    if "$ref" in schema:
        return _plain(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    if "anyOf" in schema:
        return reduce(_joined, [_plain(document, one) for one in schema["anyOf"] if one != {"type": "null"}])
    return schema


def _joined(one: Schema, other: Schema) -> Schema:
    """What either of two variants allows, as far as a table tells it."""
    both = {**other, **one}
    if "properties" in both:
        fields, others = one.get("properties", {}), other.get("properties", {})
        both["properties"] = {
            name: _joined(fields.get(name, {}), others.get(name, {})) for name in {**others, **fields}
        }
        both["required"] = [name for name in one.get("required", ()) if name in other.get("required", ())]
    if "enum" in one and "enum" in other:
        both["enum"] = list(dict.fromkeys([*one["enum"], *other["enum"]]))
    if "maximum" in one and "maximum" in other:
        both["maximum"] = max(one["maximum"], other["maximum"])
    return both


def _type(schema: Schema) -> str:
    if "enum" in schema:
        shown = [one if isinstance(one, str) else json.dumps(one) for one in schema["enum"]]
        return " | ".join(shown[:LONGEST_CHOICE]) + (" | …" if len(shown) > LONGEST_CHOICE else "")
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    kinds = schema.get("type", "any")
    said = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if schema.get("format") in ("date-time", "date"):
        said = said.replace("string", "time" if schema["format"] == "date-time" else "date")
    if "minimum" in schema:
        said += f", {schema['minimum']}–{schema['maximum']}"
    return f"{said}, usually {json.dumps(schema['default'])}" if schema.get("default") not in (None, "") else said


def _named_schema(response: Mapping[str, Any]) -> str:
    content = response.get("content", {}).get("application/json")
    return content["schema"]["$ref"].rsplit("/", 1)[1] if content else ""
