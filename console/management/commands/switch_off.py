"""The last step of a console that is switched off; `up` starts it early and says when."""

import sys
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from deployments import services


class Command(BaseCommand):
    help = "Stop the replicas of local clusters and stamp them stopped. Waits for a line on its input."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        if sys.stdin.readline():
            services.stop_local_replicas(timezone.now())  # noqa: TID251 - the edge
