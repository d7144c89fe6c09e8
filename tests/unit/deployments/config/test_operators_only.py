"""A setting of operators: others may send the value in force, and nothing else."""

import pytest

from deployments.config.admission_checks import operator_settings
from tests.unit.deployments.config.test_merge import BASE, changed

PATH = "engine.max_concurrency"
CURRENT = BASE.configuration


def with_concurrency(value):
    return changed(BASE, engine=CURRENT.engine.model_copy(update={"max_concurrency": value})).configuration


UNSENT = changed(BASE, engine=CURRENT.engine.model_copy(update={"context_length": None})).configuration


@pytest.mark.parametrize(
    ("configuration", "current", "path", "refused"),
    [
        pytest.param(with_concurrency(4), CURRENT, PATH, True, id="another value than the one in force"),
        pytest.param(with_concurrency(16), CURRENT, PATH, False, id="the value in force"),
        pytest.param(with_concurrency(4), None, PATH, True, id="a new deployment"),
        pytest.param(with_concurrency(16), None, PATH, False, id="a new deployment with the default"),
        pytest.param(UNSENT, None, "engine.context_length", False, id="a value that is chosen when it is not sent"),
        pytest.param(CURRENT, None, "engine.context_length", True, id="such a value that was sent"),
    ],
)
def test_only_operators_set_another_value(configuration, current, path, refused):
    errors = operator_settings(configuration, current, [path])
    assert [(error.field, error.code) for error in errors] == ([(path, "operators_only")] if refused else [])
