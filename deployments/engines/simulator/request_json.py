"""Reads the JSON body of a request, with vLLM's error messages. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeGuard


class RequestError(Exception):
    """A request that is refused. `body` is the error in vLLM's format, `status` its HTTP status and code."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


def bad_request(message: str, param: str | None = None) -> RequestError:
    return RequestError(400, "BadRequestError", message, param)


def parse(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError:
        raise bad_request("The request body is not valid JSON.") from None
    if not isinstance(data, dict):
        raise bad_request("The request body must be a JSON object.")
    return data


def model(data: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The requested model name; the first served name if it is missing or empty."""
    name = data.get("model") or names[0]
    if name not in names:
        raise RequestError(404, "NotFoundError", f"The model `{name}` does not exist.", "model")
    return str(name)


def integer(data: Mapping[str, Any], name: str, default: int, highest: int | None = None) -> int:
    """A whole number from 1 to `highest`; null counts as missing."""
    value = data.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad_request(f"`{name}` must be a whole number.", name)
    if value < 1:
        raise bad_request(f"{name} must be at least 1, got {value}.", name)
    if highest is not None and value > highest:
        raise bad_request(f"{name} must be at most {highest}, got {value}.", name)
    return value


def boolean(data: Mapping[str, Any], name: str) -> bool:
    value = data.get(name)
    if not isinstance(value, bool | None):
        raise bad_request(f"`{name}` must be true or false.", name)
    return bool(value)


def texts_or_ids(data: Mapping[str, Any], name: str) -> list[str | list[int]]:
    """A text, a list of token ids, or a list of these; always returns a list."""
    value = data.get(name)
    if isinstance(value, str) or (value and _are_ids(value)):
        return [value]
    if isinstance(value, list) and value and all(isinstance(item, str) or _are_ids(item) for item in value):
        return value
    raise bad_request(f"`{name}` must be a text, a list of token ids, or a list of these.", name)


def _are_ids(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(isinstance(item, int) and not isinstance(item, bool) for item in value)
