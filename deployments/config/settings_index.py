"""Reads the declarations: every setting with its path, type, bounds and metadata. Pure.

Forms, diffs, pages and documents are made from `SETTINGS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from deployments.config.configuration import Configuration
from deployments.engines.registry import ENGINES
from deployments.schema.adapter import Adapter
from deployments.schema.engine_settings import EngineSettings
from deployments.schema.setting import Flag, Setting
from deployments.schema.types import CHOSEN_IF_ABSENT, Section

Kind = Literal["integer", "number", "boolean", "choice", "text", "list", "map"]


@dataclass(frozen=True)
class Declared:
    """One setting. `path` as in the API (`engine.max_concurrency`); `default` is CHOSEN_IF_ABSENT where resolution
    fills it in; `engines` the names of the engines that have it, empty for settings of no engine; `restarts` and
    `operators_only` with what is inherited from the section; `flags` the command-line argument by engine."""

    path: str
    setting: Setting
    kind: Kind
    default: Any
    nullable: bool
    required: bool
    choices: tuple[Any, ...]
    minimum: float | None
    maximum: float | None
    max_length: int | None
    engines: tuple[str, ...]
    flags: tuple[tuple[str, Flag], ...]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def restarts(self) -> bool:
        return bool(self.setting.restarts)


def declared_settings(section: type[Section]) -> list[Declared]:
    """Every setting of a section and of the sections in it, in the order of declaration; a setting that several engines
    have appears once."""
    found: dict[str, Declared] = {}
    for declared in _walk(section, "", Setting(""), ()):
        if known := found.get(declared.path):
            declared = replace(
                known, engines=(*known.engines, *declared.engines), flags=(*known.flags, *declared.flags),
                choices=tuple(dict.fromkeys((*known.choices, *declared.choices))),
            )  # fmt: skip
        found[declared.path] = declared
    return list(found.values())


def _walk(section: type[Section], prefix: str, inherited: Setting, engines: tuple[str, ...]) -> Iterator[Declared]:
    for name, field in section.model_fields.items():
        declared = setting_of(section, name)
        setting = replace(
            declared,
            restarts=inherited.restarts if declared.restarts is None else declared.restarts,
            operators_only=declared.operators_only or inherited.operators_only,
            advanced=declared.advanced or inherited.advanced,
        )
        sections = [
            kind for kind in _variants(field.annotation) if isinstance(kind, type) and issubclass(kind, Section)
        ]
        if sections and not any(issubclass(kind, Adapter) for kind in sections):
            for kind in sections:
                owner = _engine_names(kind) if issubclass(kind, EngineSettings) else engines
                yield from _walk(kind, f"{prefix}{name}.", setting, owner)
        else:
            yield _leaf(f"{prefix}{name}", field, setting, engines, section)


def setting_of(section: type[Section], name: str) -> Setting:
    """The metadata of a field; where a subclass narrows the type of a field, that of the class that declares it."""
    for owner in section.__mro__:
        field = getattr(owner, "model_fields", {}).get(name)
        for part in field.metadata if field else ():
            if isinstance(part, Setting):
                return part
    raise LookupError(f"{section.__name__}.{name} has no Setting")


def _leaf(path: str, field: FieldInfo, setting: Setting, engines: tuple[str, ...], section: type[Section]) -> Declared:
    kinds = _variants(field.annotation)
    bounds = {
        name: value
        for part in field.metadata
        for name in ("ge", "le", "max_length")
        if (value := getattr(part, name, None)) is not None
    }
    choices = tuple(value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind))
    flags = []
    for engine in engines:
        flag = next((part for part in field.metadata if isinstance(part, Flag)), None)
        if issubclass(section, EngineSettings):
            flag = flag or section.SHARED_FLAGS.get(path.rpartition(".")[2])
        if flag:
            flags.append((engine, flag))
    return Declared(
        path=path,
        setting=setting,
        kind=_kind(kinds, choices),
        default=None if field.is_required() else field.default,
        nullable=type(None) in kinds,
        required=field.is_required(),
        choices=choices,
        minimum=bounds.get("ge"),
        maximum=bounds.get("le"),
        max_length=bounds.get("max_length"),
        engines=engines,
        flags=tuple(flags),
    )


def _variants(annotation: Any) -> list[Any]:
    """The members of a union, without `Annotated`; a plain type is its only member."""
    if get_origin(annotation) is Annotated:
        return _variants(get_args(annotation)[0])
    if get_origin(annotation) in (Literal, dict, tuple, None):
        return [annotation]
    return [kind for member in get_args(annotation) for kind in _variants(member)]


def _kind(kinds: list[Any], choices: tuple[Any, ...]) -> Kind:
    if bool in kinds or (choices and set(choices) <= {True, False}):
        return "boolean"
    if choices:
        return "choice"
    for kind, name in ((int, "integer"), (float, "number"), (str, "text")):
        if kind in kinds:
            return name  # type: ignore[return-value]
    return "map" if any(get_origin(kind) is dict for kind in kinds) else "list"


def _engine_names(kind: type[EngineSettings]) -> tuple[str, ...]:
    return tuple(name for name, engine in ENGINES.items() if engine.settings is kind)


SETTINGS: dict[str, Declared] = {declared.path: declared for declared in declared_settings(Configuration)}


@lru_cache(maxsize=1024)
def find(path: str) -> Declared | None:
    """The declaration of the setting at a path of a body; a label's is that of `labels`, an adapter's that of
    `adapters`."""
    while path:
        if path in SETTINGS:
            return SETTINGS[path]
        path = path.rpartition(".")[0]
    return None


def value_at(body: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """The value at the path of a setting in a canonical body, or the default where the body has none."""
    value: Any = body
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return default
        value = value[name]
    return value


def is_chosen_if_absent(declared: Declared) -> bool:
    """Whether resolution fills the value in when it is not sent."""
    return declared.default is CHOSEN_IF_ABSENT and not declared.nullable and not declared.required
