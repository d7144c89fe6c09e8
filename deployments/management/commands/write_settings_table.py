"""`manage.py write_settings_table`: the table of all settings in docs/engines.md, from their declarations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from deployments.config.settings_table import replace_table

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "engines.md"


class Command(BaseCommand):
    help = "Writes the table of settings in docs/engines.md."

    def handle(self, *args: Any, **options: Any) -> None:
        DOCUMENT.write_text(replace_table(DOCUMENT.read_text()))
