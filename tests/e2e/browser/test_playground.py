"""The playground in Chromium: a conversation, an answer that wakes a deployment, and problems that lose no input."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
SETTINGS = {"SCALE_DOWN_DELAY_FLOOR_SECONDS": "5"}


def test_a_conversation_keeps_its_turns_and_a_problem_keeps_what_was_typed(stack, visit):
    made = stack.deploy("talk", ttft_ms=20, itl_ms=2)
    stack.reaches("talk", "RUNNING")
    visitor = visit()
    page = visitor.sign_in()
    page.goto(f"/deployments/{made['id']}/playground/")
    page.fill("#max_tokens", "16")
    figures, turns = page.locator("[data-figures]"), page.locator(".turn")
    page.fill("#message", "Hello")
    page.click("[data-send]")
    expect(figures).to_contain_text(re.compile(r"^\s*TTFT.*16 out"))
    first = int(re.search(r"(\d+) in", figures.inner_text())[1])
    expect(page.locator("#message")).to_have_value("")
    page.fill("#message", "And again")
    page.click("[data-send]")
    expect(turns).to_have_count(4)
    expect(figures).to_contain_text(re.compile(rf"(?<!\d)(?!{first} in)\d+ in, \d+ out"))  # those of the second answer
    assert int(re.search(r"(\d+) in", figures.inner_text())[1]) > first, "the earlier turns were not sent"

    page.fill("#temperature", "9")
    page.fill("#message", "Is this lost?")
    page.click("[data-send]")
    expect(page.locator("[data-problem]")).to_contain_text("Temperature: Enter a number from 0 to 2")
    expect(page.locator("#message")).to_have_value("Is this lost?")
    expect(turns).to_have_count(4)
    assert visitor.inaccessible() == []
    page.click("[data-clear]")
    expect(turns).to_have_count(0)
    expect(page.locator("#message")).to_have_value("Is this lost?")
    visitor.problems[:] = [problem for problem in visitor.problems if "422" not in problem]


def test_an_answer_that_wakes_a_deployment_says_what_it_waits_for_and_is_marked_cold(stack, visit):
    made = stack.deploy_with(
        {"min_replicas": 0, "max_replicas": 1, "scale_down_delay_seconds": 5}, "cold", initialize_seconds=4
    )
    stack.reaches("cold", "SLEEPING")
    page = visit().sign_in()
    page.goto(f"/deployments/{made['id']}/")
    page.fill("#message", "Wake up")
    page.click("[data-send]")
    expect(page.locator("[data-waiting]")).to_contain_text(
        re.compile(r"Cold start: .*\s+\d:\d\d\s+of about 0:\d\d( to \d:\d\d)?, based on \d earlier start")
    )
    expect(page.locator("[data-figures]")).to_contain_text(re.compile(r"Cold start [1-9][\d.]* s · TTFT \d+ ms"))
    expect(page.locator("[data-waiting]")).to_be_hidden()
