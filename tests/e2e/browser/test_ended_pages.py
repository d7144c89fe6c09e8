"""Open pages whose deployment is deleted or whose session ends, also with the browser on its way to another page."""

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Response, Route, WebSocket, expect

from tests.e2e.browser import chromium

pytestmark = pytest.mark.browser
SIZES = {"1440": chromium.WIDE, "360": chromium.NARROW}
PLACES = """
[...document.querySelectorAll("h1, .tabs a, .region > header, .readouts dt")]
  .map((element) => JSON.stringify(element.getBoundingClientRect())).join()
"""


@pytest.fixture
def ended(stack):
    """The id of a terminated deployment "leaving"."""
    made = stack.deploy("leaving")
    stack.ask("POST", "/deployments/leaving/terminate")
    stack.reaches("leaving", "TERMINATED")
    yield made["id"]
    stack.api("DELETE", "/deployments/leaving")


class Sockets:
    """What a page hears over its WebSockets."""

    def __init__(self, page: Page) -> None:
        self.opened = 0
        self.heard = ""
        page.on("websocket", self._note)

    def _note(self, socket: WebSocket) -> None:
        self.opened += 1
        socket.on("framereceived", self._hear)

    def _hear(self, frame: str | bytes) -> None:
        self.heard += str(frame)


def open_page(page: Page, address: str) -> Sockets:
    """Open a live page and wait until it is up to date. `window.sameDocument` is gone once it is loaded anew."""
    page.goto("/catalog/")  # which has no socket
    sockets = Sockets(page)
    page.goto(address)
    wait(page, "it is up to date", lambda: "hx-swap-oob" in sockets.heard)
    page.evaluate("window.sameDocument = true")
    return sockets


def wait(page: Page, what: str, is_so: Callable[[], bool], seconds: float = 30.0) -> None:
    """`until`, while the browser's events go on arriving."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"Not within {seconds:g} s: {what}"
        page.wait_for_timeout(50)


def test_who_deletes_reads_so_on_the_list_though_the_page_hears_of_it_first(stack, visit, ended):
    page = visit().sign_in()
    sockets = open_page(page, f"/deployments/{ended}/")
    missing: list[Response] = []
    page.on("response", lambda response: missing.append(response) if response.status == 404 else None)

    def answer_late(route: Route) -> None:
        response = route.fetch(max_redirects=0)
        wait(page, "the page hears of it", lambda: "was deleted" in sockets.heard or len(missing) > 1)
        route.fulfill(response=response)

    page.route("**/delete/", answer_late)
    page.click("#open-delete")
    page.click("dialog#delete button[type=submit]")
    expect(page.locator("h1")).to_have_text("Deployments")
    expect(page.locator("[role=status]", has_text="leaving was deleted.")).to_be_visible()
    expect(page.locator("#list")).not_to_contain_text("leaving")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", ["", "events/", "settings/"], ids=["overview", "events", "settings"])
def test_who_looks_on_while_it_is_deleted_is_told_in_the_page(stack, visit, ended, place, size):
    visitor = visit(viewport=SIZES[size])
    page = visitor.sign_in()
    sockets = open_page(page, f"/deployments/{ended}/{place}")
    before = page.evaluate(PLACES)

    assert stack.api("DELETE", "/deployments/leaving")[0] == 204
    notice = page.locator("#deleted .notice")
    expect(notice).to_contain_text("leaving was deleted")
    expect(notice).to_be_in_viewport()
    expect(page.locator("[data-live-state]")).to_have_text("Deleted")
    expect(page.get_by_role("link", name="Delete")).to_have_count(0)
    assert page.evaluate(PLACES) == before
    assert page.evaluate("window.sameDocument") is True, "the page was loaded anew"
    assert sockets.opened == 1, "it connected again"
    assert visitor.inaccessible() == []
    assert visitor.overflow() <= 0
    notice.get_by_role("link", name="Back to deployments").click()
    expect(page.locator("h1")).to_have_text("Deployments")


def test_an_open_question_about_it_closes_when_somebody_else_deletes_it(stack, visit, ended):
    page = visit().sign_in()
    open_page(page, f"/deployments/{ended}/")
    page.click("#open-delete")
    expect(page.locator("dialog#delete")).to_be_visible()
    assert stack.api("DELETE", "/deployments/leaving")[0] == 204
    expect(page.locator("dialog#delete")).to_be_hidden()
    expect(page.get_by_role("link", name="Back to deployments")).to_be_visible()


def test_a_session_that_ends_does_not_stop_the_browser_on_its_way_to_another_page(stack, visit):
    visitor = visit()
    page = visitor.sign_in()
    sockets = open_page(page, "/deployments/")

    def answer_late(route: Route) -> None:
        other = visitor.context.new_page()
        other.goto("/accounts/logout/")
        other.click("main button[type=submit]")
        expect(other).to_have_url(re.compile("/accounts/login/"))
        other.close()
        stack.deploy("made-meanwhile")
        wait(page, "it connects or is loaded again", lambda: sockets.opened > 1 or "/accounts/login/" in page.url)
        route.continue_()

    page.route("**/usage/", answer_late)
    page.click("nav >> text=Usage")
    expect(page).to_have_url(re.compile(r"/accounts/login/\?next=/usage/"))
    visitor.problems[:] = [problem for problem in visitor.problems if "WebSocket" not in problem]


def test_a_page_whose_session_ended_elsewhere_leads_to_the_sign_in(stack, visit):
    visitor = visit()
    page = visitor.sign_in()
    open_page(page, "/deployments/")
    other = visitor.context.new_page()
    other.goto("/accounts/logout/")
    other.click("main button[type=submit]")
    expect(page).to_have_url(re.compile(r"/accounts/login/\?next=/deployments/"))
