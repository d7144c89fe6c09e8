"""The two database roles and their grants, in plain SQL without Django.

`console_owner` owns all tables and runs migrations. `console_app` is used at run time; it owns nothing and can neither
update nor delete rows of append-only tables.
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

OWNER, APP = "console_owner", "console_app"
APPEND_ONLY_TABLES = ("billing_usage_event",)
READ_ONLY_TABLES = ("django_migrations", *APPEND_ONLY_TABLES)


def create_roles(
    administrator_url: str, *, owner_password: str, app_password: str, owner_may_create_databases: bool = False
) -> None:
    """Create both roles, or set the passwords of existing ones. The user of the URL must be able to create roles."""
    with psycopg.connect(administrator_url, autocommit=True) as connection:
        for role, password in ((OWNER, owner_password), (APP, app_password)):
            known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).rowcount
            verb = sql.SQL("ALTER" if known else "CREATE")
            statement = sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOCREATEROLE PASSWORD {}")
            connection.execute(statement.format(verb, sql.Identifier(role), sql.Literal(password)))
        if owner_may_create_databases:
            connection.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(sql.Identifier(OWNER)))


def has_database(url: str, name: str) -> bool:
    """Whether the server of the URL, which names another database of it, has this database."""
    with psycopg.connect(url, connect_timeout=5) as connection:
        return bool(connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount)


def create_database(administrator_url: str, name: str) -> None:
    """Create a database owned by `console_owner` unless it exists."""
    if has_database(administrator_url, name):
        return
    with psycopg.connect(administrator_url, autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} OWNER {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(OWNER)))


def grant_schema_to_owner(administrator_url: str) -> None:
    """Allow `console_owner` to create tables in an external database, the one of the URL."""
    with psycopg.connect(administrator_url, autocommit=True) as connection:
        connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(sql.Identifier(OWNER)))


def grant_default_privileges(owner_url: str) -> None:
    """Grant SELECT and INSERT on all future tables, partitions included; to be called before the migrations.

    `grant_table_privileges` grants UPDATE and DELETE afterwards, per table.
    """
    with psycopg.connect(owner_url, autocommit=True) as connection:
        app = sql.Identifier(APP)
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(app))
        for privileges in ("SELECT, INSERT ON TABLES", "USAGE, SELECT ON SEQUENCES"):
            statement = sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {} TO {}")
            connection.execute(statement.format(sql.SQL(privileges), app))


def grant_table_privileges(owner_url: str) -> None:
    """Grant UPDATE and DELETE on all tables except READ_ONLY_TABLES and partitions; to be called after migrations."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relispartition AND relname <> ALL(%s)",
            [list(READ_ONLY_TABLES)],
        ).fetchall()
        tables = sql.SQL(", ").join(sql.Identifier(name) for (name,) in rows)
        connection.execute(sql.SQL("GRANT UPDATE, DELETE ON {} TO {}").format(tables, sql.Identifier(APP)))


def can_create_roles(url: str) -> bool:
    with psycopg.connect(url, connect_timeout=5) as connection:
        query = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
        row = connection.execute(query).fetchone()
        return bool(row and row[0])


def has_application_role(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return bool(connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [APP]).rowcount)


def build_role_url(url: str, role: str, password: str) -> str:
    """Replace the user and password of a database URL."""
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(role)}:{quote(password)}@{address}"))
