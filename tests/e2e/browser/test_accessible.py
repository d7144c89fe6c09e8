"""axe finds nothing on any page, in both themes, wide and at 360 px, where nothing is cut off either."""

import pytest

from tests.e2e.browser import chromium, pages, scene

pytestmark = pytest.mark.browser
SIZES = {"1440": chromium.WIDE, "360": chromium.NARROW}


@pytest.fixture(scope="module")
def deployment_id(stack):
    return scene.prepare(stack)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible_and_fits(stack, visit, deployment_id, theme, size):
    visitor = visit(theme=theme, viewport=SIZES[size])
    found = {}
    visitor.page.goto(pages.SIGN_IN)
    found["sign-in"] = visitor.inaccessible()
    visitor.sign_in()
    for name, address in pages.PAGES.items():
        visitor.page.goto(address.format(id=deployment_id))
        found[name] = visitor.inaccessible() + ([f"{visitor.overflow()} px too wide"] if visitor.overflow() > 0 else [])
    assert {name: problems for name, problems in found.items() if problems} == {}


def test_every_operator_page_opens_without_a_complaint(stack, visit, deployment_id):
    visitor = visit()
    visitor.sign_in("operator")
    for address in [*pages.PAGES.values(), "/admin/"]:
        response = visitor.page.goto(address.format(id=deployment_id))
        assert response is not None
        assert response.status == 200, address


def test_rows_of_the_list_keep_one_height_whatever_they_say(stack, visit, deployment_id):
    page = visit().sign_in()
    heights = page.eval_on_selector_all("#list tbody tr", "rows => rows.map(row => row.offsetHeight)")
    assert len(heights) >= 3
    assert len(set(heights)) == 1
    assert heights[0] <= 54
