"""What a deployment may be asked to be: defaults, bounds, and one error at the right place for everything else."""

from dataclasses import replace

import pytest

from deployments.config.available_options import EndpointOption, ModelRef, Options
from deployments.config.build_spec import parse
from deployments.config.configuration import Fixed, Range
from deployments.config.deployment_spec import RevisionSpec
from deployments.engines.simulator.engine import SimulatedBehaviour, SimulatorSettings
from deployments.schema.adapter import Adapter
from deployments.schema.errors import InvalidConfiguration

SMALL = ModelRef(source="catalog", id="small", repository="lab/small", weight_bytes=2 * 2**30, context_length=4096)
LARGE = ModelRef(source="catalog", id="large", repository="lab/large", weight_bytes=140 * 2**30, context_length=131072)
GPUS = {"l4-24gb": 22.5, "l40s-48gb": 45.0, "h100-sxm-80gb": 80.0, "b200-180gb": 180.0}
DECLARED = EndpointOption("default", True, {"l40s-48gb": 8, "h100-sxm-80gb": 8})
REAL = EndpointOption("real", False, {"l40s-48gb": 8, "h100-sxm-80gb": 4})
OPTIONS = Options(
    models={"small": SMALL, "large": LARGE},
    endpoints={"default": DECLARED, "real": REAL},
    gpu_memory_gib=GPUS,
    engines={"vllm": "available", "simulator": "available", "dynamo": "coming_soon", "nim": "needs_licence"},
)
LEAST = {"name": "chat", "model": {"source": "catalog", "id": "small"}}


def errors_of(body):
    with pytest.raises(InvalidConfiguration) as caught:
        parse(body, OPTIONS)
    return [(error.field, error.code) for error in caught.value.errors]


def test_name_and_model_are_enough_on_declared_gpus():
    spec = parse(LEAST, OPTIONS)
    assert (spec.configuration.endpoint, spec.configuration.gpu.type, spec.configuration.autoscaling) == (
        "default",
        "l40s-48gb",
        Range(scale_down_delay_seconds=300),
    )
    assert spec.revision.gpu_count == 1
    assert spec.revision.engine == SimulatorSettings(context_length=4096)


def test_the_default_gpu_is_the_smallest_that_holds_the_weights():
    spec = parse(LEAST | {"model": {"source": "catalog", "id": "large"}, "endpoint": "real"}, OPTIONS)
    assert (spec.configuration.gpu.type, spec.revision.gpu_count) == ("l40s-48gb", 4)
    assert spec.revision.engine.name == "vllm"


def test_a_named_type_gets_the_smallest_count_that_holds_the_weights():
    body = {"model": {"source": "catalog", "id": "large"}, "endpoint": "real", "gpu": {"type": "h100-sxm-80gb"}}
    assert parse(LEAST | body, OPTIONS).revision.gpu_count == 4


def test_a_model_too_large_for_the_cluster_must_be_placed_by_hand():
    huge = LARGE.model_copy(update={"id": "huge", "weight_bytes": 2000 * 2**30})
    options = replace(OPTIONS, models={"huge": huge})
    with pytest.raises(InvalidConfiguration) as caught:
        parse({"name": "x", "model": {"source": "catalog", "id": "huge"}, "endpoint": "real"}, options)
    assert [(error.field, error.code) for error in caught.value.errors] == [("gpu.type", "required")]


def test_the_simulator_takes_an_adapter_of_one_revision():
    adapters = [{"repository": "lab/sql", "revision": "v2"}]
    assert parse(LEAST | {"adapters": adapters}, OPTIONS).revision.adapters == (
        Adapter(name="sql", repository="lab/sql", revision="v2"),
    )


def test_every_value_that_was_sent_is_kept():
    body = LEAST | {
        "endpoint": "default",
        "description": "for support",
        "labels": {"team": "support"},
        "engine": {
            "name": "simulator",
            "context_length": 2048.0,
            "max_concurrency": 4,
            "prefix_caching": False,
            "simulator": {"download_seconds": 0, "initialize_seconds": 1.5, "ttft_ms": 5, "itl_ms": 1, "fail": "crash"},
        },
        "gpu": {"type": "h100-sxm-80gb", "count": 2},
        "autoscaling": {"enabled": False, "replicas": 3},
        "adapters": [{"name": "sql", "repository": "lab/sql-lora"}],
    }
    spec = parse(body, OPTIONS)
    chosen = spec.configuration
    assert spec.revision.engine == SimulatorSettings(
        context_length=2048,
        max_concurrency=4,
        prefix_caching=False,
        simulator=SimulatedBehaviour(download_seconds=0, initialize_seconds=1.5, ttft_ms=5, itl_ms=1, fail="crash"),
    )
    assert (chosen.autoscaling, chosen.description) == (Fixed(replicas=3), "for support")
    assert (chosen.labels, spec.revision.adapters) == (
        {"team": "support"},
        (Adapter(name="sql", repository="lab/sql-lora"),),
    )
    assert RevisionSpec.from_json(spec.revision.to_json()) == spec.revision


SIMULATOR = {"name": "simulator"}
WRONG = [
    ("nothing", {}, [("name", "required"), ("model", "required")]),
    ("name is null", LEAST | {"name": None}, [("name", "wrong_type")]),
    ("name is a number", LEAST | {"name": 7}, [("name", "wrong_type")]),
    ("name has capitals", LEAST | {"name": "Chat"}, [("name", "invalid_name")]),
    ("name is too long", LEAST | {"name": "a" * 64}, [("name", "invalid_name")]),
    ("name ends in a hyphen", LEAST | {"name": "a-"}, [("name", "invalid_name")]),
    ("name has a line feed", LEAST | {"name": "a\n"}, [("name", "invalid_name")]),
    ("unknown field", LEAST | {"nmae": 1}, [("nmae", "unknown_field")]),
    ("prices", LEAST | {"prices": {}}, [("prices", "unknown_field")]),
    ("accept_verdict", LEAST | {"gpu": {"accept_verdict": None}}, [("gpu.accept_verdict", "unknown_field")]),
    ("model is a string", LEAST | {"model": "small"}, [("model", "wrong_type")]),
    ("source missing", LEAST | {"model": {"id": "small"}}, [("model.source", "required")]),
    ("source null", LEAST | {"model": {"source": None, "id": "small"}}, [("model.source", "unknown_value")]),
    (
        "hugging face",
        LEAST | {"model": {"source": "huggingface", "repository": "a/b"}},
        [("model.source", "not_available_yet")],
    ),
    ("id missing", LEAST | {"model": {"source": "catalog"}}, [("model.id", "required")]),
    ("unknown model", LEAST | {"model": {"source": "catalog", "id": "x"}}, [("model.id", "unknown_model")]),
    ("unknown endpoint", LEAST | {"endpoint": "moon"}, [("endpoint", "unknown_endpoint")]),
    ("unknown gpu", LEAST | {"gpu": {"type": "tpu"}}, [("gpu.type", "unknown_gpu")]),
    ("gpu elsewhere", LEAST | {"gpu": {"type": "l4-24gb"}}, [("gpu.type", "not_in_cluster")]),
    ("no gpu", LEAST | {"gpu": {"count": 0}}, [("gpu.count", "below_minimum")]),
    ("too many gpus", LEAST | {"gpu": {"type": "l40s-48gb", "count": 9}}, [("gpu.count", "above_maximum")]),
    ("too many gpus of any type", LEAST | {"gpu": {"count": 9}}, [("gpu.count", "above_maximum")]),
    ("count is true", LEAST | {"gpu": {"count": True}}, [("gpu.count", "wrong_type")]),
    ("count is null", LEAST | {"gpu": {"count": None}}, [("gpu.count", "wrong_type")]),
    ("no replicas", LEAST | {"autoscaling": {"replicas": 0}}, [("autoscaling.replicas", "below_minimum")]),
    ("10^30 replicas", LEAST | {"autoscaling": {"replicas": 10**30}}, [("autoscaling.replicas", "above_maximum")]),
    ("half a replica", LEAST | {"autoscaling": {"replicas": 0.5}}, [("autoscaling.replicas", "wrong_type")]),
    (
        "max below min",
        LEAST | {"autoscaling": {"min_replicas": 4, "max_replicas": 2}},
        [("autoscaling.max_replicas", "below_minimum")],
    ),
    (
        "a range and a fixed number",
        LEAST | {"autoscaling": {"enabled": False, "min_replicas": 1}},
        [("autoscaling.min_replicas", "not_applicable")],
    ),
    (
        "a delay below the floor",
        LEAST | {"autoscaling": {"scale_down_delay_seconds": 299}},
        [("autoscaling.scale_down_delay_seconds", "below_minimum")],
    ),
    (
        "two adapters of one name",
        LEAST | {"adapters": [{"repository": "lab/sql"}, {"name": "sql", "repository": "lab/other"}]},
        [("adapters.1.name", "name_taken")],
    ),
    (
        "an adapter without a repository",
        LEAST | {"adapters": [{"name": "sql"}]},
        [("adapters.0.repository", "required")],
    ),
    (
        "a path for a repository",
        LEAST | {"adapters": [{"repository": "../../etc"}]},
        [("adapters.0.repository", "invalid_repository")],
    ),
    (
        "a pinned adapter with an engine that cannot pin",
        LEAST | {"endpoint": "real", "adapters": [{"repository": "lab/sql", "revision": "v2"}]},
        [("adapters.0.revision", "not_applicable")],
    ),
    ("unknown engine", LEAST | {"engine": {"name": "tgi"}}, [("engine.name", "unknown_engine")]),
    ("coming soon", LEAST | {"engine": {"name": "dynamo"}}, [("engine.name", "engine_unavailable")]),
    ("licence", LEAST | {"engine": {"name": "nim"}}, [("engine.name", "engine_unavailable")]),
    ("vllm on declared gpus", LEAST | {"engine": {"name": "vllm"}}, [("engine.name", "engine_unavailable")]),
    ("long context", LEAST | {"engine": {"context_length": 4097}}, [("engine.context_length", "above_model_context")]),
    ("short context", LEAST | {"engine": {"context_length": 1}}, [("engine.context_length", "below_minimum")]),
    ("concurrency", LEAST | {"engine": {"max_concurrency": -1}}, [("engine.max_concurrency", "below_minimum")]),
    ("prefix caching", LEAST | {"engine": {"prefix_caching": 1}}, [("engine.prefix_caching", "wrong_type")]),
    (
        "simulator settings of vllm",
        LEAST | {"endpoint": "real", "engine": {"name": "vllm", "simulator": {}}},
        [("engine.simulator", "not_applicable")],
    ),
    (
        "nan",
        LEAST | {"engine": {"simulator": {"ttft_ms": float("nan")}}},
        [("engine.simulator.ttft_ms", "wrong_type")],
    ),
    (
        "negative",
        LEAST | {"engine": {"simulator": {"itl_ms": -1}}},
        [("engine.simulator.itl_ms", "below_minimum")],
    ),
    (
        "huge",
        LEAST | {"engine": {"simulator": {"download_seconds": 10**400}}},
        [("engine.simulator.download_seconds", "above_maximum")],
    ),
    ("fault", LEAST | {"engine": {"simulator": {"fail": "fire"}}}, [("engine.simulator.fail", "unknown_value")]),
    ("label is a number", LEAST | {"labels": {"a": 1}}, [("labels.a", "wrong_type")]),
    ("label name is empty", LEAST | {"labels": {"": "a"}}, [("labels.", "invalid_name")]),
    ("zero byte", LEAST | {"description": "a\x00"}, [("description", "invalid_characters")]),
    ("lone surrogate", LEAST | {"description": "\ud800"}, [("description", "invalid_characters")]),
    ("long description", LEAST | {"description": "a" * 501}, [("description", "too_long")]),
    ("a list", [], [("", "wrong_type")]),
    ("a marker of the validator", LEAST | {"[key]": 1}, [("[key]", "unknown_field")]),
    ("a marker in a section", LEAST | {"engine": {"[key]": 1}}, [("engine.[key]", "unknown_field")]),
    (
        "autoscaling switched by text",
        LEAST | {"autoscaling": {"enabled": "True"}},
        [("autoscaling.enabled", "wrong_type")],
    ),
    ("41 labels", LEAST | {"labels": {f"a{n}": "" for n in range(41)}}, [("labels", "too_many")]),
    ("a label with =", LEAST | {"labels": {"a=b": ""}}, [("labels.a=b", "invalid_name")]),
    ("a label of two lines", LEAST | {"labels": {"a": "b\nc"}}, [("labels.a", "invalid_format")]),
    (
        "the second of two adapters of one name, before another one",
        LEAST | {"adapters": [{"repository": "lab/b"}, {"name": "b", "repository": "lab/c"}, {"repository": "lab/a"}]},
        [("adapters.1.name", "name_taken")],
    ),
]


@pytest.mark.parametrize(("body", "expected"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_is_wrong_is_named_at_its_place(body, expected):
    assert errors_of(body) == expected


def test_all_errors_come_at_once():
    body = {"name": "X", "model": {"source": "catalog", "id": "no"}, "gpu": {"count": -1}, "surprise": 1}
    assert errors_of(body) == [
        ("name", "invalid_name"),
        ("model.id", "unknown_model"),
        ("gpu.count", "below_minimum"),
        ("surprise", "unknown_field"),
    ]


def test_every_error_says_what_to_do():
    for _, body, _ in WRONG:
        with pytest.raises(InvalidConfiguration) as caught:
            parse(body, OPTIONS)
        assert all(error.message.endswith(".") or error.message.endswith("}.") for error in caught.value.errors)


def test_an_empty_model_id_is_an_unknown_model():
    assert errors_of(LEAST | {"model": {"source": "catalog", "id": ""}}) == [("model.id", "unknown_model")]
