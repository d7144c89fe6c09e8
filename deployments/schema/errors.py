"""What is wrong with an input, field by field, and how pydantic's errors become that. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

LONGEST_NAME_SHOWN = 100


@dataclass(frozen=True)
class FieldError:
    """One wrong field: its dotted path (`autoscaling.max_replicas`), a stable code, and a sentence that says what to
    send instead."""

    field: str
    code: str
    message: str


class InvalidConfiguration(Exception):
    """The input cannot be used; `errors` has at least one entry."""

    def __init__(self, errors: Iterable[FieldError]) -> None:
        self.errors = list(errors)
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in self.errors))


def _number(value: float) -> str:
    """10,000 for 10000.0, and 0.5."""
    return f"{int(value):,}" if value == int(value) else f"{value:,}"


WRONG_TYPE: Mapping[str, str] = {
    "string_type": "Send a string here.",
    "int_type": "Send a whole number here.",
    "int_from_float": "Send a whole number here.",
    "int_parsing_size": "Send a whole number here.",
    "float_type": "Send a number here.",
    "finite_number": "Send a number here.",
    "bool_type": "Send true or false here.",
    "model_type": "Send a JSON object here.",
    "model_attributes_type": "Send a JSON object here.",
    "union_tag_not_found": "Send a JSON object here.",
    "dict_type": "Send a JSON object here.",
    "list_type": "Send a list here.",
    "tuple_type": "Send a list here.",
}
DESCRIPTIONS: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = {
    "greater_than_equal": lambda context: ("below_minimum", f"Use {_number(context['ge'])} or more."),
    "less_than_equal": lambda context: ("above_maximum", f"Use {_number(context['le'])} or less."),
    "string_too_long": lambda context: ("too_long", f"Use at most {context['max_length']:,} characters."),
    "string_too_short": lambda context: ("required", "Enter a value."),
    "too_short": lambda context: ("required", f"Send at least {context['min_length']} of them."),
    "enum": lambda context: ("unknown_value", f"Send one of: {context['expected'].replace(chr(39), '')}."),
    "too_long": lambda context: (
        "too_many",
        f"Use at most {context['max_length']} of them.",
    ),
    "literal_error": lambda context: ("unknown_value", f"Send one of: {context['expected'].replace(chr(39), '')}."),
    "extra_forbidden": lambda context: (
        "unknown_field",
        "There is no such field; remove it or correct its name.",
    ),
    "missing": lambda context: ("required", "Send this field."),
}


def convert(error: ErrorDetails, path: Sequence[int | str]) -> FieldError:
    """One pydantic error as a `FieldError` at `path`, which is its location without the tags of unions.

    Errors raised by our own types (`PydanticCustomError`) carry their code and message already.
    """
    field = ".".join(str(part)[:LONGEST_NAME_SHOWN] for part in path)
    kind, value = error["type"], error.get("input")
    if kind == "float_type" and isinstance(value, int) and not isinstance(value, bool):
        return FieldError(field, "above_maximum", "This number is too large.")
    if kind == "string_unicode":
        return FieldError(field, "invalid_characters", "Remove the characters that are not Unicode.")
    if kind in WRONG_TYPE:
        return FieldError(field, "wrong_type", WRONG_TYPE[kind])
    if kind in DESCRIPTIONS:
        return FieldError(field, *DESCRIPTIONS[kind](error.get("ctx", {})))
    return FieldError(field, kind, error["msg"])
