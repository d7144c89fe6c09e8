"""Choosing a range, editing and two people at once, in Chromium and without script; axe finds nothing on the way."""

import re

import pytest
from playwright.sync_api import expect

from tests.e2e.browser import chromium

pytestmark = pytest.mark.browser
SIZES = {"1440": chromium.WIDE, "360": chromium.NARROW}


@pytest.fixture(scope="module")
def chat(stack):
    """A deployment with a range of 1 to 3 and an adapter."""
    stack.deploy_with({"min_replicas": 1, "max_replicas": 3}, "edited-chat")
    return stack.reaches("edited-chat", "RUNNING")["id"]


def test_the_range_is_set_by_keys_numbers_and_presets(stack, visit):
    visitor = visit()
    page = visitor.sign_in()
    page.goto("/deployments/new/?model=llama-3.1-8b-instruct")
    low, high = page.locator("[data-bound=min]"), page.locator("[data-bound=max]")
    high.press("ArrowRight")
    expect(page.locator("#max_replicas")).to_have_value("4")
    low.press("Home")
    expect(page.locator("#min_replicas")).to_have_value("0")
    expect(low).to_have_attribute("aria-valuetext", "0, sleeps")
    expect(page.get_by_role("radio", name="Lowest cost")).to_be_checked()
    expect(page.locator("#scaling")).to_contain_text("In production, set min to 1 or more.")
    low.press("End")
    expect(page.locator("#max_replicas")).to_have_value("8")
    page.fill("#max_replicas", "20")
    expect(high).to_have_attribute("max", "32")
    page.get_by_role("radio", name="No scaling delay").check()
    expect(page.locator("#fixed")).to_be_checked()
    expect(page.locator("#replicas")).to_have_value("20")
    assert visitor.inaccessible() == []


def test_an_edit_says_what_it_does_while_typing_then_does_it(stack, visit, chat):
    visitor = visit()
    page = visitor.sign_in()
    page.goto(f"/deployments/{chat}/edit/")
    preview = page.locator("#edit-preview")
    expect(preview).to_contain_text("No changes yet")
    page.fill("#description", "Edited in a browser")
    expect(preview).to_contain_text("Takes effect immediately")
    page.click("[data-add]")
    page.keyboard.type("northwind/tone")
    expect(preview).to_contain_text("Restarts replicas, one after another (rolling update to revision 2)")
    assert visitor.inaccessible() == []
    page.locator(".submit .primary").click()
    expect(page).to_have_url(re.compile(f"/deployments/{chat}/$"))
    now = stack.deployment("edited-chat")
    assert (now["description"], [one["name"] for one in now["adapters"]]) == ("Edited in a browser", ["tone"])


def test_two_people_edit_and_the_second_loses_nothing(stack, visit, chat):
    page = visit().sign_in()
    page.goto(f"/deployments/{chat}/edit/")
    page.fill("#max_replicas", "5")
    stack.ask("PATCH", "/deployments/edited-chat", {"description": "From the API", "labels": {"team": "blue"}})
    page.locator(".submit .primary").click()
    expect(page.locator("#conflict")).to_contain_text("changed this deployment while you were editing")
    expect(page.locator("#description")).to_have_value("From the API")
    expect(page.locator("#max_replicas")).to_have_value("5")
    page.locator("#conflict").get_by_role("button", name="Save anyway").click()
    expect(page).to_have_url(re.compile(f"/deployments/{chat}/$"))
    now = stack.deployment("edited-chat")
    assert (now["autoscaling"]["max_replicas"], now["labels"]) == (5, {"team": "blue"})


def test_without_script_the_same_is_asked_first(stack, browser, chat):
    context = browser.new_context(base_url=stack.run["console_url"], java_script_enabled=False)
    page = context.new_page()
    person = stack.run["demo"]["member"]
    page.goto("/")
    page.fill("input[name=login]", person["email"])
    page.fill("input[name=password]", person["password"])
    page.click("main button[type=submit]")
    page.goto(f"/deployments/{chat}/edit/")
    assert page.locator("[data-bound]").first.is_hidden()
    page.fill("#max_replicas", "4")
    page.click("[data-add]")
    page.fill("#adapter-1-repository", "northwind/sql")
    page.locator(".form-page .submit .primary").click()
    review = page.locator("#review")
    assert "Review your changes" in review.inner_text()
    assert "Adapter sql" in review.inner_text()
    review.get_by_role("button", name="Save changes").click()
    assert page.url.endswith(f"/deployments/{chat}/")
    context.close()
    now = stack.deployment("edited-chat")
    assert (now["autoscaling"]["max_replicas"], len(now["adapters"])) == (4, 2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_form_is_accessible_and_fits(visit, chat, theme, size):
    visitor = visit(theme=theme, viewport=SIZES[size])
    page = visitor.sign_in()
    for address in (f"/deployments/{chat}/edit/", f"/deployments/{chat}/clone/"):
        page.goto(address)
        page.locator("details.advanced summary").click()
        page.fill("#min_replicas", "0")
        expect(page.locator("#scaling")).to_contain_text("In production")
        assert visitor.inaccessible() == []
        assert visitor.overflow() <= 0
