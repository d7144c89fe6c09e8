"""A configuration as JSON, and merge patches on it: what is not named stays."""

from dataclasses import replace

import pytest

from deployments import bodies, specs
from deployments.specs import Adapter, Autoscaling
from tests.unit.deployments.test_specs import LEAST, OPTIONS

BASE = specs.parse(LEAST | {"labels": {"team": "a", "tier": "b"}, "description": "for support"}, OPTIONS)
FIXED = replace(BASE, autoscaling=Autoscaling.fixed(2))
REAL = specs.parse(LEAST | {"endpoint": "real"}, OPTIONS)
RICH = replace(
    BASE,
    autoscaling=Autoscaling(True, 0, 5, 400, 900),
    revision=replace(
        BASE.revision, adapters=(Adapter("sql", "lab/sql", "v1"), Adapter("tone", "lab/tone")), gpu_count=2
    ),
)


def patched(spec, patch, options=OPTIONS):
    return specs.parse(bodies.merged(bodies.body_of(spec), patch), options, in_force=spec)


def errors_of(spec, patch, options=OPTIONS):
    with pytest.raises(specs.InvalidSpec) as caught:
        patched(spec, patch, options)
    return [(error.field, error.code) for error in caught.value.errors]


@pytest.mark.parametrize("spec", [BASE, FIXED, REAL, RICH], ids=["range", "fixed", "vllm", "adapters"])
def test_the_body_of_a_configuration_gives_it_back(spec):
    assert specs.parse(bodies.body_of(spec), OPTIONS) == spec
    assert patched(spec, {}) == spec
    assert patched(spec, bodies.body_of(spec)) == spec


def test_what_a_patch_does_not_name_stays():
    after = patched(RICH, {"engine": {"max_concurrency": 4}, "labels": {"tier": None, "new": "c"}})
    assert after == replace(
        RICH,
        revision=replace(RICH.revision, engine=replace(RICH.revision.engine, max_concurrency=4)),
        labels={"team": "a", "new": "c"},
    )


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
    assert (after.description, after.revision.adapters) == ("", ())
    assert after.revision.engine.context_length == 4096
    assert after.autoscaling == Autoscaling(True, 0, 3, 400, None)


def test_a_list_is_replaced_as_a_whole():
    after = patched(RICH, {"adapters": [{"name": "tone", "repository": "lab/other"}]})
    assert after.revision.adapters == (Adapter("tone", "lab/other"),)


@pytest.mark.parametrize(
    ("spec", "patch", "expected"),
    [
        (RICH, {"enabled": False}, Autoscaling.fixed(1)),
        (RICH, {"enabled": False, "replicas": 4}, Autoscaling.fixed(4)),
        (RICH, {"replicas": 4}, Autoscaling.fixed(4)),
        (FIXED, {"enabled": True}, Autoscaling(True, 1, 3)),
        (FIXED, {"enabled": True, "min_replicas": 0}, Autoscaling(True, 0, 3)),
        (FIXED, {"max_replicas": 7}, Autoscaling(True, 1, 7)),
        (FIXED, {"enabled": False, "replicas": 3}, Autoscaling.fixed(3)),
        (FIXED, {"replicas": 3}, Autoscaling.fixed(3)),
        (FIXED, {"replicas": None}, Autoscaling.fixed(1)),
        (RICH, {"enabled": True, "max_replicas": 2}, Autoscaling(True, 0, 2, 400, 900)),
    ],
)
def test_switching_autoscaling_drops_what_belongs_to_the_other_mode(spec, patch, expected):
    assert patched(spec, {"autoscaling": patch}).autoscaling == expected


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
    simulated = specs.parse(LEAST | {"endpoint": "real", "engine": {"name": "simulator"}}, OPTIONS)
    assert patched(simulated, {"engine": {"name": "vllm"}}).revision.engine.simulator is None
    assert patched(REAL, {"engine": {"name": "simulator"}}).revision.engine.simulator == specs.SimulatorSettings()
    slow = patched(simulated, {"engine": {"name": "simulator", "simulator": {"ttft_ms": 500}}})
    assert slow.revision.engine.simulator == specs.SimulatorSettings(ttft_ms=500.0)


def test_an_alias_of_a_gpu_type_says_the_count_too():
    after = patched(RICH, {"gpu": {"type": "l40s_48gb_400"}})
    assert (after.gpu_type, after.revision.gpu_count) == ("l40s-48gb", 4)
    assert patched(RICH, {"gpu": {"type": "l40s-48gb"}}).revision.gpu_count == 2


def test_another_model_must_fit_the_context_in_force():
    wide = specs.parse(LEAST | {"model": {"source": "catalog", "id": "large"}}, OPTIONS)
    assert wide.revision.engine.context_length == 8192
    assert errors_of(wide, {"model": {"id": "small"}}) == [("engine.context_length", "above_model_context")]
    assert patched(wide, {"model": {"id": "small"}, "engine": {"context_length": 2048}}).revision.model.id == "small"


def test_what_is_in_force_may_stay_where_it_could_not_be_chosen_any_more():
    today = replace(
        OPTIONS,
        models={},
        engines={"vllm": "available", "simulator": "needs_licence"},
        endpoints={"default": specs.EndpointOption("default", True, {"l40s-48gb": 1})},
        delay_floor_seconds=1000,
    )
    assert patched(RICH, {"description": "other"}, today) == replace(RICH, description="other")
    assert errors_of(RICH, {"autoscaling": {"scale_down_delay_seconds": 401, "sleep_after_seconds": 901}}, today) == [
        ("autoscaling.scale_down_delay_seconds", "below_minimum"),
        ("autoscaling.sleep_after_seconds", "below_minimum"),
    ]
    assert errors_of(RICH, {"gpu": {"count": 3}}, today) == [("gpu.count", "above_maximum")]


def test_a_corrected_catalog_does_not_restart_who_has_the_model():
    corrected = replace(OPTIONS.models["small"], weight_bytes=1)
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
        ({"engine": 7}, [("engine", "wrong_type")]),
        ({"engine": {"colour": "red"}}, [("engine.colour", "unknown_field")]),
        ({"status": "RUNNING"}, [("status", "unknown_field")]),
        ({"autoscaling": [1]}, [("autoscaling", "wrong_type")]),
    ],
)
def test_a_bad_patch_is_named_where_it_is_bad(patch, expected):
    assert errors_of(BASE, patch) == expected
