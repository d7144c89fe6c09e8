"""The settings that every engine has; each engine maps them to its own arguments. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from deployments.schema.setting import Flag, Setting
from deployments.schema.types import CHOSEN_IF_ABSENT, Section, StrictBool, Whole


class EngineSettings(Section):
    """Base of an engine's settings. A subclass narrows `name` to its own and adds its settings, each with a `Flag`."""

    # The arguments that carry the settings declared here, by setting. What is absent is not passed to this engine.
    SHARED_FLAGS: ClassVar[Mapping[str, Flag]] = {}

    name: Annotated[str, Setting("Engine")]
    context_length: Annotated[
        int,
        Whole(ge=256, le=2**24),
        Setting(
            "Context length",
            "Maximum tokens of prompt and answer together. Default: 8,192, or less if the model supports less.",
            unit="tokens",
            advanced=True,
            placeholder="8,192",
        ),
    ] = CHOSEN_IF_ABSENT
    max_concurrency: Annotated[
        int,
        Whole(ge=1, le=1024),
        Setting(
            "Max concurrency",
            "Requests that a replica processes at once. Lower values make each request faster, higher values serve "
            "more requests per replica, each slower, and delay scaling up.",
            unit="requests",
            advanced=True,
        ),
    ] = 16
    prefix_caching: Annotated[
        StrictBool, Setting("Prefix caching", "Reuses the computation of shared prompt prefixes.", advanced=True)
    ] = True


def arguments(settings: Section) -> Iterator[str]:
    """The command-line arguments of the settings that have a flag, in the order of declaration."""
    shared = settings.SHARED_FLAGS if isinstance(settings, EngineSettings) else {}
    for name, field in type(settings).model_fields.items():
        flag = next((part for part in field.metadata if isinstance(part, Flag)), shared.get(name))
        if flag:
            yield from flag.arguments(getattr(settings, name))
