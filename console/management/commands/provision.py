"""Bring the database to this release: migrations, rights, reference data, the local cluster, demo data."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

from console.machine import provision


class Command(BaseCommand):
    help = "Migrate, give the application's role its rights, and load what must be in the tables. Idempotent."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        provision.provision(settings.ENVIRONMENT, timezone.now())  # noqa: TID251 - the edge
