"""Metadata of a setting, given in the annotation of the field that declares it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Setting:
    """How people see a setting and who may set it.

    `title` in sentence case, `help` one or two sentences, `unit` of the value. `advanced`: hidden behind "Advanced" in
    forms. `restarts`: a change makes a new revision; None inherits from the section that holds the setting.
    `floor`: the attribute of the options that holds the lowest value that may be chosen now.
    `immutable`: why it never changes after creation and what to do instead; empty for what may change.
    `operators_only`: tenants may not set another value than the one in force. `required` is the message for a missing
    value that has no default. `placeholder` is what a form shows while the value is left open, `choice_titles` how it
    names the choices ("" for none of them).
    """

    title: str
    help: str = ""
    unit: str = ""
    advanced: bool = False
    restarts: bool | None = None
    operators_only: bool = False
    floor: str = ""
    immutable: str = ""
    required: str = ""
    placeholder: str = ""
    choice_titles: Mapping[str, str] = field(default_factory=dict)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        schema["title"] = self.title
        if self.help:
            schema["description"] = self.help
        return schema


@dataclass(frozen=True)
class Flag:
    """The command-line argument that carries a setting: `name VALUE`; None passes nothing.

    A boolean is a switch: `name` when true, `off` when false (nothing where `off` is empty).
    """

    name: str
    off: str = ""

    def arguments(self, value: Any) -> tuple[str, ...]:
        match value:
            case None:
                return ()
            case bool():
                switch = self.name if value else self.off
                return (switch,) if switch else ()
            case float():
                return (self.name, f"{value:g}")
            case _:
                return (self.name, str(value))
