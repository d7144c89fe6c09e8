"""`manage.py demo` creates the demo data, `manage.py demo --remove` removes it."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from console.machine import demo_accounts, run_file
from console.machine.demo_credentials import read_demo_credentials, write_demo_credentials


class Command(BaseCommand):
    help = "Create the demo organization, its users and API keys, or remove them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--remove", action="store_true", help="remove the demo users, their keys and their organization"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder, now = settings.DATA_DIR, timezone.now()  # noqa: TID251 - the edge
        try:
            if options["remove"]:
                content = demo_accounts.remove_demo_data(now)
            else:
                content = demo_accounts.ensure_demo_data(read_demo_credentials(folder), now)
        except demo_accounts.DemoDataInUse as error:
            raise CommandError(str(error)) from None
        write_demo_credentials(folder, content)
        run_file.update_demo(folder, content)
        self.stdout.write("The demo data is removed." if options["remove"] else f"Credentials: {folder / 'demo.json'}")
