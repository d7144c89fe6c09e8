"""Reading the JSON body of a request, with vLLM's words for what is wrong. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeGuard


class Refused(Exception):
    """An error answer in vLLM's shape: `status` is the HTTP status and the error's code."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


def bad(message: str, param: str | None = None) -> Refused:
    return Refused(400, "BadRequestError", message, param)


def parse(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError:
        raise bad("The request body is not valid JSON.") from None
    if not isinstance(data, dict):
        raise bad("The request body must be a JSON object.")
    return data


def model(data: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The name asked for; the first of all that are served when there is none, or an empty one."""
    name = data.get("model") or names[0]
    if name not in names:
        raise Refused(404, "NotFoundError", f"The model `{name}` does not exist.", "model")
    return str(name)


def integer(data: Mapping[str, Any], name: str, default: int, highest: int | None = None) -> int:
    """A whole number from 1 up to `highest`; null is unset."""
    value = data.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise bad(f"`{name}` must be a whole number.", name)
    if value < 1:
        raise bad(f"{name} must be at least 1, got {value}.", name)
    if highest is not None and value > highest:
        raise bad(f"{name} must be at most {highest}, got {value}.", name)
    return value


def switch(data: Mapping[str, Any], name: str) -> bool:
    value = data.get(name)
    if not isinstance(value, bool | None):
        raise bad(f"`{name}` must be true or false.", name)
    return bool(value)


def texts_or_ids(data: Mapping[str, Any], name: str) -> list[str | list[int]]:
    """A text, a list of token ids, or a list of these, as a list."""
    value = data.get(name)
    if isinstance(value, str) or (value and _are_ids(value)):
        return [value]
    if isinstance(value, list) and value and all(isinstance(one, str) or _are_ids(one) for one in value):
        return value
    raise bad(f"`{name}` must be a text, a list of token ids, or a list of these.", name)


def _are_ids(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in value)
