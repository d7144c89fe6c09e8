"""The two database roles: `console_owner` owns every table and runs migrations; `console_app` is the product at run
time, owns nothing, and may neither change nor remove rows of what is append-only. No Django: plain SQL."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

OWNER, APP = "console_owner", "console_app"
APPEND_ONLY = ("billing_usage_event",)
NOT_THE_APPLICATIONS = ("django_migrations", *APPEND_ONLY)


def create(
    administrator_url: str, *, owner_password: str, app_password: str, owner_may_create_databases: bool = False
) -> None:
    """Make both roles, or give them these passwords. The URL's user may create roles."""
    with psycopg.connect(administrator_url, autocommit=True) as connection:
        for role, password in ((OWNER, owner_password), (APP, app_password)):
            known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).rowcount
            verb = sql.SQL("ALTER" if known else "CREATE")
            statement = sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOCREATEROLE PASSWORD {}")
            connection.execute(statement.format(verb, sql.Identifier(role), sql.Literal(password)))
        if owner_may_create_databases:
            connection.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(sql.Identifier(OWNER)))


def create_database(administrator_url: str, name: str) -> None:
    """Make the database of `console_owner` unless it is there."""
    with psycopg.connect(administrator_url, autocommit=True) as connection:
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount:
            statement = sql.SQL("CREATE DATABASE {} OWNER {}")
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(OWNER)))


def open_for_owner(administrator_url: str) -> None:
    """Let `console_owner` make its tables in the database that the URL names (somebody else's database)."""
    with psycopg.connect(administrator_url, autocommit=True) as connection:
        connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(sql.Identifier(OWNER)))


def prepare_grants(owner_url: str) -> None:
    """Before migrations: what the owner will make may be read and added to by the application, partitions included.

    The right to change rows comes after the migrations, table by table (`grant`).
    """
    with psycopg.connect(owner_url, autocommit=True) as connection:
        app = sql.Identifier(APP)
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(app))
        for privileges in ("SELECT, INSERT ON TABLES", "USAGE, SELECT ON SEQUENCES"):
            statement = sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {} TO {}")
            connection.execute(statement.format(sql.SQL(privileges), app))


def grant(owner_url: str) -> None:
    """After migrations: the application may change rows of every table but the append-only ones and partitions."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition AND relname <> ALL(%s)",
            [list(NOT_THE_APPLICATIONS)],
        ).fetchall()
        tables = sql.SQL(", ").join(sql.Identifier(name) for (name,) in rows)
        connection.execute(sql.SQL("GRANT UPDATE, DELETE ON {} TO {}").format(tables, sql.Identifier(APP)))


def may_create_roles(url: str) -> bool:
    with psycopg.connect(url, connect_timeout=5) as connection:
        query = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
        row = connection.execute(query).fetchone()
        return bool(row and row[0])


def exist(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return bool(connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [APP]).rowcount)


def as_role(url: str, role: str, password: str) -> str:
    """The same server and database, entered as another role."""
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(role)}:{quote(password)}@{where}"))
