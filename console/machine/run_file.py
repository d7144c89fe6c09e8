"""`run.json` in the data folder: where everything is while the console runs (rest.md §1). Readable by its owner only.

{"console_url", "gateway_url", "metrics_url", "database_url", "redis_url", "processes": {name: pid}, "demo": {…}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from console.machine.embedded import write_private

NAME = "run.json"


def write(data_dir: Path, content: Mapping[str, Any]) -> None:
    """Replace the file atomically, mode 0600."""
    write_private(data_dir / NAME, json.dumps(content, indent=2) + "\n")


def remove(data_dir: Path) -> None:
    (data_dir / NAME).unlink(missing_ok=True)


def read(data_dir: Path) -> dict[str, Any]:
    """The file's content; empty when no console runs there or the file is somebody else's."""
    try:
        content: dict[str, Any] = json.loads((data_dir / NAME).read_text())
    except (FileNotFoundError, PermissionError):
        return {}
    return content


def join_running_console(data_dir: Path, variables: MutableMapping[str, str]) -> None:
    """Let a command that is typed beside a running console use its servers, where the environment names none."""
    running = read(data_dir)
    for variable, key in (("DATABASE_URL", "database_url"), ("REDIS_URL", "redis_url")):
        if running and not variables.get(variable):
            variables[variable] = running[key]


def show_demo(data_dir: Path, credentials: Mapping[str, Any]) -> None:
    """Bring the demo block of a running console's file in line with the demo data."""
    if content := read(data_dir):
        content.pop("demo", None)
        if demo := demo_block(credentials):
            content["demo"] = demo
        write(data_dir, content)


def demo_block(credentials: Mapping[str, Any]) -> dict[str, Any]:
    """What the file shows of demo.json; empty when there is no demo data."""
    return {name: credentials[name] for name in ("operator", "member", "api_keys") if name in credentials}
