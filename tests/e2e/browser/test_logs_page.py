"""The logs page in Chromium: live lines, a search that goes on, pause and resume, the end of a replica."""

import json
import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
PLACES = """
[...document.querySelectorAll("#log, .log-acts button, .log-search *")]
  .map((one) => JSON.stringify(one.getBoundingClientRect())).join()
"""
EVIL = "<img src=x onerror=document.title='taken'>"


@pytest.fixture
def call(stack):
    """Calls the deployment "talkative" once."""
    if stack.api("GET", "/deployments/talkative")[0] == 404:
        stack.deploy("talkative")
    stack.reaches("talkative", "RUNNING")
    secret = stack.run["demo"]["api_keys"]["inference"]
    body = {"model": "talkative", "max_tokens": 3, "messages": [{"role": "user", "content": "Hello"}]}

    def once() -> None:
        assert stack.call(f"{stack.run['gateway_url']}/v1/chat/completions", "POST", body, secret)[0] == 200

    return once


@pytest.fixture
def address(stack, call):
    return f"/deployments/{stack.deployment('talkative')['id']}/logs/"


def test_a_search_goes_on_and_can_be_paused(stack, visit, call, address):
    page = visit().sign_in()
    page.goto(address)
    expect(page.locator("[data-log-state]")).to_have_text("Live")
    expect(page.locator("#log")).to_contain_text("Ready in")
    page.fill("input[name=q]", "finished REQUEST")
    page.keyboard.press("Enter")
    expect(page.locator("[data-log-state]")).to_have_text("Live")
    marks = page.locator("#log mark")
    before = marks.count()
    call()
    expect(marks).to_have_count(before + 1)
    expect(page.locator("#log > div")).to_have_count(before + 1)
    expect(marks.last).to_have_text("Finished request")

    page.click("text=Pause")
    call()
    call()
    expect(page.locator("[data-log-state]")).to_have_text("Paused, 2 new lines")
    expect(marks).to_have_count(before + 1)
    page.click("text=Resume")
    expect(marks).to_have_count(before + 3)
    expect(page.locator("[data-log-state]")).to_have_text("Live")


def test_a_search_works_without_script(stack, visit, call, address):
    visitor = visit()
    visitor.sign_in()
    plain = visitor.context.browser.new_context(
        base_url=stack.run["console_url"], java_script_enabled=False, storage_state=visitor.context.storage_state()
    )
    page = plain.new_page()
    page.goto(address)
    expect(page.locator("[data-log-pause]")).to_be_hidden()
    page.fill("input[name=q]", "warming UP")
    page.click("text=Last hour")
    page.click(".log-search button[type=submit]")
    expect(page.locator("#log mark")).to_have_text(re.compile("Warming up"))
    plain.close()


def test_lines_that_look_like_markup_stay_text(visit, address):
    page = visit().sign_in()
    line = {
        "at": "2026-11-21T12:00:00.000+00:00",
        "time": "12:00:00",
        "replica": EVIL,
        "parts": [[EVIL, False], [EVIL, True]],
    }
    event = f"event: lines\ndata: {json.dumps({'lines': [line], 'anew': True})}\n\nevent: ended\ndata: {{}}\n\n"
    page.route("**/logs/stream/**", lambda route: route.fulfill(body=event, content_type="text/event-stream"))
    page.goto(address)
    expect(page.locator("[data-log-state]")).to_have_text("The log has ended")
    expect(page.locator("#log span")).to_have_text(EVIL * 2)
    expect(page.locator("#log mark")).to_have_text(EVIL)
    assert page.locator("#log img").count() == 0
    assert "taken" not in page.title()


def test_nothing_moves_when_lines_come(visit, call, address):
    page = visit().sign_in()
    page.goto(address)
    expect(page.locator("[data-log-state]")).to_have_text("Live")
    before = page.evaluate(PLACES)
    call()
    expect(page.locator("#log")).to_contain_text("Finished request")
    assert page.evaluate(PLACES) == before
