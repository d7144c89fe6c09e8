"""axe finds nothing on any page, in both themes, wide and at 360 px, where nothing is cut off either."""

import pytest

from tests.e2e.browser import chromium, pages, scene

pytestmark = pytest.mark.browser
SIZES = {"1440": chromium.WIDE, "360": chromium.NARROW}


@pytest.fixture(scope="module")
def ids(stack):
    """What the addresses of `pages` name."""
    return {"id": scene.prepare(stack), **scene.lose_replica(stack)}


def find_problems(visitor, addresses, ids):
    """By page, what axe finds and what is cut off."""
    found = {}
    for name, address in addresses.items():
        visitor.page.goto(address.format(**ids))
        found[name] = visitor.inaccessible() + ([f"{visitor.overflow()} px too wide"] if visitor.overflow() > 0 else [])
    return {name: problems for name, problems in found.items() if problems}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible_and_fits(visit, ids, theme, size):
    visitor, operator = (visit(theme=theme, viewport=SIZES[size]) for _ in range(2))
    assert find_problems(visitor, {"sign-in": pages.SIGN_IN}, ids) == {}
    visitor.sign_in()
    assert find_problems(visitor, pages.PAGES | pages.PAGES_WITHOUT_PICTURE, ids) == {}
    operator.sign_in("operator")
    assert find_problems(operator, pages.OPERATOR_PAGES, ids) == {}


def test_every_operator_page_opens_without_a_complaint(visit, ids):
    visitor = visit()
    visitor.sign_in("operator")
    for address in [*pages.PAGES.values(), *pages.OPERATOR_PAGES.values(), "/admin/"]:
        response = visitor.page.goto(address.format(**ids))
        assert response is not None
        assert response.status == 200, address


def test_rows_of_the_list_keep_one_height_whatever_they_say(visit, ids):
    page = visit().sign_in()
    heights = page.eval_on_selector_all("#list tbody tr", "rows => rows.map(row => row.offsetHeight)")
    assert len(heights) >= 3
    assert len(set(heights)) == 1
    assert heights[0] <= 54
