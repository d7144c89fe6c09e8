"""What every page does in Chromium: messages, filters after Back, forms on their way, panels without an answer."""

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import chromium

pytestmark = pytest.mark.browser
TABS = "[...document.querySelectorAll('.tabs a')].map((tab) => tab.getBoundingClientRect().top)"
CELLS = "[...document.querySelectorAll('.cells i')].map((cell) => getComputedStyle(cell).backgroundColor)"
# Whether the button is busy after the first submit, and whether a second one is stopped; nothing is sent.
SEND_TWICE = """() => {
  const button = document.querySelector("main .submit button"), form = button.form;
  const submit = () => {
    const event = new SubmitEvent("submit", { bubbles: true, cancelable: true, submitter: button });
    form.dispatchEvent(event);
    return event.defaultPrevented;
  };
  submit();
  return [button.getAttribute("aria-busy"), submit()];
}"""


@pytest.fixture(scope="module")
def chat(stack):
    """The id of a running deployment "behaving"."""
    stack.deploy("behaving")
    return stack.reaches("behaving", "RUNNING")["id"]


def without_script(visitor: chromium.Visitor) -> Page:
    """A page of the same person in a browser without script."""
    context = visitor.context.browser.new_context(
        base_url=visitor.stack.run["console_url"],
        java_script_enabled=False,
        storage_state=visitor.context.storage_state(),
    )
    return context.new_page()


def test_a_message_is_dismissed_with_and_without_script(visit, chat):
    visitor = visit()
    page = visitor.sign_in()
    page.goto(f"/deployments/{chat}/edit/")
    page.fill("#description", "One")
    expect(page.locator("#edit-preview")).to_contain_text("Takes effect immediately")
    page.locator(".submit .primary").click()
    message = page.locator(".page-notice")
    expect(message).to_contain_text("was changed")
    assert visitor.inaccessible() == []
    message.get_by_role("button", name="Dismiss").click()
    expect(message).to_be_hidden()

    plain = without_script(visitor)
    plain.goto(f"/deployments/{chat}/edit/")
    plain.fill("#description", "Two")
    plain.locator(".form-page .submit .primary").click()
    plain.locator("#review").get_by_role("button", name="Save changes").click()
    expect(plain.locator(".page-notice")).to_contain_text("was changed")
    plain.locator(".page-notice").get_by_role("button", name="Dismiss").click()
    expect(plain.locator(".page-notice")).to_be_hidden()
    plain.context.close()


def test_back_shows_the_filters_that_are_applied(visit):
    page = visit().sign_in()
    page.select_option("select[name=gpu]", "l40s-48gb")
    expect(page).to_have_url(re.compile("gpu=l40s-48gb"))
    page.go_back()
    expect(page).to_have_url(re.compile("/deployments/$"))
    expect(page.locator("select[name=gpu]")).to_have_value("")
    page.goto("/usage/")
    page.locator("label:has([name=group_by][value=api_key])").click()
    expect(page).to_have_url(re.compile("group_by=api_key"))
    page.go_back()
    expect(page.locator("[name=group_by]:checked")).to_have_value("deployment")


def test_a_form_on_its_way_says_so_and_is_not_sent_twice(visit, chat):
    page = visit().sign_in()
    page.goto(f"/deployments/{chat}/terminate/")
    assert page.evaluate(SEND_TWICE) == ["true", True]


def test_a_preview_that_cannot_be_had_says_so_and_comes_back_by_itself(visit, chat):
    visitor = visit()
    page = visitor.sign_in()
    page.goto(f"/deployments/{chat}/edit/")
    preview, note = page.locator("#edit-preview"), page.locator("[data-stale]")
    expect(preview).to_contain_text("0 changes")
    expect(note).to_be_hidden()
    page.route("**/edit/preview/", lambda route: route.abort())
    page.fill("#description", "Typed while the console was away")
    expect(note).to_be_visible()
    expect(preview.get_by_text("0 changes")).to_be_hidden()
    page.unroute("**/edit/preview/")
    expect(preview).to_contain_text("1 change")
    expect(note).to_be_hidden()
    expected = ("ERR_FAILED", "htmx:")  # what the browser and htmx say of a call that fails
    visitor.problems[:] = [problem for problem in visitor.problems if not any(word in problem for word in expected)]


def test_the_tabs_stand_still_from_page_to_page_and_each_page_is_live(stack, visit, chat):
    page = visit().sign_in()
    places = set()
    for below in ("", "events/", "logs/", "settings/"):
        page.goto(f"/deployments/{chat}/{below}")
        expect(page.locator("[data-live-state]")).to_have_text("Live")
        places.add(str(page.evaluate(TABS)))
    assert len(places) == 1
    stack.deploy("ends-meanwhile")
    other = stack.reaches("ends-meanwhile", "RUNNING")["id"]
    page.goto(f"/deployments/{other}/logs/")
    expect(page.locator("#header .status")).to_have_text("Running")
    stack.ask("POST", "/deployments/ends-meanwhile/terminate")
    expect(page.locator("#header .status")).to_have_text("Terminated")


def test_without_script_nothing_claims_to_be_live_and_nothing_is_offered_that_does_not_work(visit, chat):
    visitor = visit()
    visitor.sign_in()
    page = without_script(visitor)
    for address in ("/deployments/", f"/deployments/{chat}/"):
        page.goto(address)
        expect(page.locator("[data-live-state]")).to_have_text(re.compile(r"As of \d\d:\d\d:\d\d UTC"))
    expect(page.locator("[data-copies]:visible")).to_have_count(0)
    page.goto("/deployments/new/")
    expect(page.locator("[data-step]:visible, [data-chooser-search]:visible")).to_have_count(0)
    page.context.close()


def test_forced_colours_tell_the_current_tab_entry_and_choice_and_the_replicas_apart(visit, chat):
    visitor = visit()
    page = visitor.sign_in()
    page.emulate_media(forced_colors="active")
    page.goto("/deployments/?status=running")
    colour = "getComputedStyle(element).borderBlockEndColor"
    current = page.locator(".tabs [aria-current]").evaluate(f"(element) => {colour}")
    other = page.locator(".tabs a:not([aria-current])").first.evaluate(f"(element) => {colour}")
    assert current != other
    outline = "(element) => getComputedStyle(element).outlineStyle"
    assert page.locator(".rail [aria-current]").evaluate(outline) == "solid"
    assert page.locator(".rail li > a:not([aria-current])").first.evaluate(outline) == "none"
    page.goto("/deployments/")
    assert any("rgb(0, 0, 0)" in cell for cell in page.evaluate(CELLS))


def test_a_revoked_key_looks_revoked_on_a_narrow_screen(stack, visit):
    page = visit(viewport=chromium.NARROW).sign_in()
    made = stack.ask("POST", "/api-keys", {"name": "narrow", "scopes": ["inference"]})
    stack.api("DELETE", f"/api-keys/{made['id']}")
    page.goto("/settings/api-keys/")
    row = page.locator("tr:has-text('narrow')")
    expect(row.get_by_text("Revoked")).to_be_visible()


def test_times_are_in_the_zone_of_the_viewer_with_utc_at_hand(visit, chat):
    visitor = visit()
    visitor.sign_in()
    plain = without_script(visitor)
    plain.goto(f"/deployments/{chat}/events/")
    written = plain.locator(".timeline time").last.inner_text()
    expect(plain.locator("[data-zone]").first).to_have_text("UTC")
    plain.context.close()

    context = visitor.context.browser.new_context(
        base_url=visitor.stack.run["console_url"],
        storage_state=visitor.context.storage_state(),
        timezone_id="Asia/Kolkata",
    )
    page = context.new_page()
    page.goto(f"/deployments/{chat}/events/")
    time = page.locator(".timeline time").last
    expect(time).to_have_attribute("title", re.compile(f"{written} UTC$"))
    at = datetime.fromisoformat(time.get_attribute("datetime")).astimezone(ZoneInfo("Asia/Kolkata"))
    expect(time).to_have_text(re.compile(f"{at:%H:%M}"))
    expect(page.locator("[data-zone]").first).to_have_text("GMT+5:30")
    page.goto(f"/deployments/{chat}/settings/")
    expect(page.locator("#revisions .tone-good time")).to_have_attribute("title", re.compile(" UTC$"))
    visitor.stack.ask("POST", "/api-keys", {"name": "until 02:00 UTC", "scopes": ["inference"]})
    page.goto("/settings/api-keys/")
    expect(page.locator("th .name", has_text="until")).to_have_text("until 02:00 UTC")
    page.goto("/deployments/")
    expect(page.locator("[data-live-state]")).to_have_text("Live")
    expect(page.locator("tr:has-text('behaving') td.across time")).to_have_attribute("title", re.compile(" UTC$"))
    page.goto("/usage/")
    expect(page.locator(".toolbar time").first).to_have_text(re.compile(r"1 \w{3} \d{4}, 05:30"))
    expect(page.locator(".toolbar [data-zone]")).to_have_text("GMT+5:30")
    context.close()


def test_log_lines_and_their_search_are_in_the_zone_of_the_viewer(visit, chat):
    visitor = visit()
    visitor.sign_in()
    context = visitor.context.browser.new_context(
        base_url=visitor.stack.run["console_url"],
        storage_state=visitor.context.storage_state(),
        timezone_id="Asia/Kolkata",
    )
    page = context.new_page()
    page.goto(f"/deployments/{chat}/logs/")
    time = page.locator("#log time").last
    expect(time).to_have_attribute("title", re.compile(r" UTC$"))
    at = datetime.fromisoformat(time.get_attribute("datetime")).astimezone(ZoneInfo("Asia/Kolkata"))
    expect(time).to_have_text(re.compile(f"{at:%H:%M:%S}$"))
    count = page.locator("#log > div").count()

    page.locator("label:has([name=period][value=custom])").click()
    expect(page.locator("#zone-name")).to_have_text(re.compile("Asia/(Kolkata|Calcutta)"))
    page.fill("#until", f"{at - timedelta(hours=1):%Y-%m-%dT%H:%M:%S}")
    page.get_by_role("button", name="Search").click()
    expect(page).to_have_url(re.compile("zone=Asia%2F"))
    expect(page.locator("#log > div")).to_have_count(0)
    page.fill("#until", f"{at + timedelta(minutes=1):%Y-%m-%dT%H:%M:%S}")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#log > div")).to_have_count(count)
    context.close()


def test_signing_out_of_another_browser_ends_its_open_pages(visit):
    here, other = visit(), visit()
    page, open_elsewhere = here.sign_in(), other.sign_in()
    expect(open_elsewhere.locator("[data-live-state]")).to_have_text("Live")
    page.goto("/settings/profile/")
    assert here.inaccessible() == []
    page.get_by_role("button", name="Sign out of all other browsers").click()
    expect(page.get_by_text("You are not signed in anywhere else.")).to_be_visible()
    expect(open_elsewhere).to_have_url(re.compile("/accounts/login/"))
