"""Which problem a refused configuration is."""

from console.api.problems import from_configuration_error
from deployments.schema.errors import FieldError, InvalidConfiguration

WRONG = FieldError("name", "invalid_name", "Use lowercase letters.")
FORBIDDEN = FieldError("engine.image", "operators_only", "Only operators may change this.")


def test_wrong_values_are_invalid_input_with_every_field():
    problem = from_configuration_error(InvalidConfiguration([WRONG, WRONG]))
    assert (problem.kind, problem.errors) == ("invalid-input", [WRONG, WRONG])


def test_a_setting_of_operators_is_forbidden_before_anything_else_that_is_wrong():
    problem = from_configuration_error(InvalidConfiguration([WRONG, FORBIDDEN]))
    assert (problem.kind, problem.errors) == ("right-missing", [FORBIDDEN])
