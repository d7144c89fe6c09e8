"""`manage.py stop_local_replicas`: the last step of stopping `manage.py up`; waits for a line on stdin."""

import sys
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from deployments import services


class Command(BaseCommand):
    help = "Stop the replicas of local clusters and record them as stopped. Waits for a line on stdin."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        if sys.stdin.readline():
            services.stop_local_replicas(timezone.now())  # noqa: TID251 - the edge
