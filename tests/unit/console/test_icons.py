"""Every icon that a page asks for is in the sheet: a missing one is an empty place that nobody complains about."""

import re
from pathlib import Path

from console.deployments.status_banner import BY_STATUS
from console.deployments.timeline import APPEARANCE
from deployments.events import Kind
from deployments.states import DeploymentStatus

ROOT = Path(__file__).resolve().parents[3]
DRAWN = set(re.findall(r'<symbol[^>]*? id="([a-z-]+)"', (ROOT / "static" / "icons.svg").read_text()))


def test_every_icon_of_a_template_is_drawn() -> None:
    texts = [path.read_text() for path in (ROOT / "templates").rglob("*.html")]
    asked = {name for text in texts for name in re.findall(r'{% icon "([a-z-]+)"', text)}
    assert asked
    assert asked <= DRAWN


def test_every_event_of_a_timeline_has_an_icon_that_is_drawn() -> None:
    assert set(APPEARANCE) == set(Kind)
    assert {icon for icon, _ in APPEARANCE.values()} <= DRAWN


def test_every_status_has_words_for_what_it_does_now() -> None:
    assert set(BY_STATUS) == set(DeploymentStatus)
