"""The JSON of a request, strictly: its size, its media type, its form."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from django.http import HttpRequest
from ninja.parser import Parser

from console.api.problems import Problem, invalid
from deployments.schema.errors import FieldError

MOST_BYTES = 2**20
MOST_DEPTH = 64
JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"


class DuplicateName(ValueError):
    """An object has two fields of this name."""


class StrictParser(Parser):
    """Reads the bodies that handlers declare as pydantic models."""

    def parse_body(self, request: HttpRequest) -> Any:
        return read(request)


def read(request: HttpRequest) -> Any:
    """The parsed body. Raises a 400 for what is not JSON, 413 and 415, and what Django raises for a body that it does
    not read."""
    raw = request.body
    if len(raw) > MOST_BYTES:
        raise too_large()
    if not raw:
        raise Problem("malformed", "The body is empty; send a JSON object.")
    accepted = (JSON, MERGE_PATCH) if request.method == "PATCH" else (JSON,)
    if request.content_type not in accepted:
        detail = f"Send the body as JSON, with Content-Type: {' or '.join(accepted)}."
        raise Problem("unsupported-media-type", detail)
    try:
        body = json.loads(raw.decode(), parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates)
        _refuse_depth(body)
        return body
    except (ValueError, RecursionError) as error:
        raise Problem("malformed", f"The body is not JSON: {_reason(error)}.") from None


def _refuse_depth(value: Any, depth: int = 0) -> None:
    if depth > MOST_DEPTH:
        raise RecursionError
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _refuse_depth(below, depth + 1)


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DuplicateName(twice[:100])
    return found


def read_object(request: HttpRequest) -> Mapping[str, Any]:
    """The same of a JSON object. Raises a 422 for another value."""
    body = read(request)
    if not isinstance(body, dict):
        raise invalid([FieldError("", "wrong_type", "Send a JSON object here.")])
    return body


def too_large() -> Problem:
    return Problem("too-large", "The body is larger than 1 MiB.")


def _reason(error: Exception) -> str:
    match error:
        case json.JSONDecodeError():
            return f"{error.msg} at line {error.lineno}, column {error.colno}"
        case DuplicateName():
            return f"the field {str(error)!r} is there twice"
        case UnicodeDecodeError():
            return f"byte {error.start} is not UTF-8"
        case RecursionError():
            return "it is nested too deeply"
        case _:
            return "a number in it cannot be read"


def _refuse_constant(name: str) -> NoReturn:
    """NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(name)
