"""The main story in Chromium: sign in, deploy, watch it go live, talk to it, make a key, see usage, end it."""

import re

import openai
import pytest
from playwright.sync_api import expect

from console.machine.console_processes import is_responding
from tests.e2e.stack import until

pytestmark = pytest.mark.browser


def test_a_person_deploys_watches_calls_and_ends_a_deployment_without_a_reload(stack, visit):
    visitor = visit()
    page = visitor.sign_in()
    page.click("text=New deployment")
    page.fill("input[name=name]", "my-first")
    page.click("label:has(input[name=model][value='llama-3.1-8b-instruct'])")
    page.click("label:has(input[name=gpu][value='l40s-48gb'])")
    page.click(".submit button[type=submit]")

    expect(page.locator("h1")).to_have_text("my-first")
    address = page.url
    page.evaluate("window.sameDocument = true")
    status = page.locator("#header")
    expect(status).to_contain_text(re.compile("running", re.I))
    assert page.url == address
    assert page.evaluate("window.sameDocument") is True, "the page was loaded anew"
    expect(page.locator("#replicas")).to_contain_text(re.compile("ready", re.I))
    expect(page.locator('#timeline [data-kind="created"]')).to_be_visible()

    page.fill("#message", "Say hello")
    page.click("#playground [data-send]")
    expect(page.locator("[data-said]")).to_contain_text("Simulated answer")
    expect(page.locator("[data-figures]")).to_contain_text("out")

    page.click("nav >> text=API keys")
    page.fill("input[name=name]", "My program")
    page.click("text=Create key")
    secret = page.locator("#secret").inner_text()
    assert secret.startswith("mc_")
    client = openai.OpenAI(base_url=f"{stack.run['gateway_url']}/v1", api_key=secret, max_retries=0)
    answer = client.chat.completions.create(
        model="my-first", messages=[{"role": "user", "content": "Hello"}], max_tokens=9
    )
    assert answer.choices[0].message.content.startswith("Simulated answer")

    deployment_id = stack.deployment("my-first")["id"]
    until("both calls are counted", lambda: stack.usage().get(deployment_id, (0,))[0] == 2)
    page.goto("/usage/")
    expect(page.locator("table")).to_contain_text("my-first")
    requests = page.locator("tr:has-text('my-first') [data-label=Requests]")
    expect(requests).to_have_text("2")

    page.goto(address)
    page.click("#open-terminate")
    page.click("dialog#terminate button[type=submit]")
    expect(page.locator("#header")).to_contain_text(re.compile("terminated", re.I))
    page.click("#open-delete")
    page.click("dialog#delete button[type=submit]")
    expect(page.locator("h1")).to_have_text("Deployments")
    expect(page.locator("#list")).not_to_contain_text("my-first")
    assert stack.api("GET", "/deployments/my-first")[0] == 404


def test_the_list_follows_what_others_do_and_is_correct_after_the_socket_was_away(stack, visit):
    visitor = visit()
    page = visitor.sign_in()
    stack.deploy("made-by-a-program")
    row = page.locator("tr:has-text('made-by-a-program')")
    expect(row).to_contain_text(re.compile("running", re.I))
    pid = stack.kill_process("web")
    until("web runs again", lambda: stack.read_run_file()["processes"].get("web", pid) != pid)
    until(
        "web answers",
        lambda: is_responding("127.0.0.1", int(stack.environment["CONSOLE_PORT"]), "/accounts/login/", below=300),
    )
    assert stack.api("POST", "/deployments/made-by-a-program/terminate")[0] == 202
    expect(row).to_contain_text(re.compile("terminat", re.I))
    visitor.problems[:] = [one for one in visitor.problems if "WebSocket" not in one and "ERR_CONNECTION" not in one]


@pytest.mark.parametrize(
    ("fields", "where", "words"),
    [
        ({"name": "Not A Name"}, "name", "lower"),
        ({"name": ""}, "name", ""),
    ],
    ids=["bad name", "no name"],
)
def test_bad_input_has_its_message_at_its_place(stack, visit, fields, where, words):
    visitor = visit()
    page = visitor.sign_in()
    page.goto("/deployments/new/")
    for name, value in fields.items():
        page.fill(f"input[name={name}]", value)
    page.click(".submit button[type=submit]")
    problem = page.locator(f"#{where}-problem")
    expect(problem).to_be_visible()
    assert problem.inner_text().strip()
    assert words in problem.inner_text().lower()
