"""A running console for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    one = Stack()
    try:
        one.start()
        yield one
    finally:
        one.remove()
