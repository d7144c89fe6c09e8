"""Whatever is sent is either taken or refused field by field; what was taken is taken again."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema_rs import validator_for

from deployments.config.build_spec import parse
from deployments.config.json_schema import create_schema, patch_schema
from deployments.config.normalize import merge
from deployments.schema.errors import InvalidConfiguration
from tests.unit.deployments.config.test_build_spec import LEAST, OPTIONS, WRONG
from tests.unit.deployments.config.test_merge import BASE, FIXED, REAL, RICH

NAMES = st.sampled_from(
    [
        *("name", "model", "source", "id", "engine", "simulator", "gpu", "type", "count", "autoscaling", "enabled"),
        *("min_replicas", "max_replicas", "replicas", "scale_down_delay_seconds", "labels", "adapters", "repository"),
        *("context_length", "max_concurrency", "prefix_caching", "fail", "surprise", ""),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 10**20),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["catalog", "small", "large", "simulator", "vllm", "l40s-48gb", "lab/sql", "crash"]),
)
JSON = st.recursive(
    SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=5), max_leaves=12
)
# What a schema cannot say: it depends on rows, settings, or on several fields at once.
BEYOND_SCHEMA = {
    *("unknown_model", "unknown_endpoint", "unknown_gpu", "not_in_cluster", "engine_unavailable", "name_taken"),
    *("above_model_context", "above_maximum", "below_minimum", "required", "not_applicable", "invalid_name"),
}


CREATE = validator_for(create_schema())


def attempt(body, current=None):
    """The configuration and no errors, or None and the errors."""
    try:
        return parse(body, OPTIONS, current), []
    except InvalidConfiguration as invalid:
        return None, invalid.errors


@settings(max_examples=150)
@given(st.dictionaries(NAMES, JSON, max_size=6))
def test_any_body_is_taken_or_refused_with_a_reason_for_each_field(body):
    for sent in (body, LEAST | body):
        spec, errors = attempt(sent)
        assert (spec is None) == bool(errors)
        assert all(error.code and error.message.rstrip('"}').endswith(".") for error in errors)
        if spec:
            assert parse(json.loads(json.dumps(spec.to_json())), OPTIONS, spec) == spec


@settings(max_examples=100)
@given(st.dictionaries(NAMES, JSON, max_size=4), st.sampled_from([BASE, FIXED, REAL, RICH]))
def test_any_patch_is_taken_or_refused_and_taking_it_twice_is_taking_it_once(patch, current):
    once, errors = attempt(merge(current.to_json(), patch), current)
    assert (once is None) == bool(errors)
    if once:
        assert parse(merge(once.to_json(), patch), OPTIONS, once) == once


@settings(max_examples=150)
@given(st.dictionaries(NAMES, JSON, max_size=6))
def test_the_schema_refuses_only_what_the_api_refuses_and_the_api_refuses_more_only_for_known_reasons(body):
    sent = LEAST | body
    try:
        json.dumps(sent, allow_nan=False).encode()
    except (ValueError, UnicodeEncodeError):
        return  # no JSON, so no schema is asked
    fits = CREATE.is_valid(sent)
    _, errors = attempt(sent)
    if fits:
        assert {error.code for error in errors} <= BEYOND_SCHEMA


def test_what_is_wrong_by_itself_is_wrong_by_the_schema():
    validator = validator_for(create_schema())
    for name, body, errors in WRONG:
        if not {code for _, code in errors} & BEYOND_SCHEMA and "invalid_characters" not in {c for _, c in errors}:
            assert not validator.is_valid(_without_nan(body)), name


def _without_nan(body):
    return json.loads(json.dumps(body).replace("NaN", '"NaN"'))


def test_what_the_api_answers_can_be_sent_back():
    for spec in (BASE, FIXED, REAL, RICH):
        assert validator_for(create_schema()).is_valid(spec.to_json())
        assert validator_for(patch_schema()).is_valid(spec.to_json())


def test_ordinary_bodies_fit_the_schemas():
    create, patch = validator_for(create_schema()), validator_for(patch_schema())
    for section in (
        {"autoscaling": {"max_replicas": 2}},
        {"autoscaling": {"replicas": 2}},
        {"engine": {"context_length": 4096}},
        {"labels": {"team": "a"}},
    ):
        assert create.is_valid(LEAST | section)
        assert patch.is_valid(section)
    for patched in ({"autoscaling": None}, {"labels": {"team": None}}, {"engine": {"simulator": {"fail": None}}}):
        assert patch.is_valid(patched)
    for patched in ({"name": None}, {"gpu": {"type": None}}, {"model": None}, {"surprise": 1}):
        assert not patch.is_valid(patched)
