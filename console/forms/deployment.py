"""The form of a new deployment: it builds the same body as the API, and brings the errors of specs.parse to its
fields. What was typed is kept as it was typed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deployments.fields import FieldError
from deployments.specs import InvalidSpec, Options, SimulatorSettings, parse

Values = dict[str, str]
NUMBERS = {
    "gpu_count": ("gpu", "count"),
    "replicas": ("autoscaling", "replicas"),
    "context_length": ("engine", "context_length"),
    "max_concurrency": ("engine", "max_concurrency"),
}
SIMULATOR_NUMBERS = ("download_seconds", "initialize_seconds", "ttft_ms", "itl_ms")
ADVANCED = ("context_length", "max_concurrency", "prefix_caching", *SIMULATOR_NUMBERS, "fail")
TITLES = {
    "name": "name", "endpoint": "endpoint", "description": "description", "model": "model", "gpu": "GPU type",
    "gpu_count": "GPUs per replica", "replicas": "replicas", "engine": "engine", "context_length": "context length",
    "max_concurrency": "max concurrency", "prefix_caching": "prefix caching", "labels": "labels", "fail": "failure",
    "download_seconds": "download time", "initialize_seconds": "initialize time", "ttft_ms": "TTFT", "itl_ms": "ITL",
    "organization": "organization",
}  # fmt: skip
FIELDS = {
    "model.id": "model", "gpu.type": "gpu", "engine.name": "engine", "gpu.count": "gpu_count",
    "autoscaling.replicas": "replicas",
}  # fmt: skip
WHOLE, DECIMAL = re.compile(r"-?\d+"), re.compile(r"-?\d*\.?\d+")
WORDS = {("model", "unknown_model"): "Choose a model of the catalog."}


@dataclass
class DeploymentForm:
    """`values` by field name; `errors` by field name, in the order of the page once sorted with `problems`."""

    values: Values
    errors: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @staticmethod
    def usual(options: Options, model: str, endpoint: str) -> DeploymentForm:
        """What a new form starts with: the defaults of the API for `model` on `endpoint`."""
        simulated = endpoint in options.endpoints and options.endpoints[endpoint].simulated
        chosen = model if model in options.models else next(iter(options.models), "")
        usual = SimulatorSettings()
        values = {
            "name": "", "endpoint": endpoint, "description": "", "labels": "", "organization": "",
            "model": model if model in options.models else "", "gpu": "", "gpu_count": "1", "replicas": "1",
            "engine": "simulator" if simulated else "vllm", "context_length": "", "max_concurrency": "16",
            "prefix_caching": "on", "fail": "", **{name: f"{getattr(usual, name):g}" for name in SIMULATOR_NUMBERS},
        }  # fmt: skip
        body = {"name": "x", "endpoint": endpoint, "model": {"source": "catalog", "id": chosen}}
        try:
            spec = parse(body, options)
        except InvalidSpec:
            return DeploymentForm(values)
        return DeploymentForm({**values, "gpu": spec.gpu_type, "gpu_count": str(spec.revision.gpu_count)})

    @staticmethod
    def typed(data: Mapping[str, str]) -> DeploymentForm:
        return DeploymentForm({name: data.get(name, "").replace("\x00", "").strip() for name in TITLES})

    @property
    def body(self) -> dict[str, Any]:
        """The body of rest.md §3. What is empty is left out, so that the default holds; what is no number stays text
        and is refused by name."""
        given = self.values
        body: dict[str, Any] = {
            "name": given["name"],
            "endpoint": given["endpoint"],
            "description": given["description"].replace("\r\n", "\n"),
            "model": {"source": "catalog", "id": given["model"]},
            "engine": {"name": given["engine"], "prefix_caching": given["prefix_caching"] == "on"},
            "gpu": {"type": given["gpu"]} if given["gpu"] else {},
            "autoscaling": {"enabled": False},
            "labels": self.labels,
        }
        for name, (part, key) in NUMBERS.items():
            if given[name]:
                body[part][key] = number(given[name])
        if given["engine"] == "simulator":
            settings = {name: number(given[name]) for name in SIMULATOR_NUMBERS if given[name]}
            body["engine"]["simulator"] = {**settings, "fail": given["fail"] or None}
        return body

    @property
    def labels(self) -> dict[str, str]:
        """One `key=value` a line; a line without `=` is a key without a value."""
        lines = (line.partition("=") for line in self.values["labels"].splitlines() if line.strip())
        return {key.strip(): value.strip() for key, _, value in lines}

    def refuse(self, name: str, message: str) -> None:
        self.errors[name].append(message)

    def take(self, errors: list[FieldError]) -> None:
        """Put each error of the spec at its field."""
        for error in errors:
            name = form_field(error.field)
            self.refuse(name, words(name, error))

    @property
    def problems(self) -> list[tuple[str, str]]:
        """(field, title) of each field that needs a look, in the order of the page."""
        return [(name, title) for name, title in TITLES.items() if self.errors.get(name)]

    @property
    def advanced_problems(self) -> bool:
        return any(self.errors.get(name) for name in ADVANCED)


def number(text: str) -> int | float | str:
    """`8,192` is 8192; what is no number stays as it is."""
    plain = text.replace(",", "").replace(" ", "")
    if WHOLE.fullmatch(plain) and len(plain) < 16:
        return int(plain)
    return float(plain) if DECIMAL.fullmatch(plain) and len(plain) < 16 else text


def form_field(path: str) -> str:
    """The field of the form for a path of the spec: `engine.simulator.ttft_ms` is `ttft_ms`."""
    if path.startswith("labels"):
        return "labels"
    last = path.rsplit(".", 1)[-1]
    return FIELDS.get(path) or (last if last in TITLES else path.split(".", 1)[0])


def words(name: str, error: FieldError) -> str:
    """The message of the spec, put for people where it speaks of JSON."""
    if error.code == "wrong_type" and name not in ("name", "description"):
        return "Write a number, such as 16." if name in (*NUMBERS, *SIMULATOR_NUMBERS) else error.message
    if name == "labels":
        key = error.field.removeprefix("labels").removeprefix(".")
        return f"{key}: {error.message}" if key else error.message
    return WORDS.get((name, error.code), error.message)
