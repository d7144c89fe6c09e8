"""Value types of settings, each with its checks and its JSON schema. Pure.

Numbers reject booleans, strings, NaN and infinity. A whole number may be sent as `2.0`: normalization makes it 2 first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

CONTROL_CHARACTERS = "\x00-\x08\x0b-\x1f\x7f"
UNPRINTABLE = re.compile(f"[{CONTROL_CHARACTERS}\ud800-\udfff]")
PRINTABLE_PATTERN = f"^[^{CONTROL_CHARACTERS}]*$"

# The default of a value that is chosen from the environment when it is not sent. The type of such a field says what it
# is once the configuration is resolved; null cannot be sent.
CHOSEN_IF_ABSENT: Any = None


class Section(BaseModel):
    """A JSON object of settings: immutable, and it takes no other fields."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), json_schema_serialization_defaults_required=True
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """An answer has every value, so its schema has no defaults."""
        schema = handler(core)
        if handler.mode == "serialization":
            for field in handler.resolve_ref_schema(schema).get("properties", {}).values():
                field.pop("default", None)
        return schema


def Whole(ge: int | None = None, le: int | None = None) -> FieldInfo:
    """Constraints of a whole number."""
    constraints: FieldInfo = Field(strict=True, ge=ge, le=le)
    return constraints


def Number(ge: float | None = None, le: float | None = None) -> FieldInfo:
    """Constraints of a finite number."""
    constraints: FieldInfo = Field(strict=True, ge=ge, le=le, allow_inf_nan=False)
    return constraints


@dataclass(frozen=True)
class Printable:
    """Text without control characters; line feeds and tabs are allowed."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_refuse_unprintable, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), "pattern": PRINTABLE_PATTERN}


def _refuse_unprintable(text: str) -> str:
    if UNPRINTABLE.search(text):
        raise PydanticCustomError("invalid_characters", "Remove the control characters.")
    return text


@dataclass(frozen=True)
class Matching:
    """Text that matches `pattern` as a whole; otherwise the error `code` with `message`."""

    pattern: str
    message: str
    code: str = "invalid_format"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._validate, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), "pattern": f"^{self.pattern}$"}

    def _validate(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise PydanticCustomError(self.code, self.message)
        return text


StrictBool = Annotated[bool, Field(strict=True)]
