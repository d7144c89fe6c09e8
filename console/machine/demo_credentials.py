"""`demo.json` in the data folder: e-mail addresses, passwords and API keys of the demo data; mode 0600.

The content is `{"removed": true, …}` once the demo data was removed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from console.machine.private_files import write_private_file

NAME = "demo.json"


def read_demo_credentials(data_dir: Path) -> dict[str, Any]:
    """Return the content of the file; empty if there is none."""
    path = data_dir / NAME
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def write_demo_credentials(data_dir: Path, content: dict[str, Any]) -> None:
    write_private_file(data_dir / NAME, json.dumps(content, indent=2) + "\n")
