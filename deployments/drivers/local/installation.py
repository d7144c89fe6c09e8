"""The installation that a folder of replicas belongs to: an id in the file `.installation`, written once.

A folder without the expected id may be an empty mount point, or the folder of another console. Nothing follows from
what it contains or lacks.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from deployments.codes import ClusterProblem
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


@dataclass(frozen=True)
class Problem:
    """Why a folder cannot be used; `clause` goes on after "data folder"."""

    code: ClusterProblem
    clause: str


def find_problem(folder: Path, installation_id: str) -> Problem | None:
    """Why the folder cannot be used by this installation; None if it can."""
    try:
        found = read(folder)
    except FileNotFoundError:
        return Problem(ClusterProblem.DATA_FOLDER_MISSING, "is missing")
    except OSError as error:
        return Problem(ClusterProblem.DATA_FOLDER_UNREADABLE, f"cannot be read ({error.strerror})")
    if not found:
        return Problem(ClusterProblem.DATA_FOLDER_UNMARKED, "belongs to no installation yet")
    if found != installation_id:
        return Problem(ClusterProblem.DATA_FOLDER_FOREIGN, f"belongs to another installation, {found}")
    return None


def has_replicas(folder: Path) -> bool:
    """Whether a replica has a record in it that was not forgotten."""
    return any(folder.glob("*/intent.json"))
