"""The form of a deployment, new or edited. It builds the same body as the REST API and maps the errors of the
configuration back to its fields; input is preserved as typed. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from console.deployments import scaling_fields
from console.deployments.number_input import format_typed, parse_number
from deployments.bodies import body_of
from deployments.fields import FieldError
from deployments.specs import DeploymentSpec, InvalidSpec, Options, SimulatorSettings
from deployments.specs import parse as parse_body

Values = dict[str, str]
ENGINE_NUMBERS = ("context_length", "max_concurrency")
SIMULATOR_NUMBERS = ("download_seconds", "initialize_seconds", "ttft_ms", "itl_ms")
NUMBERS = ("gpu_count", *scaling_fields.FIELDS, *ENGINE_NUMBERS, *SIMULATOR_NUMBERS)
ADVANCED = (*ENGINE_NUMBERS, "prefix_caching", "sleep_after_seconds", *SIMULATOR_NUMBERS, "fail")
MAX_ADAPTERS = 32
ADAPTER_FIELD = re.compile(r"adapter-(\d{1,3})-\w+")
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


@dataclass(frozen=True)
class AdapterRow:
    """A row of the adapters as typed. An empty row is no adapter."""

    repository: str = ""
    name: str = ""
    revision: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.repository or self.name or self.revision)

    @property
    def body(self) -> dict[str, str]:
        """What was left empty is left out, so that its default holds."""
        return {part: value for part, value in vars(self).items() if value}


ADAPTER_PARTS = tuple(part.name for part in fields(AdapterRow))


@dataclass
class DeploymentForm:
    """`values` by field name, `adapters` row by row; `errors` by field name, in the order of the page once sorted
    with `problems`. `in_force` is the canonical body that an edit starts from."""

    values: Values
    adapters: list[AdapterRow] = field(default_factory=list)
    in_force: Mapping[str, Any] | None = None
    errors: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @staticmethod
    def initial(options: Options, model: str, endpoint: str) -> DeploymentForm:
        """What a new form starts with: the defaults of the API for `model` on `endpoint`."""
        chosen = model if model in options.models else next(iter(options.models), "")
        form = DeploymentForm(_empty_values(endpoint))
        try:
            spec = parse_body(
                {"name": "x", "endpoint": endpoint, "model": {"source": "catalog", "id": chosen}}, options
            )
        except InvalidSpec:
            return form
        defaults = DeploymentForm.from_body(body_of(spec)).values
        form.values = {**defaults, "name": "", "context_length": "", "model": model if model in options.models else ""}
        return form

    @staticmethod
    def from_body(body: Mapping[str, Any]) -> DeploymentForm:
        """Filled with a canonical body."""
        return DeploymentForm(_fill_values(body), fill_adapter_rows(body["adapters"]))

    @staticmethod
    def from_data(data: Mapping[str, str], in_force: Mapping[str, Any] | None = None) -> DeploymentForm:
        """What was sent; an edit has the name, the endpoint and the GPU type of the deployment."""
        values = {name: data.get(name, "").replace("\x00", "").strip() for name in (*TITLES, *UNTITLED)}
        if in_force:
            shown = _fill_values(in_force)
            values |= {name: shown[name] for name in FIXED}
        return DeploymentForm({**values, **scaling_fields.apply_preset(values)}, read_adapter_rows(data), in_force)

    def add_adapter_row(self) -> None:
        """One more row for an adapter, empty."""
        if len(self.adapters) < MAX_ADAPTERS:
            self.adapters.append(AdapterRow())

    def parse(self, options: Options, in_force: DeploymentSpec | None = None) -> DeploymentSpec | None:
        """The deployment that is asked for, or None with the reasons at the fields."""
        try:
            return parse_body(self.body, options, in_force)
        except InvalidSpec as invalid:
            self.add_errors(invalid.errors)
            return None

    @property
    def body(self) -> dict[str, Any]:
        """The body as the REST API takes it. What is empty is left out, so that the default holds; what is no number
        stays text and is refused by name."""
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
                **({"count": parse_number(given["gpu_count"])} if given["gpu_count"] else {}),
            },
            "autoscaling": scaling_fields.build_body(given),
            "labels": self._as_in_force("labels", self._labels),
        }

    @property
    def _engine(self) -> dict[str, Any]:
        given = self.values
        engine: dict[str, Any] = {"name": given["engine"], "prefix_caching": given["prefix_caching"] == "on"}
        engine |= {name: parse_number(given[name]) for name in ENGINE_NUMBERS if given[name]}
        if given["engine"] == "simulator":
            settings = {name: parse_number(given[name]) for name in SIMULATOR_NUMBERS if given[name]}
            engine["simulator"] = {**settings, "fail": given["fail"] or None}
        return engine

    @property
    def _labels(self) -> dict[str, str]:
        """One `key=value` a line; a line without `=` is a key without a value."""
        lines = (line.partition("=") for line in self.values["labels"].splitlines() if line.strip())
        return {key.strip(): value.strip() for key, _, value in lines}

    def _as_in_force(self, name: str, otherwise: Any) -> Any:
        """The value in force where its text still stands as it was shown: a field may show less than there is."""
        if self.in_force and _plain(self.values[name]) == _plain(_fill_values(self.in_force)[name]):
            return self.in_force[name]
        return otherwise

    def add_error(self, name: str, message: str) -> None:
        self.errors[name].append(message)

    def add_errors(self, errors: list[FieldError]) -> None:
        """Attach each error of the configuration to its field."""
        for error in errors:
            name = field_for_path(error.field)
            self.add_error(name, format_error(name, error))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of adapters with the errors at each of their fields."""
        return [
            {"place": place, "is_pinned": bool(row.revision), **vars(row)}
            | {f"{part}_problem": self.errors.get(f"adapter-{place}-{part}") for part in ADAPTER_PARTS}
            for place, row in enumerate(self.adapters)
        ]

    @property
    def problems(self) -> list[tuple[str, str]]:
        """(field, title) of each field with an error, in the order of the page."""
        rows = [name for name in self.errors if name.startswith("adapter-") and self.errors[name]]
        rows.sort(key=lambda name: int(name.split("-")[1]))
        found: list[tuple[str, str]] = []
        for name, title in TITLES.items():
            found += [(name, title)] if self.errors.get(name) else []
            found += [(row, format_adapter_title(row)) for row in rows] if name == "adapters" else []
        return found

    @property
    def advanced_problems(self) -> bool:
        return any(self.errors.get(name) for name in ADVANCED)


def _empty_values(endpoint: str) -> Values:
    values = dict.fromkeys((*TITLES, *UNTITLED), "") | {"endpoint": endpoint, "gpu_count": "1", "prefix_caching": "on"}
    return {
        **values,
        **scaling_fields.fill_fields({"enabled": True, "max_replicas": 3}),
        "max_concurrency": "16",
        "engine": "vllm",
    }


def _fill_values(body: Mapping[str, Any]) -> Values:
    """The fields for a canonical body."""
    engine = body["engine"]
    simulator = engine["simulator"] or asdict(SimulatorSettings())
    return {
        **{name: body[name] for name in ("name", "endpoint", "description")},
        "organization": "",
        "adapters": "",
        "model": body["model"]["id"],
        "gpu": body["gpu"]["type"],
        "gpu_count": format_typed(body["gpu"]["count"]),
        **scaling_fields.fill_fields(body["autoscaling"]),
        "engine": engine["name"],
        **{name: format_typed(engine[name]) for name in ENGINE_NUMBERS},
        "prefix_caching": "on" if engine["prefix_caching"] else "",
        **{name: format_typed(simulator[name]) for name in SIMULATOR_NUMBERS},
        "fail": simulator["fail"] or "",
        "labels": "\n".join(f"{key}={value}" if value else key for key, value in body["labels"].items()),
    }


def _plain(text: str) -> str:
    """As a browser sends back what it was given."""
    return "\n".join(text.split("\r\n")).strip()


def field_for_path(path: str) -> str:
    """The field of the form for a path of the spec: `engine.simulator.ttft_ms` is `ttft_ms`, and
    `adapters.0.name` is `adapter-0-name`."""
    parts = path.split(".")
    if parts[0] == "labels":
        return "labels"
    if parts[0] == "adapters" and len(parts) > 2:
        return f"adapter-{parts[1]}-{parts[2]}"
    return FIELDS.get(path) or (parts[-1] if parts[-1] in TITLES else parts[0])


def format_error(name: str, error: FieldError) -> str:
    """The message of the configuration, adapted where it speaks of JSON."""
    if error.code == "wrong_type" and name not in ("name", "description"):
        return "Write a number, such as 16." if name in NUMBERS else error.message
    if name == "max_replicas" and error.code == "below_minimum":
        return error.message.replace(" (min_replicas)", ", the min,")
    if name == "labels":
        key = error.field.removeprefix("labels").removeprefix(".")
        return f"{key}: {error.message}" if key else error.message
    return WORDS.get((name, error.code), error.message)


def read_adapter_rows(data: Mapping[str, str]) -> list[AdapterRow]:
    """The rows with something in them, in their order, without the one that `remove_adapter` names;
    `adapter-<row>-<part>` are their fields."""
    places = sorted({int(match[1]) for name in data if (match := ADAPTER_FIELD.fullmatch(name))})
    places = [place for place in places if str(place) != data.get("remove_adapter")]
    rows = [
        AdapterRow(*(data.get(f"adapter-{place}-{part}", "").replace("\x00", "").strip() for part in ADAPTER_PARTS))
        for place in places[: 2 * MAX_ADAPTERS]
    ]
    return [row for row in rows if not row.is_empty]


def fill_adapter_rows(adapters: Sequence[Mapping[str, str]]) -> list[AdapterRow]:
    """Those of a canonical body."""
    return [AdapterRow(adapter["repository"], adapter["name"], adapter["revision"]) for adapter in adapters]


def format_adapter_title(field: str) -> str:
    """`adapter-1-name` is the name of adapter 2."""
    _, place, part = field.split("-")
    return f"{part} of adapter {int(place) + 1}"


REBASED = (*(name for name in TITLES if name not in (*FIXED, "organization", "adapters")), "fixed")


def rebase(
    form: DeploymentForm, base: Mapping[str, Any], current: Mapping[str, Any]
) -> tuple[DeploymentForm, list[str]]:
    """Puts what was typed since `base`, the canonical body that the page was opened with, onto `current`: a field that
    was left alone gets the value of `current`. With the form come the titles of the fields that both changed to
    different values; there the typed value stays."""
    old, new = DeploymentForm.from_body(base), DeploymentForm.from_body(current)
    mine = {name for name in REBASED if not _is_same(form.values[name], old.values[name])}
    theirs = {name for name in REBASED if not _is_same(new.values[name], old.values[name])}
    both = [
        TITLES.get(name, "autoscaling")
        for name in REBASED
        if name in mine & theirs and not _is_same(form.values[name], new.values[name])
    ]
    values = {**form.values, **{name: new.values[name] for name in theirs - mine}}
    rows = form.adapters
    if rows == old.adapters:
        rows = new.adapters
    elif new.adapters not in (old.adapters, rows):
        both.append(TITLES["adapters"])
    return DeploymentForm({**values, **scaling_fields.set_preset(values)}, list(rows), current), both


def _is_same(left: str, right: str) -> bool:
    return parse_number(left.replace("\r\n", "\n").strip()) == parse_number(right.replace("\r\n", "\n").strip())
