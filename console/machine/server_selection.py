"""PostgreSQL and Redis for one console: the embedded ones, or those that DATABASE_URL and REDIS_URL name."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

from console import env
from console.machine import embedded, roles
from console.machine.datafolder import Secrets, Unusable
from console.machine.program import Program

DATABASE = "console"


@dataclass(frozen=True)
class Servers:
    """Where they are. `owner_url` is for migrations, `database_url` for everything else; `programs` are to be run
    (empty for external servers); `administrator_url` may create roles, None where nothing is to be prepared."""

    owner_url: str
    database_url: str
    redis_url: str
    programs: tuple[Program, ...]
    administrator_url: str | None
    notes: tuple[str, ...] = ()


async def choose(environment: env.Environment, secrets: Secrets) -> Servers:
    """Decide, and put the embedded servers' files in place. Raises Unusable, ServerFailed."""
    database, valkey = await asyncio.gather(
        asyncio.to_thread(_database, environment, secrets), asyncio.to_thread(_redis, environment, secrets)
    )
    owner_url, database_url, administrator_url, programs, notes = database
    redis_url, valkeys = valkey
    return Servers(owner_url, database_url, redis_url, (*programs, *valkeys), administrator_url, notes)


Database = tuple[str, str, str | None, tuple[Program, ...], tuple[str, ...]]


def _database(environment: env.Environment, secrets: Secrets) -> Database:
    if environment.database_url:
        return _external_database(environment.database_url, secrets)
    folder = embedded.postgresql_folder(environment.data_dir, secrets.installation_id)
    port = embedded.free_port()
    program = embedded.postgresql(folder, port, secrets.superuser_password)
    inside = folder.is_relative_to(environment.data_dir)
    notes = () if inside else (f"PostgreSQL's files are in {folder}: its user may not enter the data folder.",)
    url = embedded.postgres_url(port, password=secrets.superuser_password)
    database = embedded.postgres_url(port, database=DATABASE)
    return (
        roles.as_role(database, roles.OWNER, secrets.owner_password),
        roles.as_role(database, roles.APP, secrets.app_password),
        url,
        (program,),
        notes,
    )


def _external_database(url: str, secrets: Secrets) -> Database:
    """With a user who may create roles, both are made there; else that user is all there is."""
    if reason := embedded.accepts_postgresql(url, seconds=5):
        raise Unusable(
            f"DATABASE_URL: PostgreSQL at {_where(url)} cannot be reached ({reason}). Start it or correct the address; "
            "without DATABASE_URL an embedded PostgreSQL is used."
        )
    if roles.may_create_roles(url):
        owner = roles.as_role(url, roles.OWNER, secrets.owner_password)
        return owner, roles.as_role(url, roles.APP, secrets.app_password), url, (), ()
    note = "DATABASE_URL's user may not create roles: it owns the tables and is used for everything."
    return url, url, None, (), (note,)


def _redis(environment: env.Environment, secrets: Secrets) -> tuple[str, tuple[Program, ...]]:
    if not environment.redis_url:
        port = embedded.free_port()
        program = embedded.valkey(environment.data_dir / "valkey", port, secrets.valkey_password)
        return embedded.redis_url(port, secrets.valkey_password), (program,)
    if reason := embedded.accepts_redis(environment.redis_url, seconds=5):
        raise Unusable(
            f"REDIS_URL: Redis at {_where(environment.redis_url)} cannot be reached ({reason}). Start it or correct "
            "the address; without REDIS_URL an embedded Valkey is used."
        )
    return environment.redis_url, ()


def _where(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2] or "?"


def prepare_roles(servers: Servers, secrets: Secrets) -> None:
    """Both roles, the database, and what the application may do with tables to come. The servers answer."""
    if not servers.administrator_url:
        return
    roles.create(servers.administrator_url, owner_password=secrets.owner_password, app_password=secrets.app_password)
    if servers.programs and servers.programs[0].name == "postgresql":
        roles.create_database(servers.administrator_url, DATABASE)
    else:
        roles.open_for_owner(servers.administrator_url)
    roles.prepare_grants(servers.owner_url)
