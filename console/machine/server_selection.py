"""Selects PostgreSQL and Redis: embedded servers, or the external ones of DATABASE_URL and REDIS_URL."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

from console import env
from console.machine import database_roles, embedded_servers
from console.machine.lock_and_secrets import Secrets, StartupError
from console.machine.process_spec import ProcessSpec

DATABASE = "console"


@dataclass(frozen=True)
class Servers:
    """The URLs of both servers and the processes to start.

    `owner_url` is used for migrations, `database_url` for everything else. `processes` is empty for external servers.
    `administrator_url` is used to create the roles; None if they cannot be created. `notes` are printed at start.
    """

    owner_url: str
    database_url: str
    redis_url: str
    processes: tuple[ProcessSpec, ...]
    administrator_url: str | None
    notes: tuple[str, ...] = ()

    @property
    def has_embedded_postgresql(self) -> bool:
        return any(process.name == "postgresql" for process in self.processes)


async def select_servers(environment: env.Environment, secrets: Secrets) -> Servers:
    """Select both servers and create the files of embedded ones. Raises StartupError, ProcessStartFailed."""
    database, redis = await asyncio.gather(
        asyncio.to_thread(_select_database, environment, secrets),
        asyncio.to_thread(_select_redis, environment, secrets),
    )
    owner_url, database_url, administrator_url, database_processes, notes = database
    redis_url, redis_processes, redis_notes = redis
    processes = (*database_processes, *redis_processes)
    return Servers(owner_url, database_url, redis_url, processes, administrator_url, (*notes, *redis_notes))


# (owner URL, database URL, administrator URL, processes, notes)
Database = tuple[str, str, str | None, tuple[ProcessSpec, ...], tuple[str, ...]]


def _select_database(environment: env.Environment, secrets: Secrets) -> Database:
    if environment.database_url:
        return _select_external_database(environment.database_url, secrets)
    folder = embedded_servers.choose_postgresql_folder(environment.data_dir, secrets.installation_id)
    port = embedded_servers.find_free_port()
    process = embedded_servers.prepare_postgresql(folder, port, secrets.superuser_password)
    inside = folder.is_relative_to(environment.data_dir)
    notes = () if inside else (f"PostgreSQL's files are in {folder}: its user may not enter the data folder.",)
    url = embedded_servers.build_postgres_url(port, password=secrets.superuser_password)
    database = embedded_servers.build_postgres_url(port, database=DATABASE)
    return (
        database_roles.build_role_url(database, database_roles.OWNER, secrets.owner_password),
        database_roles.build_role_url(database, database_roles.APP, secrets.app_password),
        url,
        (process,),
        notes,
    )


def _select_external_database(url: str, secrets: Secrets) -> Database:
    """Use both roles if the user of `url` can create them, else use that user for everything."""
    if reason := embedded_servers.check_postgresql(url, seconds=5):
        raise StartupError(
            f"DATABASE_URL: PostgreSQL at {_get_address(url)} cannot be reached ({reason}). Start it or correct the "
            "address; without DATABASE_URL an embedded PostgreSQL is used."
        )
    if database_roles.can_create_roles(url):
        owner = database_roles.build_role_url(url, database_roles.OWNER, secrets.owner_password)
        return owner, database_roles.build_role_url(url, database_roles.APP, secrets.app_password), url, (), ()
    note = "DATABASE_URL's user may not create roles: it owns the tables and is used for everything."
    return url, url, None, (), (note,)


def _select_redis(
    environment: env.Environment, secrets: Secrets
) -> tuple[str, tuple[ProcessSpec, ...], tuple[str, ...]]:
    """The URL, the processes to start, and the notes."""
    if not environment.redis_url:
        port = embedded_servers.find_free_port()
        process = embedded_servers.prepare_valkey(environment.data_dir / "valkey", port, secrets.valkey_password)
        return embedded_servers.build_redis_url(port, secrets.valkey_password), (process,), ()
    if reason := embedded_servers.check_redis(environment.redis_url, seconds=5):
        raise StartupError(
            f"REDIS_URL: Redis at {_get_address(environment.redis_url)} cannot be reached ({reason}). Start it or "
            "correct the address; without REDIS_URL an embedded Valkey is used."
        )
    return environment.redis_url, (), tuple(embedded_servers.list_redis_risks(environment.redis_url))


def _get_address(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2] or "?"


def prepare_roles(servers: Servers, secrets: Secrets) -> None:
    """Create the roles, the database and the default privileges; the servers must be running."""
    if not servers.administrator_url:
        return
    database_roles.create_roles(
        servers.administrator_url, owner_password=secrets.owner_password, app_password=secrets.app_password
    )
    if servers.has_embedded_postgresql:
        database_roles.create_database(servers.administrator_url, DATABASE)
    else:
        database_roles.grant_schema_to_owner(servers.administrator_url)
    database_roles.grant_default_privileges(servers.owner_url)
