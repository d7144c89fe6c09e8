"""The form of a deployment, new or edited: it builds the same body as the API, and brings the errors of specs.parse
to its fields. What was typed is kept as it was typed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from console.forms import adapters, scaling
from console.forms.adapters import AdapterRow
from console.forms.numbers import number, typed
from deployments.bodies import body_of
from deployments.fields import FieldError
from deployments.specs import DeploymentSpec, InvalidSpec, Options, SimulatorSettings, parse

Values = dict[str, str]
ENGINE_NUMBERS = ("context_length", "max_concurrency")
SIMULATOR_NUMBERS = ("download_seconds", "initialize_seconds", "ttft_ms", "itl_ms")
NUMBERS = ("gpu_count", *scaling.FIELDS, *ENGINE_NUMBERS, *SIMULATOR_NUMBERS)
ADVANCED = (*ENGINE_NUMBERS, "prefix_caching", "sleep_after_seconds", *SIMULATOR_NUMBERS, "fail")
# Every field but the rows of adapters, in the order of the page, with what people call it.
TITLES = {
    "name": "name", "endpoint": "endpoint", "organization": "organization", "description": "description",
    "model": "model", "adapters": "adapters", "gpu": "GPU type", "gpu_count": "GPUs per replica",
    "min_replicas": "min replicas", "max_replicas": "max replicas", "replicas": "replicas",
    "scale_down_delay_seconds": "scale-down delay", "engine": "engine", "sleep_after_seconds": "sleep after",
    "context_length": "context length", "max_concurrency": "max concurrency", "prefix_caching": "prefix caching",
    "download_seconds": "download time", "initialize_seconds": "initialize time", "ttft_ms": "TTFT", "itl_ms": "ITL",
    "fail": "failure", "labels": "labels",
}  # fmt: skip
UNTITLED = ("preset", "preset_was", "fixed")
FIXED = ("name", "endpoint", "gpu")  # what an edit shows and never changes
FIELDS = {"model.id": "model", "gpu.type": "gpu", "engine.name": "engine", "gpu.count": "gpu_count"}
WORDS = {("model", "unknown_model"): "Choose a model of the catalog."}


@dataclass
class DeploymentForm:
    """`values` by field name, `adapters` row by row; `errors` by field name, in the order of the page once sorted
    with `problems`. `in_force` is the canonical body that an edit starts from."""

    values: Values
    adapters: list[AdapterRow] = field(default_factory=list)
    in_force: Mapping[str, Any] | None = None
    errors: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @staticmethod
    def usual(options: Options, model: str, endpoint: str) -> DeploymentForm:
        """What a new form starts with: the defaults of the API for `model` on `endpoint`."""
        chosen = model if model in options.models else next(iter(options.models), "")
        form = DeploymentForm(_empty(endpoint))
        try:
            spec = parse({"name": "x", "endpoint": endpoint, "model": {"source": "catalog", "id": chosen}}, options)
        except InvalidSpec:
            return form
        usual = DeploymentForm.of(body_of(spec)).values
        form.values = {**usual, "name": "", "context_length": "", "model": model if model in options.models else ""}
        return form

    @staticmethod
    def of(body: Mapping[str, Any]) -> DeploymentForm:
        """Filled with a canonical body."""
        return DeploymentForm(_filled(body), adapters.filled_rows(body["adapters"]))

    @staticmethod
    def typed(data: Mapping[str, str], in_force: Mapping[str, Any] | None = None) -> DeploymentForm:
        """What was sent; an edit has the name, the endpoint and the GPU type of the deployment."""
        values = {name: data.get(name, "").replace("\x00", "").strip() for name in (*TITLES, *UNTITLED)}
        if in_force:
            shown = _filled(in_force)
            values |= {name: shown[name] for name in FIXED}
        return DeploymentForm({**values, **scaling.settled(values)}, adapters.typed_rows(data), in_force)

    def with_row(self) -> None:
        """One more row for an adapter, empty."""
        if len(self.adapters) < adapters.MOST_ROWS:
            self.adapters.append(AdapterRow())

    def spec(self, options: Options, in_force: DeploymentSpec | None = None) -> DeploymentSpec | None:
        """The deployment that is asked for, or None with the reasons at the fields."""
        try:
            return parse(self.body, options, in_force)
        except InvalidSpec as invalid:
            self.take(invalid.errors)
            return None

    @property
    def body(self) -> dict[str, Any]:
        """The body of rest.md §3. What is empty is left out, so that the default holds; what is no number stays text
        and is refused by name."""
        given = self.values
        return {
            "name": given["name"],
            "endpoint": given["endpoint"],
            "description": self._as_in_force("description", given["description"].replace("\r\n", "\n")),
            "model": {"source": "catalog", "id": given["model"]},
            "adapters": [row.body for row in self.adapters if not row.is_empty],
            "engine": self._engine,
            "gpu": {
                **({"type": given["gpu"]} if given["gpu"] else {}),
                **({"count": number(given["gpu_count"])} if given["gpu_count"] else {}),
            },
            "autoscaling": scaling.body(given),
            "labels": self._as_in_force("labels", self._labels),
        }

    @property
    def _engine(self) -> dict[str, Any]:
        given = self.values
        engine: dict[str, Any] = {"name": given["engine"], "prefix_caching": given["prefix_caching"] == "on"}
        engine |= {name: number(given[name]) for name in ENGINE_NUMBERS if given[name]}
        if given["engine"] == "simulator":
            settings = {name: number(given[name]) for name in SIMULATOR_NUMBERS if given[name]}
            engine["simulator"] = {**settings, "fail": given["fail"] or None}
        return engine

    @property
    def _labels(self) -> dict[str, str]:
        """One `key=value` a line; a line without `=` is a key without a value."""
        lines = (line.partition("=") for line in self.values["labels"].splitlines() if line.strip())
        return {key.strip(): value.strip() for key, _, value in lines}

    def _as_in_force(self, name: str, otherwise: Any) -> Any:
        """The value in force where its text still stands as it was shown: a field may show less than there is."""
        if self.in_force and _plain(self.values[name]) == _plain(_filled(self.in_force)[name]):
            return self.in_force[name]
        return otherwise

    def refuse(self, name: str, message: str) -> None:
        self.errors[name].append(message)

    def take(self, errors: list[FieldError]) -> None:
        """Put each error of the spec at its field."""
        for error in errors:
            name = form_field(error.field)
            self.refuse(name, words(name, error))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of adapters with the errors at each of their fields."""
        return [
            {"place": place, "is_pinned": bool(row.revision), **vars(row)}
            | {f"{part}_problem": self.errors.get(f"adapter-{place}-{part}") for part in adapters.PARTS}
            for place, row in enumerate(self.adapters)
        ]

    @property
    def problems(self) -> list[tuple[str, str]]:
        """(field, title) of each field that needs a look, in the order of the page."""
        rows = [name for name in self.errors if name.startswith("adapter-") and self.errors[name]]
        rows.sort(key=lambda name: int(name.split("-")[1]))
        found: list[tuple[str, str]] = []
        for name, title in TITLES.items():
            found += [(name, title)] if self.errors.get(name) else []
            found += [(one, adapters.title(one)) for one in rows] if name == "adapters" else []
        return found

    @property
    def advanced_problems(self) -> bool:
        return any(self.errors.get(name) for name in ADVANCED)


def _empty(endpoint: str) -> Values:
    values = dict.fromkeys((*TITLES, *UNTITLED), "") | {"endpoint": endpoint, "gpu_count": "1", "prefix_caching": "on"}
    return {**values, **scaling.filled({"enabled": True, "max_replicas": 3}), "max_concurrency": "16", "engine": "vllm"}


def _filled(body: Mapping[str, Any]) -> Values:
    """The fields for a canonical body."""
    engine = body["engine"]
    simulator = engine["simulator"] or asdict(SimulatorSettings())
    return {
        **{name: body[name] for name in ("name", "endpoint", "description")},
        "organization": "",
        "adapters": "",
        "model": body["model"]["id"],
        "gpu": body["gpu"]["type"],
        "gpu_count": typed(body["gpu"]["count"]),
        **scaling.filled(body["autoscaling"]),
        "engine": engine["name"],
        **{name: typed(engine[name]) for name in ENGINE_NUMBERS},
        "prefix_caching": "on" if engine["prefix_caching"] else "",
        **{name: typed(simulator[name]) for name in SIMULATOR_NUMBERS},
        "fail": simulator["fail"] or "",
        "labels": "\n".join(f"{key}={value}" if value else key for key, value in body["labels"].items()),
    }


def _plain(text: str) -> str:
    """As a browser sends back what it was given."""
    return "\n".join(text.split("\r\n")).strip()


def form_field(path: str) -> str:
    """The field of the form for a path of the spec: `engine.simulator.ttft_ms` is `ttft_ms`, and
    `adapters.0.name` is `adapter-0-name`."""
    parts = path.split(".")
    if parts[0] == "labels":
        return "labels"
    if parts[0] == "adapters" and len(parts) > 2:
        return f"adapter-{parts[1]}-{parts[2]}"
    return FIELDS.get(path) or (parts[-1] if parts[-1] in TITLES else parts[0])


def words(name: str, error: FieldError) -> str:
    """The message of the spec, put for people where it speaks of JSON."""
    if error.code == "wrong_type" and name not in ("name", "description"):
        return "Write a number, such as 16." if name in NUMBERS else error.message
    if name == "max_replicas" and error.code == "below_minimum":
        return error.message.replace(" (min_replicas)", ", the min,")
    if name == "labels":
        key = error.field.removeprefix("labels").removeprefix(".")
        return f"{key}: {error.message}" if key else error.message
    return WORDS.get((name, error.code), error.message)
