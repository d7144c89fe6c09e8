"""`make screenshots`: docs/images/<page>-{light,dark,360}.png of every page, from a console of its own."""

from pathlib import Path

from playwright.sync_api import Browser

from tests.e2e.browser import chromium, pages, scene
from tests.e2e.stack import ROOT, Stack

IMAGES = ROOT / "docs" / "images"
SETTINGS = {
    "light": {"theme": "light", "viewport": chromium.WIDE},
    "dark": {"theme": "dark", "viewport": chromium.WIDE},
    "360": {"theme": "light", "viewport": chromium.NARROW},
}


def take(browser: Browser, stack: Stack, deployment_id: str, folder: Path) -> None:
    for name, settings in SETTINGS.items():
        visitor = chromium.Visitor(browser, stack, **settings)
        visitor.page.goto(pages.SIGN_IN)
        _shoot(visitor, folder / f"sign-in-{name}.png")
        visitor.sign_in()
        for page, address in pages.PAGES.items():
            visitor.page.goto(address.format(id=deployment_id))
            _shoot(visitor, folder / f"{page}-{name}.png")
        visitor.close()


def _shoot(visitor: chromium.Visitor, path: Path) -> None:
    visitor.page.wait_for_load_state("load")
    visitor.page.wait_for_timeout(400)
    visitor.page.screenshot(path=path, full_page=True)
    print(path.relative_to(ROOT))


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    stack = Stack()
    try:
        stack.start()
        deployment_id = scene.prepare(stack)
        with chromium.browser() as browser:
            take(browser, stack, deployment_id, IMAGES)
    finally:
        stack.remove()


if __name__ == "__main__":
    main()
