"""From normalized JSON to a `Configuration`, or errors by field. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from deployments.config.available_options import Options
from deployments.config.configuration import DISCRIMINATORS, Configuration, Fixed, Limits, Range
from deployments.config.normalize import normalize, with_whole_floats_as_integers
from deployments.config.settings_index import find, setting_of
from deployments.engines.registry import ENGINES
from deployments.schema.adapter import Adapter
from deployments.schema.errors import FieldError, InvalidConfiguration, convert
from deployments.schema.types import Section

VARIANTS: Mapping[str, list[type[Section]]] = {
    "engine": [engine.settings for engine in ENGINES.values()],
    "autoscaling": [Range, Fixed],
}
Path = tuple[str | int, ...]


class LimitsHolder(Section):
    """What an organization has of settings."""

    limits: Limits = Limits()


def validate(body: Mapping[str, Any], options: Options) -> tuple[Configuration | None, list[FieldError]]:
    """The configuration and everything wrong with the body.

    With errors the configuration is what is left without the wrong values, so that the rest can be checked as well and
    all errors are reported at once; None when too little is left.
    """
    try:
        return Configuration.model_validate(body), []
    except ValidationError as error:
        found = [(_path(detail), detail) for detail in error.errors(include_url=False)]
    if any(path == ("model", "source") for path, _ in found):  # which fields belong beside it is not known then
        found = [(path, detail) for path, detail in found if path == ("model", "source") or path[0] != "model"]
    errors = [_explain(detail, path, options) for path, detail in found]
    try:
        remaining = normalize(_without(body, {path for path, _ in found}), options)
        return Configuration.model_validate(remaining), errors
    except ValidationError:
        return None, errors


def validate_limits(body: Mapping[str, Any]) -> Limits:
    """The limits in `{"limits": …}`. Raises `InvalidConfiguration`."""
    try:
        return LimitsHolder.model_validate(with_whole_floats_as_integers(body)).limits
    except ValidationError as error:
        raise InvalidConfiguration(
            [convert(found, found["loc"]) for found in error.errors(include_url=False)]
        ) from None


def _path(detail: ErrorDetails) -> Path:
    """The location without the tags of unions and without pydantic's mark of a wrong key."""
    section, *below = detail["loc"] or ("",)
    if section == "labels" and below[1:] == ["[key]"]:
        return (section, below[0])
    if detail["type"] == "union_tag_invalid":
        return (section, DISCRIMINATORS[str(section)])
    return (section, *(below[1:] if section in DISCRIMINATORS else below))


def _explain(detail: ErrorDetails, path: Path, options: Options) -> FieldError:
    error = convert(detail, path)
    kind, value = detail["type"], detail["input"]
    match path:
        case ("engine", "name") if kind == "union_tag_invalid":
            return unusable_engine(value["name"], options)
        case ("autoscaling", "enabled") if kind == "union_tag_invalid":
            return FieldError(error.field, "wrong_type", "Send true or false here.")
        case (("engine" | "autoscaling") as section, str(name)) if kind == "extra_forbidden":
            return _not_applicable(error, section, name)
        case ("model", "source") if kind == "literal_error" and value in ("huggingface", "container"):
            message = 'Only models of the catalog can be deployed: use "catalog".'
            return FieldError(error.field, "not_available_yet", message)
    if kind == "missing":
        return FieldError(error.field, "required", _required_message(path) or error.message)
    return error


def unusable_engine(name: Any, options: Options) -> FieldError:
    """Why this engine cannot be chosen: there is none of this name, or it is not available."""
    if not isinstance(name, str):
        return FieldError("engine.name", "wrong_type", "Send a string here.")
    if name not in options.engines:
        message = f"There is no engine {name!r}. Engines: {', '.join(sorted(options.engines))}."
        return FieldError("engine.name", "unknown_engine", message)
    reason = (
        "is not available yet" if options.engines[name] == "coming_soon" else "needs a license that is not installed"
    )
    usable = ", ".join(_engine_title(engine) for engine in sorted(options.available_engines))
    message = f"{_engine_title(name)} {reason}. Use one of: {usable}."
    return FieldError("engine.name", "engine_unavailable", message)


def _engine_title(name: str) -> str:
    return ENGINES[name].title if name in ENGINES else name


def _not_applicable(error: FieldError, section: str, name: str) -> FieldError:
    """For a setting that another variant of the section has."""
    if not any(name in variant.model_fields for variant in VARIANTS[section]):
        return error
    if section == "engine":
        owners = " or ".join(key for key, engine in ENGINES.items() if name in engine.settings.model_fields)
        message = f"Only {owners} has this setting: remove it, or choose that engine with engine.name."
    elif name in Fixed.model_fields:
        message = "A fixed number requires enabled: false. Send min_replicas and max_replicas instead."
    else:
        message = "A range requires enabled: true. Remove it, or enable autoscaling."
    return FieldError(error.field, "not_applicable", message)


def _required_message(path: Path) -> str:
    if path[0] == "adapters":
        return setting_of(Adapter, str(path[-1])).required
    if len(path) == 1:
        return setting_of(Configuration, str(path[0])).required
    declared = find(".".join(map(str, path)))
    return declared.setting.required if declared else ""


def _without(body: Mapping[str, Any], paths: Collection[Path]) -> dict[str, Any]:
    """The body without the values at these paths; of lists and maps nothing is left when an entry is wrong. What has no
    default gets a value that no check refuses."""
    result = {name: dict(value) if isinstance(value, Mapping) else value for name, value in body.items()}
    for section, *below in paths:
        holder: Any = result
        if below and section not in ("adapters", "labels"):
            holder = result[str(section)]
            for part in below[:-1]:
                holder[part] = holder = dict(holder[part])
        holder.pop(below[-1] if holder is not result else section, None)
    model = result.get("model")
    return {"name": "x", **result, "model": {"source": "catalog", "id": "", **(model or {})}}
