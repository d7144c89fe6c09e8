"""`manage.py up`: runs the whole product on this machine until Ctrl-C."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from console.machine import up
from console.machine.terminal_output import TerminalOutput


class Command(BaseCommand):
    help = "Run web, gateway, worker, beat and watch with an embedded PostgreSQL and Valkey, until Ctrl-C."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--adopt", action="store_true", help="Take this data folder, whatever the database had.")

    def handle(self, *args: Any, **options: Any) -> None:
        raise SystemExit(up.main(settings.ENVIRONMENT, TerminalOutput(), adopt=options["adopt"]))
