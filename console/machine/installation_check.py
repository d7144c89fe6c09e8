"""Compares the installation of the database with that of the data folder, before `up` changes either of them.

`up` sets the passwords of the database roles, so a second console that starts on a database of another data folder
would lock the first one out before anything else happens.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from console.machine import database_roles
from console.machine.lock_and_secrets import StartupError
from console.machine.server_selection import DATABASE, Servers
from deployments.drivers.local import installation

CLUSTER = "local"
ADOPT = "`manage.py up --adopt` goes on with this folder: replicas of the former one are unknown until an operator "
ADOPT += "declares them gone."


def check_installation(servers: Servers, data_dir: Path) -> None:
    """The servers must be running. Raises StartupError when the folder is not the one of the database."""
    folder = data_dir / "clusters" / CLUSTER
    installation_id = _read_installation(servers)
    if installation_id is None:
        if installation.has_replicas(folder):
            raise StartupError(
                f"The data folder {data_dir} holds replicas that this database does not know. Start it with the "
                f"database that it had, or choose another CONSOLE_DATA_DIR. {ADOPT}"
            )
    elif problem := installation.find_problem(folder, installation_id):
        raise StartupError(
            f"The database belongs to an installation with another data folder: in {data_dir} its data folder "
            f"{problem.clause}. Start it with CONSOLE_DATA_DIR set to the folder that it had. {ADOPT}"
        )


def _read_installation(servers: Servers) -> str | None:
    """The id in the cluster's row; None before the first start, when the database or its tables are absent. Empty when
    an administrator without access to the tables cannot sign in as their owner either: then another folder has set the
    owner's password."""
    own = servers.administrator_url if servers.has_embedded_postgresql else None  # an external one has its database
    if own and not database_roles.has_database(own, DATABASE):
        return None
    try:
        return _query_installation(_build_inspection_url(servers))
    except psycopg.errors.InsufficientPrivilege:
        try:
            return _query_installation(servers.owner_url)
        except psycopg.OperationalError:
            return ""


def _query_installation(url: str) -> str | None:
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            query = "SELECT installation_id::text FROM deployments_cluster WHERE name = %s"
            row = connection.execute(query, [CLUSTER]).fetchone()
            return row[0] if row else None
    except psycopg.errors.UndefinedTable:
        return None


def _build_inspection_url(servers: Servers) -> str:
    """The most powerful user there is, in the console's own database."""
    if not servers.administrator_url or not servers.has_embedded_postgresql:
        return servers.administrator_url or servers.owner_url
    return urlunsplit(urlsplit(servers.administrator_url)._replace(path=f"/{DATABASE}"))
