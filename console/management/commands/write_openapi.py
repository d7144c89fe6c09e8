"""Write docs/openapi.json anew."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from console.api.reference_page import document_text


class Command(BaseCommand):
    help = "Write the OpenAPI document of the REST API to docs/openapi.json."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        (settings.BASE_DIR / "docs" / "openapi.json").write_text(document_text())
