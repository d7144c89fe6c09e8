"""pytest plugin: real PostgreSQL and Valkey for every test that asks for them, started at first use.

The addresses are fixed before Django reads its settings; `DATABASE_URL` and `REDIS_URL` of the outside are ignored,
so a test never touches a running console. xdist workers share the servers of the first process, each with a database
and a Redis database of its own.
"""

import atexit
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from console.machine import database_roles, embedded_servers, process_spec
from console.machine.database_roles import OWNER

if "TESTS_POSTGRES_PORT" not in os.environ:
    os.environ["TESTS_POSTGRES_PORT"] = str(embedded_servers.find_free_port())
    os.environ["TESTS_VALKEY_PORT"] = str(embedded_servers.find_free_port())
    os.environ["TESTS_PASSWORD"] = embedded_servers.generate_password()
    os.environ["TESTS_FOLDER"] = tempfile.mkdtemp(prefix="console-tests-")
    os.chmod(os.environ["TESTS_FOLDER"], 0o755)
    OWNS_SERVERS = True
else:
    OWNS_SERVERS = False

FOLDER, PASSWORD = Path(os.environ["TESTS_FOLDER"]), os.environ["TESTS_PASSWORD"]
POSTGRES_PORT, VALKEY_PORT = int(os.environ["TESTS_POSTGRES_PORT"]), int(os.environ["TESTS_VALKEY_PORT"])
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
REDIS_NUMBER = int(WORKER.removeprefix("gw")) + 1

os.environ["DATABASE_URL"] = embedded_servers.build_postgres_url(POSTGRES_PORT, OWNER, PASSWORD, "console")
os.environ["REDIS_URL"] = embedded_servers.build_redis_url(VALKEY_PORT, PASSWORD, REDIS_NUMBER)
os.environ["CONSOLE_DATA_DIR"] = str(FOLDER / WORKER)
os.environ["CONSOLE_SECRET_KEY"] = "tests-only-" + "x" * 40
SUPERUSER_URL = embedded_servers.build_postgres_url(POSTGRES_PORT, password=PASSWORD)
_started: list[subprocess.Popen[bytes]] = []


def start_servers() -> None:
    """Start both servers once per run; the process that chose the ports owns them."""
    if _started or not OWNS_SERVERS:
        return
    postgresql = embedded_servers.prepare_postgresql(FOLDER / "postgresql", POSTGRES_PORT, PASSWORD, fast=True)
    valkey = embedded_servers.prepare_valkey(FOLDER / "valkey", VALKEY_PORT, PASSWORD, durable=False)
    _started.extend(process_spec.start_process(server) for server in (postgresql, valkey))
    database_roles.create_roles(
        SUPERUSER_URL, owner_password=PASSWORD, app_password=PASSWORD, owner_may_create_databases=True
    )
    atexit.register(stop_servers)


def database_url() -> str:
    """The database of this test process, for other processes."""
    from django.db import connection

    name = str(connection.settings_dict["NAME"])
    return embedded_servers.build_postgres_url(POSTGRES_PORT, OWNER, PASSWORD, name)


def stop_servers() -> None:
    for process in _started:
        process.kill()
        process.wait()
    shutil.rmtree(FOLDER, ignore_errors=True)


def needs_servers(args: list[str]) -> bool:
    """Whether any test outside tests/unit and tests/architecture may run."""
    paths = [arg for arg in args if "tests" in arg and not arg.startswith("-")]
    return not paths or not all("tests/unit" in path or "tests/architecture" in path for path in paths)


def pytest_configure(config: pytest.Config) -> None:
    if OWNS_SERVERS and not config.option.collectonly and needs_servers(config.args):
        start_servers()


@pytest.fixture
def redis_url() -> str:
    """A Redis database of this test process, emptied first."""
    import redis

    redis.Redis.from_url(os.environ["REDIS_URL"]).flushdb()
    return os.environ["REDIS_URL"]
