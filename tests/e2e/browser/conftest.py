from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser import chromium
from tests.e2e.stack import Stack

expect.set_options(timeout=90_000)  # for what takes a few seconds on a machine of its own


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium.browser() as one:
        yield one


@pytest.fixture
def visit(browser: Browser, stack: Stack) -> Iterator[Callable[..., chromium.Visitor]]:
    """Opens windows; at the end of the test none of them may have complained."""
    visitors: list[chromium.Visitor] = []

    def open_window(**settings) -> chromium.Visitor:
        visitors.append(chromium.Visitor(browser, stack, **settings))
        return visitors[-1]

    yield open_window
    problems = [problem for visitor in visitors for problem in visitor.problems]
    for visitor in visitors:
        visitor.close()
    assert not problems
