"""Holds answers against the OpenAPI document: status, media type, headers and body are as it says."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import jsonschema_rs

from console.api.reference_page import document_text

DOCUMENT: dict[str, Any] = json.loads(document_text())
PREFIX = "/api/v1"


def check(method: str, address: str, response: Any) -> None:
    """Raises AssertionError where an operation of the document answers otherwise than it says."""
    path = address.partition("?")[0].removeprefix(PREFIX)
    operation = next((found for template, found in operations(method) if re.fullmatch(template, path)), None)
    if operation is None:
        return
    declared = operation["responses"].get(str(response.status_code))
    assert declared, f"{method} {path}: {response.status_code} is not declared"
    for name, reference in declared["headers"].items():
        header = DOCUMENT["components"]["headers"][reference["$ref"].rsplit("/", 1)[1]]
        assert name in response or not header.get("required"), f"{method} {path}: no header {name}"
    media_type = response.get("Content-Type", "").partition(";")[0]
    if "content" not in declared:
        assert response.content == b"", f"{method} {path}: a body is not declared"
    elif not response.streaming:
        assert media_type in declared["content"], f"{method} {path}: {media_type} is not declared"
        validator(json.dumps(declared["content"][media_type]["schema"])).validate(response.json())


def operations(method: str) -> list[tuple[str, dict[str, Any]]]:
    """A pattern of paths, and the operation; paths without a placeholder come first."""
    found = [
        (path, methods[method.lower()]) for path, methods in DOCUMENT["paths"].items() if method.lower() in methods
    ]
    return [
        (re.sub(r"{\w+}", "[^/]+", path), operation)
        for path, operation in sorted(found, key=lambda item: "{" in item[0])
    ]


@cache
def validator(schema: str) -> Any:
    whole = {**json.loads(schema), "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
