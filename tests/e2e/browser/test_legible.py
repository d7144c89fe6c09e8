"""Edit, roll, scale, sleep, wake, failure and rollback are legible on the detail page while they happen: one window,
loaded once per deployment. `SCREENSHOTS` names a folder that gets a picture of each."""

import os
import re
import threading
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from deployments.codes import Notice, ReasonCode
from deployments.messages import describe_notice

pytestmark = pytest.mark.browser
SETTINGS = {"SCALE_DOWN_DELAY_FLOOR_SECONDS": "5"}


class Watched:
    """A deployment's page, opened once. `places`: where the readouts stood whenever something was seen."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.places = page, set[int]()
        page.goto(address)
        page.evaluate("window.sameDocument = true")

    def says(self, pattern: str, picture: str = "", within: str = "#status-banner") -> None:
        words = re.compile(re.sub(r"\\? ", r"\\s+", pattern), re.S)  # a template may break a line at any space
        expect(self.page.locator(within)).to_contain_text(words)
        self.places.add(self.page.evaluate("document.getElementById('readouts').offsetTop"))
        if picture and (folder := os.environ.get("SCREENSHOTS")):
            self.page.screenshot(path=Path(folder) / f"lifecycle-{picture}.png", full_page=True)

    def shows(self, *codes: str, picture: str = "", **facts: object) -> None:
        """One of these codes is in the banner; with facts also the sentence of the notice."""
        banner = self.page.locator("#status-banner .banner").first
        expect(banner).to_have_attribute("data-code", re.compile("|".join(codes)))
        self.says(re.escape(describe_notice(Notice(codes[0]), **facts).sentence) if facts else r"\S", picture)

    def was_never_loaded_anew(self) -> bool:
        return self.page.evaluate("window.sameDocument") is True


def call(stack, name: str, tokens: int) -> threading.Thread:
    """A request on its way; it must be answered."""
    body = {"model": name, "max_tokens": tokens, "messages": [{"role": "user", "content": "Hello"}]}
    url, secret = f"{stack.run['gateway_url']}/v1/chat/completions", stack.run["demo"]["api_keys"]["inference"]
    thread = threading.Thread(target=stack.call, args=(url, "POST", body, secret), daemon=True)
    thread.start()
    return thread


def test_a_life_is_legible_while_it_happens_and_nothing_moves(stack, visit):
    made = stack.deploy_with(
        {"min_replicas": 1, "max_replicas": 3, "scale_down_delay_seconds": 5}, "life", concurrency=2,
        initialize_seconds=4, itl_ms=20,
    )  # fmt: skip
    page = visit()
    page.sign_in()
    life = Watched(page.page, f"/deployments/{made['id']}/")
    life.shows(Notice.LIVE, picture="running")

    stack.ask("PATCH", "/deployments/life", {"engine": {"max_concurrency": 3}})
    life.shows(Notice.ROLLING)
    life.says(r"1 starting.*Next: once r-\w{4} is ready", "rolling")
    life.shows(Notice.LIVE, revision=2, replicas=1, range="1–3")
    life.says("created revision 2.*Max concurrency.*2.*3", within="#timeline")

    requests = [call(stack, "life", 700) for _ in range(6)]
    life.shows(ReasonCode.LOAD_ROSE, ReasonCode.BACKLOG)
    life.says(r"\d ready", "scaling")
    life.says(r"Why did it scale\?", within="#timeline")
    life.shows(Notice.LIVE)
    life.says(r"[23] replicas")
    for one in requests:
        one.join(60)

    stack.ask("PATCH", "/deployments/life", {"autoscaling": {"min_replicas": 0, "sleep_after_seconds": 5}})
    life.shows(Notice.ASLEEP)
    life.says(r"a start typically takes 0:0\d", "sleeping")
    waiting = call(stack, "life", 5)
    life.shows(Notice.WAKING)
    life.says("1 request waiting, the oldest for 0:0", "waking")
    life.shows(Notice.LIVE)
    waiting.join(30)
    assert life.was_never_loaded_anew()
    assert len(life.places) == 1, "what stands below the state moved"


def test_failure_and_rollback_are_legible_while_they_happen(stack, visit):
    broken = stack.deploy("broken", fail="initialize")
    window = visit()
    window.sign_in()
    page = Watched(window.page, f"/deployments/{broken['id']}/")
    page.shows(Notice.STARTING_AGAIN)
    page.says("Retry", "held-back")
    page.says("Code engine_exited.*Evidence.*Retry.*Edit.*Redeploy", "failed")
    assert page.was_never_loaded_anew()
    window.page.click("#status-banner button:has-text('Retry')")
    expect(window.page.locator("[role=status]", has_text="Earlier failures no longer count")).to_be_visible()

    good = stack.deploy("good")
    page = Watched(window.page, f"/deployments/{good['id']}/")
    page.shows(Notice.LIVE)
    stack.ask("PATCH", "/deployments/good", {"engine": {"simulator": {"fail": "initialize"}}})
    page.says("Revision 2 could not start and was rolled back to revision 1, now revision 3", "rolled-back")
    page.shows(Notice.LIVE)
    assert page.was_never_loaded_anew()
    window.page.goto(f"/deployments/{good['id']}/settings/")
    expect(window.page.locator("#revisions")).to_contain_text("Could not start")
