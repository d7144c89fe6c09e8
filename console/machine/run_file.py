"""`run.json` in the data folder: URLs, process ids and demo credentials of the running console; mode 0600.

{"console_url", "gateway_url", "metrics_url", "database_url", "redis_url", "processes": {name: pid}, "demo": {…}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from console.machine.private_files import write_private_file

NAME = "run.json"


def write(data_dir: Path, content: Mapping[str, Any]) -> None:
    """Replace the file atomically, mode 0600."""
    write_private_file(data_dir / NAME, json.dumps(content, indent=2) + "\n")


def remove(data_dir: Path) -> None:
    (data_dir / NAME).unlink(missing_ok=True)


def read(data_dir: Path) -> dict[str, Any]:
    """Return the content of the file; empty if no console is running or the file belongs to another user."""
    try:
        content: dict[str, Any] = json.loads((data_dir / NAME).read_text())
    except (FileNotFoundError, PermissionError):
        return {}
    return content


def use_servers_of_running_console(data_dir: Path, variables: MutableMapping[str, str]) -> None:
    """Set DATABASE_URL and REDIS_URL to those of the running console where `variables` does not set them."""
    running = read(data_dir)
    for variable, key in (("DATABASE_URL", "database_url"), ("REDIS_URL", "redis_url")):
        if running and not variables.get(variable):
            variables[variable] = running[key]


def update_demo(data_dir: Path, credentials: Mapping[str, Any]) -> None:
    """Update the demo block of the file to `credentials` (content of demo.json) while a console is running."""
    if content := read(data_dir):
        content.pop("demo", None)
        if demo := build_demo_block(credentials):
            content["demo"] = demo
        write(data_dir, content)


def build_demo_block(credentials: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of demo.json that the file contains; empty without demo data."""
    return {name: credentials[name] for name in ("operator", "member", "api_keys") if name in credentials}
