"""Make or remove the demo data: `manage.py demo`, `manage.py demo --remove`."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from console.machine import datafolder, demo, runfile


class Command(BaseCommand):
    help = "Make the demo organization, its people and API keys, or remove them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--remove", action="store_true", help="remove the demo people, their keys and organization")

    def handle(self, *args: Any, **options: Any) -> None:
        folder, now = settings.DATA_DIR, timezone.now()  # noqa: TID251 - the edge
        try:
            content = demo.remove(now) if options["remove"] else demo.ensure(datafolder.read_demo(folder), now)
        except demo.StillInUse as error:
            raise CommandError(str(error)) from None
        datafolder.write_demo(folder, content)
        runfile.show_demo(folder, content)
        self.stdout.write("The demo data is removed." if options["remove"] else f"Credentials: {folder / 'demo.json'}")
