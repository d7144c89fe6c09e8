"""Every setting of a deployment, declared once. Pure.

A setting that only one engine has is declared in that engine's module. docs/engines.md lists all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from pydantic import Discriminator, Field, Tag

from deployments.engines.registry import ENGINES
from deployments.schema.adapter import Adapter
from deployments.schema.engine_settings import EngineSettings
from deployments.schema.setting import Setting
from deployments.schema.types import CHOSEN_IF_ABSENT, Matching, Printable, Section, Whole

NAME_PATTERN = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
MAX_REPLICAS, MAX_ADAPTERS = 64, 32
MAX_PER_MINUTE = 10**12

# The sections that are unions, and the field of each that chooses the variant.
DISCRIMINATORS = {"engine": "name", "autoscaling": "enabled"}


class CatalogSource(Section):
    """A model of the catalog."""

    source: Annotated[
        Literal["catalog"],
        Setting("Model source", required='Set the source of the model: "catalog".'),
    ]
    id: Annotated[
        str,
        Field(max_length=80),
        Setting(
            "Model", "ID of a catalog model; GET /api/v1/models lists them.",
            required="Set the ID of a catalog model; GET /api/v1/models lists them.",
        ),
    ]  # fmt: skip


class Gpu(Section):
    """The GPUs of each replica. Default: the smallest type and count that hold the model."""

    type: Annotated[
        str,
        Field(max_length=60),
        Setting(
            "GPU type",
            "GET /api/v1/gpu-types lists them.",
            restarts=False,
            immutable="The GPU type cannot be changed. Clone the deployment with another GPU type instead.",
        ),
    ] = CHOSEN_IF_ABSENT
    count: Annotated[int, Whole(ge=1, le=1024), Setting("GPUs per replica")] = CHOSEN_IF_ABSENT


class Range(Section):
    """Autoscaling within a range of replicas; a minimum of 0 lets the deployment sleep."""

    enabled: Annotated[Literal[True], Setting("Autoscaling")] = True
    min_replicas: Annotated[
        int,
        Whole(ge=0, le=MAX_REPLICAS),
        Setting("Min replicas", "0 lets the deployment sleep when there are no requests."),
    ] = 1
    max_replicas: Annotated[
        int, Whole(ge=1, le=MAX_REPLICAS), Setting("Max replicas", "Default: 3, or the minimum if that is more.")
    ] = 3
    scale_down_delay_seconds: Annotated[
        int,
        Whole(ge=0, le=86_400),
        Setting(
            "Scale-down delay",
            "How long the load must stay low before replicas are removed.",
            unit="seconds",
            floor="delay_floor_seconds",
        ),
    ] = CHOSEN_IF_ABSENT
    sleep_after_seconds: Annotated[
        int | None,
        Whole(ge=0, le=7 * 86_400),
        Setting(
            "Sleep after",
            "Time without requests before the deployment sleeps, if the minimum is 0. Default: the scale-down delay.",
            unit="seconds",
            floor="delay_floor_seconds",
            advanced=True,
            placeholder="the delay",
        ),
    ] = None

    @property
    def first_replicas(self) -> int:
        """How many to start with: at least one, which shows that it works."""
        return max(1, self.min_replicas)


class Fixed(Section):
    """A fixed number of replicas, without autoscaling."""

    enabled: Annotated[Literal[False], Setting("Autoscaling")] = False
    replicas: Annotated[int, Whole(ge=1, le=MAX_REPLICAS), Setting("Replicas")] = 1

    @property
    def min_replicas(self) -> int:
        return self.replicas

    @property
    def max_replicas(self) -> int:
        return self.replicas

    @property
    def first_replicas(self) -> int:
        return self.replicas


class OrganizationLimits(Section):
    """The sum of all callers of an organization."""

    requests_per_minute: Annotated[
        int | None, Whole(ge=1, le=MAX_PER_MINUTE), Setting("Requests per minute of an organization")
    ] = None
    tokens_per_minute: Annotated[
        int | None,
        Whole(ge=1, le=MAX_PER_MINUTE),
        Setting("Tokens per minute of an organization", "Input and output tokens."),
    ] = None


class UserLimits(Section):
    """The sum of the API keys of a user in an organization."""

    requests_per_minute: Annotated[
        int | None, Whole(ge=1, le=MAX_PER_MINUTE), Setting("Requests per minute of a user")
    ] = None
    tokens_per_minute: Annotated[
        int | None, Whole(ge=1, le=MAX_PER_MINUTE), Setting("Tokens per minute of a user", "Input and output tokens.")
    ] = None


class ApiKeyLimits(Section):
    """Each API key."""

    requests_per_minute: Annotated[
        int | None, Whole(ge=1, le=MAX_PER_MINUTE), Setting("Requests per minute of an API key")
    ] = None
    tokens_per_minute: Annotated[
        int | None,
        Whole(ge=1, le=MAX_PER_MINUTE),
        Setting("Tokens per minute of an API key", "Input and output tokens."),
    ] = None


class Limits(Section):
    """Limits of requests and of tokens in any 60 seconds; null: no limit. All levels apply at once."""

    organization: Annotated[OrganizationLimits, Setting("Limits of each organization")] = OrganizationLimits()
    user: Annotated[UserLimits, Setting("Limits of each user")] = UserLimits()
    api_key: Annotated[ApiKeyLimits, Setting("Limits of each API key")] = ApiKeyLimits()

    def to_stored(self) -> dict[str, dict[str, int]]:
        """The limits that are set, by level and field."""
        found: dict[str, dict[str, int]] = self.model_dump(mode="json", exclude_none=True)
        return {level: fields for level, fields in found.items() if fields}


def discriminator(field: str) -> Discriminator:
    """Chooses the variant of a union by the value of `field`, in JSON and in instances."""

    def tag(value: Any) -> str | None:
        if isinstance(value, Section):
            return repr(getattr(value, field))
        return repr(value.get(field)) if isinstance(value, dict) else None

    return Discriminator(tag)


if TYPE_CHECKING:
    AnyEngineSettings: TypeAlias = EngineSettings
else:
    AnyEngineSettings = Annotated[
        Union[tuple(Annotated[engine.settings, Tag(repr(name))] for name, engine in ENGINES.items())],  # noqa: UP007
        discriminator("name"),
    ]
Autoscaling = Annotated[Annotated[Range, Tag("True")] | Annotated[Fixed, Tag("False")], discriminator("enabled")]

# A label is one line of a form, `name=value`: neither has line breaks or spaces at its ends, and the name has no "=".
LabelKey = Annotated[
    str,
    Matching(
        r"[^\x00-\x20=\x7f]([^\x00-\x1f=\x7f]{0,61}[^\x00-\x20=\x7f])?",
        'Use names of 1 to 63 printable characters without "=" and without spaces at the ends.',
        "invalid_name",
    ),
]
LabelValue = Annotated[
    str,
    Field(max_length=255),
    Matching(
        r"([^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?)?",
        "Use one line of printable characters, without spaces at the ends.",
    ),
]


class Configuration(Section):
    """A whole deployment, as it is sent to and answered by the API."""

    name: Annotated[
        str,
        Matching(
            NAME_PATTERN,
            "Use 1 to 63 lowercase letters, digits and hyphens, with a letter or digit at both ends.",
            "invalid_name",
        ),
        Setting(
            "Name", "Unique in the organization; clients send it as model.",
            required="Give the deployment a name; clients send it as model.",
            immutable="The name cannot be changed, as clients use it. Clone the deployment under another name instead.",
        ),
    ]  # fmt: skip
    description: Annotated[str, Field(max_length=500), Printable(), Setting("Description")] = ""
    endpoint: Annotated[
        str,
        Field(max_length=63),
        Setting(
            "Endpoint",
            "Endpoint that exposes the deployment.",
            immutable="The endpoint cannot be changed. Clone the deployment to another endpoint instead.",
        ),
    ] = "default"
    model: Annotated[
        CatalogSource,
        Setting("Model", restarts=True, required='Name a model: {"source": "catalog", "id": "…"}.'),
    ]
    adapters: Annotated[
        tuple[Adapter, ...], Field(max_length=MAX_ADAPTERS), Setting("Adapters", restarts=True)
    ] = ()  # fmt: skip
    engine: Annotated[AnyEngineSettings, Setting("Engine", restarts=True)] = CHOSEN_IF_ABSENT
    gpu: Annotated[Gpu, Setting("GPUs", restarts=True)] = Gpu()
    autoscaling: Annotated[Autoscaling, Setting("Autoscaling")] = Range()
    limits: Annotated[Limits, Setting("Limits", "Requests and tokens per minute.")] = Limits()
    labels: Annotated[
        dict[LabelKey, LabelValue],
        Field(max_length=32),
        Setting("Labels", "Names and values for finding deployments."),
    ] = {}

    def to_json(self) -> dict[str, Any]:
        """The canonical body: every value is there, and parsing it gives the same configuration."""
        return self.model_dump(mode="json")
