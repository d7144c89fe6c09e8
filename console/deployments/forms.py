"""The form of a deployment, new or edited. Its fields are built from the declared settings.

Fields hold text and have no validators: the texts become the JSON body of the API, the configuration is validated as a
whole, and its errors come back to the fields. What was typed is kept as it was typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django import forms
from django.forms import BoundField

from console.components.typed_numbers import read_number, write_number
from console.deployments import replica_range_fields
from console.deployments.replica_range_fields import Texts
from deployments.config.available_options import Options
from deployments.config.build_spec import parse
from deployments.config.configuration import MAX_ADAPTERS
from deployments.config.deployment_spec import DeploymentSpec
from deployments.config.resolve import needed_gib, smallest_gpus
from deployments.config.settings_index import SETTINGS, Declared, declared_settings, find, value_at
from deployments.engines.registry import ENGINES
from deployments.schema.adapter import Adapter
from deployments.schema.errors import FieldError, InvalidConfiguration

# Settings whose last name says too little beside the others, and settings that have no field of their own: there is one
# model source, `fixed` stands for `enabled`, adapters are a formset, and limits keep their values.
FIELD_NAMES = {"model.id": "model", "gpu.type": "gpu", "gpu.count": "gpu_count", "engine.name": "engine"}
WITHOUT_FIELD = {"model.source", "autoscaling.enabled", "adapters"} | {
    path for path in SETTINGS if path.startswith("limits.")
}
FIELDS = {
    FIELD_NAMES.get(path, declared.name): declared for path, declared in SETTINGS.items() if path not in WITHOUT_FIELD
}
# Fields are named by the last part of a path, which must be enough to tell them apart.
assert len(FIELDS) == len(SETTINGS) - len(WITHOUT_FIELD)
IMMUTABLE = tuple(name for name, declared in FIELDS.items() if declared.setting.immutable)
BESIDE_SETTINGS = ("organization", "fixed", "preset", "preset_was", "adapters")
ADAPTER_FIELDS = ("repository", "name", "revision")
ADAPTER_SETTINGS = {declared.path: declared for declared in declared_settings(Adapter)}
_ADAPTER_INPUT = re.compile(r"adapter-(\d{1,3})-\w+")


class Switch(forms.CheckboxInput):
    """A checkbox whose text is "on" or empty."""

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> Any:
        return "on" if data.get(name) == "on" else ""


def read_labels(text: str) -> list[tuple[str, str]]:
    """(name, value) of each line `name=value`. A line without `=` is refused by `DeploymentForm.clean`."""
    lines = (line.partition("=") for line in text.replace("\r\n", "\n").split("\n") if line.strip())
    return [(name.strip(), value.strip()) for name, _, value in lines]


class SettingBoundField(forms.BoundField):
    """Named by the ids of its hint and its error message."""

    def build_widget_attrs(self, attrs: dict[str, Any], widget: forms.Widget | None = None) -> dict[str, Any]:
        attrs = super().build_widget_attrs(attrs, widget)
        hint = f"{self.auto_id}-hint" if self.help_text else ""
        problem = f"{self.auto_id}-problem" if self.errors else ""
        if described_by := f"{hint} {problem}".strip():
            attrs["aria-describedby"] = described_by
        return attrs


class SettingField(forms.Field):
    """The text of one setting. Bounds are shown and not checked here; `lowest` replaces the declared minimum."""

    bound_field_class = SettingBoundField

    def __init__(self, declared: Declared, lowest: float | None = None, *, has_hint: bool = True) -> None:
        self.declared = declared
        low, high = declared.minimum if lowest is None else lowest, declared.maximum
        bounds = "" if low is None else f"{low:,} to {high:,}." if high is not None else f"{low:,} or more."
        super().__init__(
            required=False,
            label=declared.setting.title,
            help_text=f"{declared.setting.help} {bounds}".strip() if has_hint else "",
            widget=_widget(declared),
        )

    @property
    def is_switch(self) -> bool:
        return isinstance(self.widget, Switch)

    def to_python(self, value: Any) -> str:
        return "" if value is None else str(value)

    def read(self, text: str) -> Any:
        """The JSON value of a text that is not empty."""
        match self.declared.kind:
            case "integer" | "number":
                return read_number(text)
            case "boolean":
                return {"on": True, "off": False, "": False}.get(text, text)
            case "map":
                return dict(read_labels(text))
            case _:
                return text.replace("\r\n", "\n")


def _widget(declared: Declared) -> forms.Widget:
    setting = declared.setting
    text = {"autocomplete": "off", "spellcheck": "false"}
    if declared.max_length:
        text["maxlength"] = str(declared.max_length)
    match declared.kind:
        case "boolean" if not declared.nullable:
            return Switch()
        case "boolean":
            return forms.Select(choices=[("", setting.placeholder or "Engine's default"), ("on", "On"), ("off", "Off")])
        case "choice":
            titles = {"": "–"} | {str(choice): str(choice) for choice in declared.choices} | dict(setting.choice_titles)
            return forms.Select(choices=list(titles.items()))
        case "integer" | "number":
            mode = "numeric" if declared.kind == "integer" else "decimal"
            return forms.TextInput({**text, "class": "figures", "inputmode": mode, "placeholder": setting.placeholder})
        case "map":
            return forms.Textarea({"rows": 2, "class": "mono"})
        case _:
            return forms.TextInput({**text, "class": "mono", "placeholder": setting.placeholder})


class AdapterForm(forms.Form):
    """One row of adapters."""

    use_required_attribute = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ADAPTER_FIELDS:
            self.fields[name] = SettingField(ADAPTER_SETTINGS[name], has_hint=False)

    @property
    def is_empty(self) -> bool:
        return not any(self[name].value() for name in ADAPTER_FIELDS)

    @property
    def body(self) -> dict[str, str]:
        """What was left empty is left out, so that its default holds."""
        return {name: value for name in ADAPTER_FIELDS if (value := self[name].value())}


AdapterFormSet = forms.formset_factory(AdapterForm, extra=0, max_num=MAX_ADAPTERS, absolute_max=1000)
Rows = list[dict[str, str]]


@dataclass(frozen=True)
class EngineGroup:
    """The advanced settings that only the engine `name` has."""

    name: str
    title: str
    fields: list[BoundField]


@dataclass(frozen=True)
class Problem:
    """What is wrong at a field, for the summary of a form: the field's id, its title and the message."""

    field_id: str
    title: str
    message: str


class DeploymentForm(forms.Form):
    """`texts` and `rows` (of adapters) are what the fields show. With `is_typed` they were sent, and validation reports
    what is wrong; otherwise the form is shown for the first time. `current` is the configuration that an edit starts
    from; `is_operator`: an operator sent it. After validation `spec` is the configuration that is asked for, None with
    errors."""

    use_required_attribute = False

    def __init__(
        self, texts: Mapping[str, str], rows: Rows, options: Options, current: DeploymentSpec | None = None, *,
        is_typed: bool = True, is_operator: bool = False,
    ) -> None:  # fmt: skip
        self.options, self.current, self.is_operator = options, current, is_operator
        self.spec: DeploymentSpec | None = None
        sent: dict[str, Any] = {"data": texts} if is_typed else {"initial": texts}
        super().__init__(**sent, auto_id="%s")
        for name in BESIDE_SETTINGS:
            self.fields[name] = forms.CharField(required=False, label=name.capitalize())
        for name, declared in FIELDS.items():
            floor = declared.setting.floor
            self.fields[name] = SettingField(declared, getattr(options, floor) if floor else None)
        self.order_fields(
            [*("name", "organization", "endpoint", "description", "model", "adapters", "gpu", "gpu_count")]
        )
        self.texts: Texts = {name: texts.get(name, "") for name in self.fields}
        self.adapter_rows = AdapterFormSet(data=_formset_data(rows), prefix="adapter", auto_id="%s") if is_typed else (
            AdapterFormSet(initial=rows, prefix="adapter", auto_id="%s")
        )  # fmt: skip

    @property
    def rows(self) -> Rows:
        """The texts of the adapters' rows that are not empty."""
        return [
            {name: form[name].value() or "" for name in ADAPTER_FIELDS}
            for form in self.adapter_rows.forms
            if not form.is_empty
        ]

    @property
    def body(self) -> dict[str, Any]:
        """The body of the API. Empty fields are left out, so that their defaults hold; text that is no number is sent
        as it is, and refused at its field."""
        body: dict[str, Any] = {
            "model": {"source": "catalog"},
            "autoscaling": {"enabled": self.texts["fixed"] != "on"},
            "adapters": [form.body for form in self.adapter_rows.forms if not form.is_empty],
        }
        if self.current:
            body["limits"] = self.current.to_json()["limits"]
        for name, declared in FIELDS.items():
            text = self.texts[name]
            if not self._applies(name, declared) or (text == "" and not self._is_sent_empty(declared)):
                continue
            *sections, last = declared.path.split(".")
            holder = body
            for section in sections:
                holder = holder.setdefault(section, {})
            holder[last] = self._value(name, text)
        return body

    def _applies(self, name: str, declared: Declared) -> bool:
        if declared.path.startswith("autoscaling."):
            return replica_range_fields.is_in_mode(declared.name, self.texts)
        return not declared.engines or declared.name == "name" or self.texts["engine"] in declared.engines

    def _is_sent_empty(self, declared: Declared) -> bool:
        """A required text is sent even when it is empty, for its own error; an empty switch is off."""
        return (declared.required or declared.kind == "boolean") and not declared.nullable

    def _value(self, name: str, text: str) -> Any:
        """The value in force where its text still stands as it was shown: a text area may show less than there is."""
        declared = FIELDS[name]
        if self.current and declared.kind in ("map", "text"):
            body = self.current.to_json()
            if _as_sent_back(text) == _as_sent_back(texts_of(body)[name]):
                return value_at(body, declared.path)
        field = self.fields[name]
        assert isinstance(field, SettingField)
        return field.read(text)

    def clean(self) -> None:
        self.adapter_rows.is_valid()
        for line in self.texts["labels"].splitlines():
            if line.strip() and "=" not in line:
                self.add_error("labels", f"{line.strip()}: Write it as name=value; {line.strip()}= has no value.")
        names = [name for name, _ in read_labels(self.texts["labels"])]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            self.add_error("labels", f"{', '.join(twice)}: Two lines have this name. Keep one.")
        try:
            self.spec = parse(self.body, self.options, self.current, is_operator=self.is_operator)
        except InvalidConfiguration as invalid:
            self.add_configuration_errors(invalid.errors)

    def add_configuration_errors(self, errors: Iterable[FieldError]) -> None:
        """Put each error at its field or at its row of adapters."""
        self.spec = None
        for error in errors:
            section, *below = error.field.split(".")
            if section == "adapters" and len(below) == 2 and below[1] in ADAPTER_FIELDS:
                filled = [form for form in self.adapter_rows.forms if not form.is_empty]
                filled[int(below[0])].add_error(below[1], error.message)
            else:
                declared = find(error.field)
                name = FIELD_NAMES.get(declared.path, declared.name) if declared else section
                self.add_error(name if name in self.fields else None, _message(name, declared, error))

    @property
    def problems(self) -> list[Problem]:
        """Each field with an error, in the order of the page; what belongs to no field comes first."""
        found = [Problem("", "", str(message)) for message in self.non_field_errors()]
        for name, field in self.fields.items():
            if name in self.errors:
                found.append(Problem(name, str(field.label), " ".join(map(str, self.errors[name]))))
            if name == "adapters":
                found += self._adapter_problems()
        return found

    def _adapter_problems(self) -> Iterator[Problem]:
        for number, form in enumerate(self.adapter_rows.forms, start=1):
            for name, messages in form.errors.items():
                title = f"{str(form.fields[name].label).capitalize()} of adapter {number}"
                yield Problem(f"{form.prefix}-{name}", title, " ".join(map(str, messages)))

    @property
    def has_advanced_problems(self) -> bool:
        return any(declared.setting.advanced and name in self.errors for name, declared in FIELDS.items())

    @property
    def scaling_settings(self) -> list[BoundField]:
        return [self[name] for name, declared in FIELDS.items() if _is_advanced(declared, "autoscaling.")]

    @property
    def shared_engine_settings(self) -> list[BoundField]:
        """Advanced settings that every engine has."""
        return [
            self[name]
            for name, declared in FIELDS.items()
            if _is_advanced(declared, "engine.") and len(declared.engines) == len(ENGINES)
        ]

    @property
    def engine_groups(self) -> list[EngineGroup]:
        """The advanced settings of single engines."""
        groups = []
        for engine, value in ENGINES.items():
            fields = [
                self[name]
                for name, declared in FIELDS.items()
                if _is_advanced(declared, "engine.")
                and engine in declared.engines
                and len(declared.engines) < len(ENGINES)
            ]
            if fields:
                groups.append(EngineGroup(engine, value.title, fields))
        return groups

    @property
    def empty_adapter(self) -> AdapterForm:
        return self.adapter_rows.empty_form

    def copy(self, texts: Texts | None = None, rows: Rows | None = None, *, is_typed: bool) -> DeploymentForm:
        """The same form, or with other texts or rows; validated when `is_typed`."""
        return DeploymentForm(
            self.texts if texts is None else texts, self.rows if rows is None else rows, self.options, self.current,
            is_typed=is_typed, is_operator=self.is_operator,
        )  # fmt: skip

    def add_row(self) -> DeploymentForm:
        """The same form with one more row for an adapter, empty, and without validation."""
        blank: Rows = [dict.fromkeys(ADAPTER_FIELDS, "")] if len(self.rows) < MAX_ADAPTERS else []
        return self.copy(rows=[*self.rows, *blank], is_typed=False)


def _is_advanced(declared: Declared, prefix: str) -> bool:
    return declared.setting.advanced and declared.path.startswith(prefix)


def empty_form(
    options: Options, model: str, endpoint: str, organization: str = "", free: Mapping[str, int] | None = None
) -> DeploymentForm:
    """A new deployment, with the defaults of the API for `model` on `endpoint`; its GPUs hold the model, and are among
    the `free` ones (by type) where some are."""
    chosen = model if model in options.models else next(iter(options.models), "")
    body = {"name": "x", "endpoint": endpoint, "model": {"source": "catalog", "id": chosen}}
    try:
        texts = texts_of(parse(body, options).to_json())
    except InvalidConfiguration:
        texts = texts_of({"endpoint": endpoint, "autoscaling": {"enabled": True, "max_replicas": 3}})
    texts |= {"name": "", "context_length": "", "model": model if model in options.models else ""}
    texts |= _choose_gpus(options, texts["model"], endpoint, free or {})
    texts["organization"] = organization
    return DeploymentForm(texts, [], options, is_typed=False)


def _choose_gpus(options: Options, model: str, endpoint: str, free: Mapping[str, int]) -> Texts:
    """The texts for the smallest GPUs that hold the model: free ones, else any; empty where nothing holds it."""
    needed = needed_gib(options.models[model]) if model else 0.0
    place = options.endpoints.get(endpoint)
    if place is None:
        return {}
    for gpus in (free, place.gpus):
        if smallest := smallest_gpus(None, None, needed, options, replace(place, gpus=gpus)):
            return {"gpu": smallest[0], "gpu_count": write_number(smallest[1])}
    return {}


def filled_form(
    spec: DeploymentSpec, options: Options, current: DeploymentSpec | None = None, **changes: str
) -> DeploymentForm:
    """Filled with a configuration; `changes` are the texts of fields that differ."""
    body = spec.to_json()
    return DeploymentForm({**texts_of(body), **changes}, rows_of(body), options, current, is_typed=False)


def typed_form(
    data: Mapping[str, str], options: Options, current: DeploymentSpec | None = None, *, is_operator: bool = False
) -> DeploymentForm:
    """What was sent. An edit keeps what never changes."""
    texts = {name: data.get(name, "").replace("\x00", "").strip() for name in (*BESIDE_SETTINGS, *FIELDS)}
    if current:
        in_force = texts_of(current.to_json())
        texts |= {name: in_force[name] for name in IMMUTABLE}
    texts = replica_range_fields.apply_preset(texts)
    return DeploymentForm(texts, typed_rows(data), options, current, is_operator=is_operator)


def texts_of(body: Mapping[str, Any]) -> Texts:
    """The text of every field for a canonical body; a setting that the body does not have shows its default."""
    texts = {
        name: _text(declared, value_at(body, declared.path, declared.default)) for name, declared in FIELDS.items()
    }
    return {**texts, "organization": "", **replica_range_fields.texts_of_autoscaling(body["autoscaling"])}


def _text(declared: Declared, value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "on" if value else "off" if declared.nullable else ""
        case int() | float():
            return write_number(value)
        case dict():
            return "\n".join(f"{key}={below}" for key, below in value.items())
    return str(value)


def rows_of(body: Mapping[str, Any]) -> Rows:
    """The rows for the adapters of a canonical body."""
    return [{name: adapter[name] for name in ADAPTER_FIELDS} for adapter in body["adapters"]]


def typed_rows(data: Mapping[str, str]) -> Rows:
    """The rows that were sent, in their order, without empty ones and without the one that `remove_adapter` names."""
    numbers = sorted({int(match[1]) for name in data if (match := _ADAPTER_INPUT.fullmatch(name))})
    rows = [
        {name: data.get(f"adapter-{number}-{name}", "").replace("\x00", "").strip() for name in ADAPTER_FIELDS}
        for number in numbers
        if str(number) != data.get("remove_adapter")
    ]
    return [row for row in rows if any(row.values())]


def _formset_data(rows: Rows) -> dict[str, Any]:
    data: dict[str, Any] = {"adapter-TOTAL_FORMS": len(rows), "adapter-INITIAL_FORMS": 0}
    return data | {f"adapter-{number}-{name}": text for number, row in enumerate(rows) for name, text in row.items()}


def _as_sent_back(text: str) -> str:
    """A text as a browser sends back what it was given."""
    return "\n".join(text.split("\r\n")).strip()


def in_sentence(title: str) -> str:
    """A title in the middle of a sentence: "max replicas", "GPU type"."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def _message(name: str, declared: Declared | None, error: FieldError) -> str:
    """The message, put for people where it speaks of JSON."""
    if error.code == "wrong_type" and declared and declared.kind in ("integer", "number"):
        return "Enter a number, such as 16."
    if (name, error.code) == ("model", "unknown_model"):
        return "Choose a model from the catalog."
    label = error.field.removeprefix("labels").removeprefix(".") if name == "labels" else ""
    return f"{label}: {error.message}" if label else error.message
