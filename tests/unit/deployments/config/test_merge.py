"""A configuration as JSON, and merge patches on it: what is not named stays."""

from dataclasses import replace

import pytest

from deployments.config.available_options import EndpointOption
from deployments.config.build_spec import parse
from deployments.config.configuration import Fixed, Gpu, Range
from deployments.config.normalize import merge
from deployments.engines.simulator.engine import SimulatedBehaviour
from deployments.engines.vllm import VllmSettings
from deployments.schema.adapter import Adapter
from deployments.schema.errors import InvalidConfiguration
from tests.unit.deployments.config.test_build_spec import LEAST, OPTIONS


def changed(spec, **sections):
    """The same with other sections."""
    return replace(spec, configuration=spec.configuration.model_copy(update=sections))


BASE = parse(LEAST | {"labels": {"team": "a", "tier": "b"}, "description": "for support"}, OPTIONS)
FIXED = changed(BASE, autoscaling=Fixed(replicas=2))
REAL = parse(LEAST | {"endpoint": "real"}, OPTIONS)
RICH = changed(
    BASE,
    autoscaling=Range(min_replicas=0, max_replicas=5, scale_down_delay_seconds=400, sleep_after_seconds=900),
    adapters=(
        Adapter(name="sql", repository="lab/sql", revision="v1"),
        Adapter(name="tone", repository="lab/tone"),
    ),
    gpu=Gpu(type=BASE.configuration.gpu.type, count=2),
)


def patched(spec, patch, options=OPTIONS):
    return parse(merge(spec.to_json(), patch), options, spec)


def errors_of(spec, patch, options=OPTIONS):
    with pytest.raises(InvalidConfiguration) as caught:
        patched(spec, patch, options)
    return [(error.field, error.code) for error in caught.value.errors]


@pytest.mark.parametrize("spec", [BASE, FIXED, REAL, RICH], ids=["range", "fixed", "vllm", "adapters"])
def test_the_body_of_a_configuration_gives_it_back(spec):
    assert parse(spec.to_json(), OPTIONS) == spec
    assert patched(spec, {}) == spec
    assert patched(spec, spec.to_json()) == spec


def test_what_a_patch_does_not_name_stays():
    after = patched(RICH, {"engine": {"max_concurrency": 4}, "labels": {"tier": None, "new": "c"}})
    engine = RICH.configuration.engine.model_copy(update={"max_concurrency": 4})
    assert after == changed(RICH, engine=engine, labels={"team": "a", "new": "c"})


def test_null_brings_the_default_back():
    after = patched(
        RICH,
        {
            "description": None,
            "adapters": None,
            "engine": {"context_length": None},
            "autoscaling": {"sleep_after_seconds": None, "max_replicas": None},
        },
    )
    assert (after.configuration.description, after.revision.adapters) == ("", ())
    assert after.revision.engine.context_length == 4096
    assert after.configuration.autoscaling == Range(
        min_replicas=0, max_replicas=3, scale_down_delay_seconds=400, sleep_after_seconds=None
    )


def test_a_list_is_replaced_as_a_whole():
    after = patched(RICH, {"adapters": [{"name": "tone", "repository": "lab/other"}]})
    assert after.revision.adapters == (Adapter(name="tone", repository="lab/other"),)


@pytest.mark.parametrize(
    ("spec", "patch", "expected"),
    [
        (RICH, {"enabled": False}, Fixed(replicas=1)),
        (RICH, {"enabled": False, "replicas": 4}, Fixed(replicas=4)),
        (RICH, {"replicas": 4}, Fixed(replicas=4)),
        (FIXED, {"enabled": True}, Range(min_replicas=1, max_replicas=3, scale_down_delay_seconds=300)),
        (
            FIXED,
            {"enabled": True, "min_replicas": 0},
            Range(min_replicas=0, max_replicas=3, scale_down_delay_seconds=300),
        ),
        (FIXED, {"max_replicas": 7}, Range(min_replicas=1, max_replicas=7, scale_down_delay_seconds=300)),
        (FIXED, {"enabled": False, "replicas": 3}, Fixed(replicas=3)),
        (FIXED, {"replicas": 3}, Fixed(replicas=3)),
        (FIXED, {"replicas": None}, Fixed(replicas=1)),
        (
            RICH,
            {"enabled": True, "max_replicas": 2},
            Range(min_replicas=0, max_replicas=2, scale_down_delay_seconds=400, sleep_after_seconds=900),
        ),
    ],
)
def test_switching_autoscaling_drops_what_belongs_to_the_other_mode(spec, patch, expected):
    assert patched(spec, {"autoscaling": patch}).configuration.autoscaling == expected


@pytest.mark.parametrize(
    ("spec", "patch", "expected"),
    [
        (RICH, {"enabled": False, "min_replicas": 1}, [("autoscaling.min_replicas", "not_applicable")]),
        (FIXED, {"enabled": True, "replicas": 1}, [("autoscaling.replicas", "not_applicable")]),
        (RICH, {"min_replicas": 6}, [("autoscaling.max_replicas", "below_minimum")]),
        (RICH, {"surprise": 1}, [("autoscaling.surprise", "unknown_field")]),
    ],
)
def test_fields_that_contradict_the_mode_are_refused(spec, patch, expected):
    assert errors_of(spec, {"autoscaling": patch}) == expected


def test_the_simulators_settings_go_with_the_simulator():
    simulated = parse(LEAST | {"endpoint": "real", "engine": {"name": "simulator"}}, OPTIONS)
    assert patched(simulated, {"engine": {"name": "vllm"}}).revision.engine == VllmSettings(context_length=4096)
    assert patched(REAL, {"engine": {"name": "simulator"}}).revision.engine.simulator == SimulatedBehaviour()
    slow = patched(simulated, {"engine": {"name": "simulator", "simulator": {"ttft_ms": 500}}})
    assert slow.revision.engine.simulator == SimulatedBehaviour(ttft_ms=500.0)


def test_another_model_must_fit_the_context_in_force():
    wide = parse(LEAST | {"model": {"source": "catalog", "id": "large"}}, OPTIONS)
    assert wide.revision.engine.context_length == 8192
    assert errors_of(wide, {"model": {"id": "small"}}) == [("engine.context_length", "above_model_context")]
    assert patched(wide, {"model": {"id": "small"}, "engine": {"context_length": 2048}}).revision.model.id == "small"


def test_what_is_in_force_may_stay_where_it_could_not_be_chosen_any_more():
    today = replace(
        OPTIONS,
        models={},
        engines={"vllm": "available", "simulator": "needs_licence"},
        endpoints={"default": EndpointOption("default", True, {"l40s-48gb": 1})},
        delay_floor_seconds=1000,
    )
    assert patched(RICH, {"description": "other"}, today) == changed(RICH, description="other")
    assert errors_of(RICH, {"autoscaling": {"scale_down_delay_seconds": 401, "sleep_after_seconds": 901}}, today) == [
        ("autoscaling.scale_down_delay_seconds", "below_minimum"),
        ("autoscaling.sleep_after_seconds", "below_minimum"),
    ]
    assert errors_of(RICH, {"gpu": {"count": 3}}, today) == [("gpu.count", "above_maximum")]


def test_a_corrected_catalog_does_not_restart_who_has_the_model():
    corrected = OPTIONS.models["small"].model_copy(update={"weight_bytes": 1})
    today = replace(OPTIONS, models={**OPTIONS.models, "small": corrected})
    assert patched(BASE, {"description": "x"}, today).revision == BASE.revision


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"name": None}, [("name", "wrong_type")]),
        ({"endpoint": None}, [("endpoint", "wrong_type")]),
        ({"gpu": None}, [("gpu", "wrong_type")]),
        ({"gpu": {"type": None}}, [("gpu.type", "wrong_type")]),
        ({"model": None}, [("model", "required")]),
        ({"engine": {"name": None}}, [("engine.name", "wrong_type")]),
        ({"autoscaling": {"enabled": None}}, [("autoscaling.enabled", "wrong_type")]),
        ({"engine": 7}, [("engine", "wrong_type")]),
        ({"engine": {"colour": "red"}}, [("engine.colour", "unknown_field")]),
        ({"status": "RUNNING"}, [("status", "unknown_field")]),
        ({"autoscaling": [1]}, [("autoscaling", "wrong_type")]),
    ],
)
def test_a_bad_patch_is_named_where_it_is_bad(patch, expected):
    assert errors_of(BASE, patch) == expected


def test_what_never_changes_is_named_together_with_everything_else_that_is_wrong():
    patch = {"name": "other", "endpoint": "real", "gpu": {"type": "h100-sxm-80gb"}, "engine": {"max_concurrency": 0}}
    assert errors_of(BASE, patch) == [
        ("name", "immutable"),
        ("endpoint", "immutable"),
        ("engine.max_concurrency", "below_minimum"),
        ("gpu.type", "immutable"),
    ]


def test_engine_and_gpus_in_force_may_stay_on_a_cluster_that_changed():
    declared = EndpointOption("real", True, {"h100-sxm-80gb": 8})
    today = replace(OPTIONS, endpoints={"real": declared}, gpu_memory_gib={"h100-sxm-80gb": 80.0})
    assert patched(REAL, {"description": "other"}, today) == changed(REAL, description="other")
    assert errors_of(REAL, {"gpu": {"count": None}}, today) == [("gpu.type", "unknown_gpu")]
