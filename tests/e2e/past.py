"""Moves everything that a stopped console has stored into the past, as if it had been stopped so long ago: times in
PostgreSQL (columns and JSON), in Valkey, and in the files of replicas."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql

from console.machine import embedded_servers, lock_and_secrets, process_spec
from gateway import contract
from tests.e2e.stack import Stack

STAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:\+00:00|Z)")
MILLISECONDS = re.compile(r"(?<![\w.])1[789]\d{11}(?![\w.])")  # of the Unix epoch, in this decade and the next ones
COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attnum > 0 AND NOT a.attisdropped
  AND format_type(a.atttypid, a.atttypmod) IN ('timestamp with time zone', 'jsonb')
ORDER BY c.relname, a.attname
"""


def move(stack: Stack, by: timedelta) -> None:
    """`stack` must not be running."""
    secrets = lock_and_secrets.get_or_create_secrets(stack.folder)
    with _postgresql(stack.folder, secrets) as connection:
        _move_rows(connection, by)
    with _valkey(stack.folder, secrets) as client:
        _move_keys(client, by)
    for path in (stack.folder / "clusters").rglob("*"):
        if path.is_file():
            _move_file(path, by)


@contextmanager
def _running(server: process_spec.ProcessSpec) -> Iterator[subprocess.Popen[bytes]]:
    process = process_spec.start_process(server)
    yield process
    process.send_signal(server.stop_signal)
    process.wait(20)


@contextmanager
def _postgresql(folder: Path, secrets: lock_and_secrets.Secrets) -> Iterator[psycopg.Connection[Any]]:
    """As superuser, without triggers: what is append-only must move too."""
    port = embedded_servers.find_free_port()
    files = embedded_servers.choose_postgresql_folder(folder, secrets.installation_id)
    server = embedded_servers.prepare_postgresql(files, port, secrets.superuser_password)
    assert server.stop_signal == signal.SIGINT
    url = embedded_servers.build_postgres_url(port, password=secrets.superuser_password, database="console")
    with _running(server), psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


@contextmanager
def _valkey(folder: Path, secrets: lock_and_secrets.Secrets) -> Iterator[redis.Redis]:
    port = embedded_servers.find_free_port()
    server = embedded_servers.prepare_valkey(folder / "valkey", port, secrets.valkey_password)
    with (
        _running(server),
        redis.Redis.from_url(embedded_servers.build_redis_url(port, secrets.valkey_password)) as client,
    ):
        yield client


def _move_rows(connection: psycopg.Connection[Any], by: timedelta) -> None:
    columns: dict[str, dict[str, str]] = {}
    for table, column, kind in connection.execute(COLUMNS).fetchall():
        columns.setdefault(table, {})[column] = kind
    days = "SELECT DISTINCT (admitted_at - %s)::date FROM billing_usage_event"
    for (day,) in connection.execute(days, [by]).fetchall():
        connection.execute("SELECT billing_ensure_usage_partition(%s)", [day])
    for table, kinds in columns.items():
        if times := [name for name, kind in kinds.items() if kind != "jsonb"]:
            sets = sql.SQL(", ").join(sql.SQL("{0} = {0} - {1}").format(sql.Identifier(name), by) for name in times)
            connection.execute(sql.SQL("UPDATE {} SET {}").format(sql.Identifier(table), sets))
        for name in (name for name, kind in kinds.items() if kind == "jsonb"):
            _move_json(connection, sql.Identifier(table), sql.Identifier(name), by)


def _move_json(
    connection: psycopg.Connection[Any], table: sql.Identifier, column: sql.Identifier, by: timedelta
) -> None:
    for place, text in connection.execute(sql.SQL("SELECT ctid, {}::text FROM {}").format(column, table)).fetchall():
        if text and (moved := _moved(text, by)) != text:
            update = sql.SQL("UPDATE {} SET {} = %s::jsonb WHERE ctid = %s").format(table, column)
            connection.execute(update, [moved, place])


def _move_keys(client: redis.Redis, by: timedelta) -> None:
    for key in client.keys(contract.load_key("*").replace("{", "\\{")):
        for name in (contract.ARRIVED, contract.WAKE):
            if client.hexists(key, name):
                client.hincrby(key, name, -round(by.total_seconds() * 1000))
    for gateway_id in client.zrange(contract.GATEWAYS, 0, -1):
        client.zincrby(contract.GATEWAYS, -by.total_seconds(), gateway_id)


def _move_file(path: Path, by: timedelta) -> None:
    text, status = path.read_text(errors="surrogateescape"), path.stat()
    if (moved := _moved(text, by)) != text:
        path.write_text(moved, errors="surrogateescape")
    seconds = by.total_seconds()
    os.utime(path, (status.st_atime - seconds, status.st_mtime - seconds))


def _moved(text: str, by: timedelta) -> str:
    """Every time in it, in the form in which it stands there."""
    text = STAMP.sub(lambda found: (datetime.fromisoformat(found[0]) - by).isoformat(), text)
    return MILLISECONDS.sub(lambda found: str(int(found[0]) - round(by.total_seconds() * 1000)), text)
