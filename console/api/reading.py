"""The JSON of a request, strictly: its size, its media type, its form."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, NoReturn

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, UnreadablePostError

from console.api.problems import Problem

MOST_BYTES = 2**20


def body(request: HttpRequest, *, required: bool, media_types: Collection[str]) -> Any:
    """The parsed body; {} where there is none and none is `required`."""
    raw = _raw(request)
    if not raw and not required:
        return {}
    if not raw:
        raise Problem("malformed", "The body is empty; send a JSON object.")
    if request.content_type not in media_types:
        accepted = " or ".join(media_types)
        raise Problem("unsupported-media-type", f"Send the body as JSON, with Content-Type: {accepted}.")
    try:
        return json.loads(raw.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Problem("malformed", f"The body is not JSON: {_reason(error)}.") from None


def _raw(request: HttpRequest) -> bytes:
    try:
        raw = request.body
    except RequestDataTooBig:
        raw = b" " * (MOST_BYTES + 1)
    except UnreadablePostError:
        raise Problem("malformed", "The body ended before its announced length.") from None
    if len(raw) > MOST_BYTES:
        raise Problem("too-large", "The body is larger than 1 MiB.")
    return raw


def _reason(error: Exception) -> str:
    match error:
        case json.JSONDecodeError():
            return f"{error.msg} at line {error.lineno}, column {error.colno}"
        case UnicodeDecodeError():
            return f"byte {error.start} is not UTF-8"
        case RecursionError():
            return "it is nested too deeply"
        case _:
            return "a number in it cannot be read"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
