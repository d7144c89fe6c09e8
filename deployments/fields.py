"""Reads one JSON object strictly: every field is taken once by name and type, what is wrong is collected, and what
was not taken is unknown. Pure.

Numbers that JSON calls integers may come as `1.0`; booleans are not numbers; NaN and infinity are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_LONGEST_NAME_SHOWN = 100
_ABSENT = object()


@dataclass(frozen=True)
class FieldError:
    """One thing wrong with the input: where, a stable code, and a sentence that says what to do."""

    field: str
    code: str
    message: str


class Fields:
    """The object at `path`. A getter returns the value, or its default where the field is absent or wrong."""

    def __init__(self, data: Any, path: str = "", errors: list[FieldError] | None = None) -> None:
        self.path = path
        self.errors: list[FieldError] = [] if errors is None else errors
        self.is_object = isinstance(data, Mapping)
        self._data: Mapping[str, Any] = data if self.is_object else {}
        self._taken: set[str] = set()
        if not self.is_object:
            self.errors.append(FieldError(path, "wrong_type", "Send a JSON object here."))

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def refuse(self, name: str, code: str, message: str) -> None:
        self.errors.append(FieldError(self.at(name), code, message))

    def has(self, name: str) -> bool:
        return name in self._data

    def text(self, name: str, default: str | None = None, *, longest: int) -> str | None:
        """A string of at most `longest` characters; absent reads as the default."""
        value = self._take(name)
        if value is _ABSENT:
            return default
        if not isinstance(value, str):
            self.refuse(name, "wrong_type", "Send a string here.")
        elif len(value) > longest:
            self.refuse(name, "too_long", f"Use at most {longest} characters; these are {len(value)}.")
        elif _UNPRINTABLE.search(value):
            self.refuse(name, "invalid_characters", "Remove the control characters.")
        else:
            return value
        return default

    def boolean(self, name: str, default: bool) -> bool:
        value = self._take(name)
        if value is _ABSENT:
            return default
        if isinstance(value, bool):
            return value
        self.refuse(name, "wrong_type", "Send true or false here.")
        return default

    def number(self, name: str, default: float, *, lowest: float, highest: float) -> float:
        """A finite number within the bounds."""
        value = self._take(name)
        if value is _ABSENT:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or _is_not_finite(value):
            self.refuse(name, "wrong_type", "Send a number here.")
            return default
        return float(value) if self._is_within(name, value, lowest, highest) else default

    def integer(
        self, name: str, default: int | None, *, lowest: int, highest: int | None = None, kept: int | None = None
    ) -> int | None:
        """A whole number within the bounds; `highest` None leaves the upper bound to the caller. `kept` is taken
        wherever the bounds are."""
        value = self._take(name)
        if value is _ABSENT:
            return default
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole:
            self.refuse(name, "wrong_type", "Send a whole number here.")
            return default
        if kept is not None and value == kept:
            return kept
        return int(value) if self._is_within(name, value, lowest, highest) else default

    def choice(self, name: str, among: Collection[str], *, nullable: bool = False) -> str | None:
        """One of the given strings; None where it is absent, or null and `nullable`."""
        value = self._take(name)
        if value is _ABSENT or (value is None and nullable):
            return None
        if isinstance(value, str) and value in among:
            return value
        self.refuse(name, "unknown_value", f"Send one of: {', '.join(among)}.")
        return None

    def child(self, name: str) -> Fields:
        """The object below `name`; an absent one reads as empty."""
        value = self._take(name)
        return Fields({} if value is _ABSENT else value, self.at(name), self.errors)

    def optional_child(self, name: str) -> Fields | None:
        """The object below `name`; None where it is absent or null."""
        value = self._take(name)
        return None if value is _ABSENT or value is None else Fields(value, self.at(name), self.errors)

    def strings(self, name: str, *, most: int, longest_key: int, longest: int) -> dict[str, str]:
        """A map of strings to strings."""
        child = self.child(name)
        if len(child._data) > most:
            self.refuse(name, "too_many", f"Use at most {most} of them; these are {len(child._data)}.")
            return {}
        found: dict[str, str] = {}
        for key in child._data:
            if not key or len(key) > longest_key or _UNPRINTABLE.search(key):
                shown = key[:_LONGEST_NAME_SHOWN]
                child.refuse(shown, "invalid_name", f"Use names of 1 to {longest_key} printable characters.")
            elif (value := child.text(key, "", longest=longest)) is not None:
                found[key] = value
        return found

    def texts(self, name: str, *, most: int, longest: int) -> list[str] | None:
        """A list of strings; None where it is absent, null or wrong."""
        value = self._take(name)
        if value is _ABSENT or value is None:
            return None
        if not isinstance(value, list):
            self.refuse(name, "wrong_type", "Send a list of strings here.")
            return None
        if len(value) > most:
            self.refuse(name, "too_many", f"Use at most {most} of them; these are {len(value)}.")
            return None
        items = Fields({str(index): item for index, item in enumerate(value)}, self.at(name), self.errors)
        return [text for index in items._data if (text := items.text(index, longest=longest)) is not None]

    def objects(self, name: str, *, most: int) -> list[Fields]:
        """A list of objects; empty where it is absent, null or wrong."""
        value = self._take(name)
        if value is _ABSENT or value is None:
            return []
        if not isinstance(value, list):
            self.refuse(name, "wrong_type", "Send a list of objects here.")
            return []
        if len(value) > most:
            self.refuse(name, "too_many", f"Use at most {most} of them; these are {len(value)}.")
            return []
        return [Fields(item, f"{self.at(name)}.{index}", self.errors) for index, item in enumerate(value)]

    def is_null(self, name: str) -> bool:
        """Whether the field is there and null."""
        return self.has(name) and self._take(name) is None

    def finish(self) -> None:
        """Refuse what nobody took."""
        for name in self._data:
            if name not in self._taken:
                shown = str(name)[:_LONGEST_NAME_SHOWN]
                self.refuse(shown, "unknown_field", "There is no such field; remove it or correct its name.")

    def _take(self, name: str) -> Any:
        self._taken.add(name)
        return self._data.get(name, _ABSENT)

    def _is_within(self, name: str, value: float, lowest: float, highest: float | None) -> bool:
        if value < lowest:
            self.refuse(name, "below_minimum", f"Use {lowest:g} or more.")
            return False
        if highest is not None and value > highest:
            self.refuse(name, "above_maximum", f"Use {highest:g} or less.")
            return False
        return True


def _is_not_finite(value: float) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
