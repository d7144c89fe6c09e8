"""`manage.py provision`: runs migrations, grants, reference data, the local cluster and demo data."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from console.machine import database_bootstrap


class Command(BaseCommand):
    help = "Run migrations, grant privileges to the application's role, and load reference data. Idempotent."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--adopt", action="store_true", help="Take this data folder, whatever the database had.")

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()  # noqa: TID251 - the edge
        database_bootstrap.set_up_database(settings.ENVIRONMENT, now, adopt=options["adopt"])
