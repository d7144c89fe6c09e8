"""Chromium for a test: one browser, and pages that remember what went wrong in them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.stack import Stack

EXECUTABLE = shutil.which("chromium") or "/usr/bin/chromium"
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 360, "height": 740}


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking", "--force-prefers-reduced-motion"]
        one = playwright.chromium.launch(executable_path=EXECUTABLE, args=arguments)
        try:
            yield one
        finally:
            one.close()


class Visitor:
    """A person with a browser window. `problems` is what the browser's log complained about."""

    def __init__(
        self, browser: Browser, stack: Stack, *, theme: str = "light", viewport: dict[str, int] = WIDE
    ) -> None:
        self.stack = stack
        self.problems: list[str] = []
        self.context = browser.new_context(
            base_url=stack.run["console_url"], color_scheme=theme, viewport=viewport, device_scale_factor=1
        )
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self._note("error", str(error)))

    def _note(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.problems.append(f"{self.page.url}: {text}")

    def sign_in(self, who: str = "member") -> Page:
        person = self.stack.run["demo"][who]
        self.page.goto("/")
        self.page.fill("input[name=login]", person["email"])
        self.page.fill("input[name=password]", person["password"])
        self.page.click("main button[type=submit]")
        self.page.wait_for_selector("h1:has-text('Deployments')")
        return self.page

    def inaccessible(self) -> list[str]:
        """What axe finds on the page as it is now."""
        violations = Axe().run(self.page).response["violations"]
        return [
            f"{one['id']}: {node['target']} {node['failureSummary']}" for one in violations for node in one["nodes"]
        ]

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return width

    def close(self) -> None:
        self.context.close()
