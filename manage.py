#!/usr/bin/env python
"""Django's command line; `python manage.py up` runs the whole product on this machine."""

import os
import sys

from console import env
from console.machine import run_file


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
    from django.core.management import execute_from_command_line

    try:
        if sys.argv[1:2] != ["up"]:
            run_file.use_servers_of_running_console(env.read_with_dotenv(os.environ).data_dir, os.environ)
        execute_from_command_line(sys.argv)
    except env.InvalidEnvironment as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
