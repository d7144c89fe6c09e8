"""A running console for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """With the environment that the module names in SETTINGS."""
    one = Stack(**getattr(request.module, "SETTINGS", {}))
    try:
        one.start()
        yield one
    finally:
        one.remove()
