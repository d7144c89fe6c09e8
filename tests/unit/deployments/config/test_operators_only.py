"""A setting of operators: others may send the value in force, and nothing else."""

import pytest

from deployments.config.admission_checks import check
from tests.unit.deployments.config.test_build_spec import OPTIONS
from tests.unit.deployments.config.test_merge import BASE, changed

PATH = "engine.max_concurrency"
CURRENT = BASE.configuration


def with_concurrency(value):
    return changed(BASE, engine=CURRENT.engine.model_copy(update={"max_concurrency": value})).configuration


@pytest.mark.parametrize(
    ("configuration", "current", "is_operator", "refused"),
    [
        pytest.param(with_concurrency(4), CURRENT, False, [PATH], id="another value than the one in force"),
        pytest.param(with_concurrency(16), CURRENT, False, [], id="the value in force"),
        pytest.param(with_concurrency(4), CURRENT, True, [], id="an operator"),
        pytest.param(with_concurrency(4), None, False, [PATH], id="a new deployment"),
        pytest.param(with_concurrency(16), None, False, [], id="a new deployment with the default"),
    ],
)
def test_only_operators_set_another_value(configuration, current, is_operator, refused):
    errors = check(configuration, OPTIONS, current, is_operator=is_operator, operators_only=[PATH])
    assert [(error.field, error.code) for error in errors] == [(path, "operators_only") for path in refused]
