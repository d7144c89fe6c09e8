"""The data folder of one console: its lock, the secrets made for it, the credentials of its demo data.

up.lock         flock of the running `up`, with its pid
secrets.json    what was generated at first start, mode 0600
demo.json       e-mails, passwords and API keys of the demo data, mode 0600; {"removed": true} once it was removed
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from console.machine.embedded import make_folder, new_password, write_private


class Unusable(Exception):
    """The folder cannot be used; the message says why and what to do, in one line."""


@dataclass(frozen=True)
class Secrets:
    """Made once per data folder. Passwords are those of the embedded servers and of the two database roles."""

    installation_id: str
    secret_key: str
    encryption_key: str
    superuser_password: str
    owner_password: str
    app_password: str
    valkey_password: str


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; raises Unusable when it cannot be written or another console has it."""
    try:
        make_folder(folder, 0o711 if os.geteuid() == 0 else 0o700)
        file = os.fdopen(os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
    except OSError as error:
        raise Unusable(
            f"The data folder {folder} cannot be written ({error.strerror}). Choose another with CONSOLE_DATA_DIR."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unusable(
                f"Another console runs on {folder} (process {file.read().strip()}). Stop it, or give this one its own "
                "CONSOLE_DATA_DIR, CONSOLE_PORT, GATEWAY_PORT and METRICS_PORT."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def generated_secrets(folder: Path) -> Secrets:
    """The secrets of this folder, made at first use."""
    path = folder / "secrets.json"
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    made = {one.name: known.get(one.name) or new_password() for one in fields(Secrets)}
    if not known.get("encryption_key"):
        made["encryption_key"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        made["secret_key"] = secrets.token_urlsafe(50)
    result = Secrets(**made)
    if asdict(result) != known:
        write_private(path, json.dumps(asdict(result), indent=2) + "\n")
    return result


def read_demo(folder: Path) -> dict[str, Any]:
    """The demo credentials, or an empty dict before there are any."""
    path = folder / "demo.json"
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def write_demo(folder: Path, content: dict[str, Any]) -> None:
    write_private(folder / "demo.json", json.dumps(content, indent=2) + "\n")
