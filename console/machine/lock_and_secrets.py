"""The lock and the generated secrets of a data folder.

up.lock         locked with flock by the running `manage.py up`; contains its process id
secrets.json    generated at the first start, mode 0600
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

from console.machine.embedded_servers import generate_password
from console.machine.private_files import create_folder, write_private_file


class StartupError(Exception):
    """The console cannot start; the message states the reason and the remedy in one line."""


@dataclass(frozen=True)
class Secrets:
    """Generated once per data folder. The passwords are those of the embedded servers and of the two database roles."""

    installation_id: str
    secret_key: str
    encryption_key: str
    superuser_password: str
    owner_password: str
    app_password: str
    valkey_password: str


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock the folder for this process. Raises StartupError if it is not writable or already locked."""
    try:
        create_folder(folder, 0o711 if os.geteuid() == 0 else 0o700)
        file = os.fdopen(os.open(folder / "up.lock", os.O_RDWR | os.O_CREAT, 0o600), "r+")
    except OSError as error:
        raise StartupError(
            f"The data folder {folder} cannot be written ({error.strerror}). Choose another with CONSOLE_DATA_DIR."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartupError(
                f"Another console runs on {folder} (process {file.read().strip()}). Stop it, or give this one its own "
                "CONSOLE_DATA_DIR, CONSOLE_PORT, GATEWAY_PORT and METRICS_PORT."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def get_or_create_secrets(folder: Path) -> Secrets:
    """Read the secrets of the folder; missing ones are generated and stored."""
    path = folder / "secrets.json"
    stored: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    values = {field.name: stored.get(field.name) or generate_password() for field in fields(Secrets)}
    if not stored.get("encryption_key"):
        values["encryption_key"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        values["secret_key"] = secrets.token_urlsafe(50)
    result = Secrets(**values)
    if asdict(result) != stored:
        write_private_file(path, json.dumps(asdict(result), indent=2) + "\n")
    return result
