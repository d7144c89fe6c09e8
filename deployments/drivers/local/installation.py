"""The installation that a folder of replicas belongs to: an id in the file `.installation`, written once.

A folder without the expected id may be an empty mount point, or the folder of another console. Nothing follows from
what it contains or lacks.
"""

from __future__ import annotations

import os
from pathlib import Path

from deployments.drivers.local.replica_folder import sync_folder

NAME = ".installation"


def read(folder: Path) -> str:
    """The id; empty when there is none. Raises `OSError`, also for a folder that is missing."""
    try:
        return (folder / NAME).read_text().strip()
    except FileNotFoundError:
        folder.stat()
        return ""


def write(folder: Path, installation_id: str) -> None:
    """Create the folder if it is missing, and make it this installation's, durably. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{NAME}.{os.getpid()}"
    with draft.open("w") as file:
        file.write(f"{installation_id}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / NAME)
    sync_folder(folder)


def find_problem(folder: Path, installation_id: str) -> str:
    """Why the folder cannot be used by this installation, as a clause about "data folder"; empty if it can."""
    try:
        found = read(folder)
    except FileNotFoundError:
        return "data folder is missing"
    except OSError as error:
        return f"data folder cannot be read ({error.strerror})"
    if not found:
        return "data folder belongs to no installation yet"
    return "" if found == installation_id else f"data folder belongs to another installation, {found}"


def has_replicas(folder: Path) -> bool:
    """Whether a replica has a record in it that was not forgotten."""
    return any(folder.glob("*/intent.json"))
