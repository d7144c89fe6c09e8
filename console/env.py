"""All settings of the console, read once from environment variables and a `.env` file next to manage.py.

docs/operations.md documents each variable. Environment variables take precedence over the file. Folders are absolute
paths, durations are in seconds. Invalid values raise `InvalidEnvironment` with one line that names the variable.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent


# Deadlines of the start phases, of failing readiness probes, and of draining.
LIFECYCLE_SECONDS = {
    "PHASE_DEADLINE_REQUESTING_GPU_SECONDS": 600,
    "PHASE_DEADLINE_DOWNLOADING_MODEL_SECONDS": 3600,
    "PHASE_DEADLINE_ENGINE_INITIALIZING_SECONDS": 600,
    "UNHEALTHY_DEADLINE_SECONDS": 60,
    "DRAIN_SECONDS": 60,
}
# Lowest expected rates of loading model weights. Deadlines are extended by size / rate; a rate of 0 adds nothing.
LIFECYCLE_RATES = {
    "DOWNLOAD_FLOOR_MIB_PER_SECOND": 20,
    "INITIALIZE_FLOOR_MIB_PER_SECOND": 40,
}
# Target load in percent of the max concurrency, averaging window, queueing time that counts as a backlog, sample
# interval.
AUTOSCALER = {
    "AUTOSCALER_TARGET_PERCENT": 70,
    "AUTOSCALER_MEAN_SECONDS": 60,
    "AUTOSCALER_QUEUE_WAIT_SECONDS": 2,
    "AUTOSCALER_SAMPLE_SECONDS": 2,
}


# How long ended replicas, their kept logs, events, and answers to an Idempotency-Key are kept; at least a day.
RETENTION_DAYS = {
    "ENDED_REPLICA_DAYS": 35,
    "REPLICA_LOG_DAYS": 30,
    "EVENT_DAYS": 400,
    "IDEMPOTENCY_RECORD_DAYS": 1,
}
LOOPBACK = "127.0.0.1,::1"
# Ports of mail servers by scheme of EMAIL_URL: without encryption, encrypted by STARTTLS, encrypted from the start.
MAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}


class InvalidEnvironment(Exception):
    """A variable has an invalid value; the message names it and states what is expected."""


@dataclass(frozen=True)
class MailServer:
    """`scheme` is a key of MAIL_PORTS; without `user` nobody signs in."""

    scheme: str
    host: str
    port: int
    user: str
    password: str


@dataclass(frozen=True)
class Environment:
    data_dir: Path
    host: str
    console_port: int
    gateway_port: int
    metrics_port: int
    gateway_processes: int
    database_url: str
    redis_url: str
    secret_key: str
    encryption_keys: str
    demo: bool
    scale_down_delay_floor_seconds: int
    debug: bool
    allowed_hosts: tuple[str, ...]
    https: bool
    trusted_proxies: tuple[str, ...]
    mail_server: MailServer | None
    from_email: str
    lifecycle_seconds: Mapping[str, int]
    lifecycle_rates: Mapping[str, int]
    autoscaler: Mapping[str, int]
    retention_days: Mapping[str, int]

    @property
    def reachable_host(self) -> str:
        """The address for connections from this machine; a wildcard address cannot be connected to."""
        return "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104

    @property
    def console_url(self) -> str:
        return f"http://{self.reachable_host}:{self.console_port}"

    @property
    def gateway_url(self) -> str:
        return f"http://{self.reachable_host}:{self.gateway_port}"

    @property
    def metrics_url(self) -> str:
        return f"http://{self.reachable_host}:{self.metrics_port}/metrics"


def read(variables: Mapping[str, str]) -> Environment:
    """Parse variables. Raises InvalidEnvironment."""
    data_dir = Path(variables.get("CONSOLE_DATA_DIR") or "var").expanduser()
    return Environment(
        data_dir=data_dir if data_dir.is_absolute() else ROOT / data_dir,
        host=variables.get("CONSOLE_HOST") or "127.0.0.1",
        **_parse_ports(variables),
        gateway_processes=_parse_gateway_processes(variables),
        database_url=_parse_url(variables, "DATABASE_URL", "postgresql://", "postgres://"),
        redis_url=_parse_url(variables, "REDIS_URL", "redis://", "rediss://"),
        secret_key=variables.get("CONSOLE_SECRET_KEY", ""),
        encryption_keys=_parse_encryption_keys(variables, "CONSOLE_ENCRYPTION_KEYS"),
        demo=_parse_switch(variables, "CONSOLE_DEMO", default=True),
        scale_down_delay_floor_seconds=_parse_integer(variables, "SCALE_DOWN_DELAY_FLOOR_SECONDS", 300),
        debug=_parse_switch(variables, "CONSOLE_DEBUG", default=False),
        allowed_hosts=tuple(filter(None, variables.get("CONSOLE_ALLOWED_HOSTS", "").split(","))),
        https=_parse_switch(variables, "CONSOLE_HTTPS", default=False),
        trusted_proxies=_parse_networks(variables, "TRUSTED_PROXIES", LOOPBACK),
        mail_server=_parse_mail_server(variables, "EMAIL_URL"),
        from_email=_parse_from_email(variables),
        lifecycle_seconds={
            name: _parse_integer(variables, name, default) for name, default in LIFECYCLE_SECONDS.items()
        },
        lifecycle_rates={name: _parse_integer(variables, name, default) for name, default in LIFECYCLE_RATES.items()},
        autoscaler=_parse_autoscaler(variables),
        retention_days={name: _parse_days(variables, name, default) for name, default in RETENTION_DAYS.items()},
    )


def parse_dotenv(text: str) -> dict[str, str]:
    """Parse a `.env` file: `NAME=value` lines, optionally after `export` and with quotes; `#` comments."""
    lines = (line.strip().removeprefix("export ") for line in text.splitlines())
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


def merge_dotenv(variables: Mapping[str, str]) -> dict[str, str]:
    """Add the variables of the `.env` file that are not in `variables`."""
    path = ROOT / ".env"
    return {**(parse_dotenv(path.read_text()) if path.exists() else {}), **variables}


def read_with_dotenv(variables: Mapping[str, str]) -> Environment:
    """Parse variables and the `.env` file. Raises InvalidEnvironment."""
    return read(merge_dotenv(variables))


def _parse_integer(variables: Mapping[str, str], name: str, default: int) -> int:
    text = variables.get(name) or str(default)
    if not text.isdecimal():
        raise InvalidEnvironment(f"{name} must be a whole number, not {text!r}.")
    return int(text)


def _parse_days(variables: Mapping[str, str], name: str, default: int) -> int:
    days = _parse_integer(variables, name, default)
    if not 1 <= days <= 36_500:
        raise InvalidEnvironment(f"{name} must be between 1 and 36500, not {days}.")
    return days


def _parse_autoscaler(variables: Mapping[str, str]) -> dict[str, int]:
    values = {name: _parse_integer(variables, name, default) for name, default in AUTOSCALER.items()}
    if not 1 <= (percent := values["AUTOSCALER_TARGET_PERCENT"]) <= 100:
        raise InvalidEnvironment(f"AUTOSCALER_TARGET_PERCENT must be between 1 and 100, not {percent}.")
    if values["AUTOSCALER_SAMPLE_SECONDS"] < 1:
        raise InvalidEnvironment("AUTOSCALER_SAMPLE_SECONDS must be 1 or more.")
    return values


def _parse_switch(variables: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = variables.get(name) or str(int(default))
    if text not in {"0", "1"}:
        raise InvalidEnvironment(f"{name} must be 0 or 1, not {text!r}.")
    return text == "1"


def _parse_encryption_keys(variables: Mapping[str, str], name: str) -> str:
    """Validate comma-separated keys of 32 bytes in base64; error messages never contain a key."""
    keys = [key.strip() for key in variables.get(name, "").split(",") if key.strip()]
    for position, key in enumerate(keys, 1):
        if not _is_encryption_key(key):
            raise InvalidEnvironment(
                f"{name} must be keys of 32 bytes in base64, separated by commas; key {position} is not one. "
                "Make one with: openssl rand -base64 32"
            )
    return ",".join(keys)


def _is_encryption_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, altchars=b"-_" if set(key) & set("-_") else b"+/", validate=True)) == 32
    except ValueError:
        return False


def _parse_url(variables: Mapping[str, str], name: str, *schemes: str) -> str:
    text = variables.get(name, "")
    if text and not text.startswith(schemes):
        raise InvalidEnvironment(f"{name} must begin with {schemes[0]}, not {text.split(':')[0]!r}.")
    return text


def _parse_networks(variables: Mapping[str, str], name: str, default: str) -> tuple[str, ...]:
    networks = tuple(filter(None, map(str.strip, (variables.get(name) or default).split(","))))
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise InvalidEnvironment(
                f"{name} must be addresses or networks such as 10.0.0.0/8, separated by commas, not {network!r}."
            ) from None
    return networks


def _parse_mail_server(variables: Mapping[str, str], name: str) -> MailServer | None:
    """Parse `smtp+tls://user:password@host:587`; error messages never contain the password."""
    if not (text := variables.get(name, "")):
        return None
    expected = f"{name} must be smtp://, smtp+tls:// or smtps://, with user:password@ if needed and host[:port]"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise InvalidEnvironment(f"{expected}.") from None
    if parts.scheme not in MAIL_PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise InvalidEnvironment(f"{expected}.")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return MailServer(parts.scheme, parts.hostname, port or MAIL_PORTS[parts.scheme], user, password)


def _parse_from_email(variables: Mapping[str, str]) -> str:
    sender = variables.get("DEFAULT_FROM_EMAIL", "")
    if variables.get("EMAIL_URL") and "@" not in sender:
        raise InvalidEnvironment("DEFAULT_FROM_EMAIL must be the sender's e-mail address when EMAIL_URL is set.")
    return sender or "Models Console <console@localhost>"


def _parse_ports(variables: Mapping[str, str]) -> dict[str, int]:
    defaults = {"CONSOLE_PORT": 8000, "GATEWAY_PORT": 8001, "METRICS_PORT": 8002}
    ports = {name: _parse_port(variables, name, default) for name, default in defaults.items()}
    for name, other in combinations(ports, 2):
        if ports[name] == ports[other]:
            raise InvalidEnvironment(f"{name} and {other} are both {ports[name]}; each needs a port of its own.")
    return {name.lower(): port for name, port in ports.items()}


def _parse_gateway_processes(variables: Mapping[str, str]) -> int:
    count = _parse_integer(variables, "GATEWAY_PROCESSES", 1)
    if not 1 <= count <= 64:
        raise InvalidEnvironment(f"GATEWAY_PROCESSES must be between 1 and 64, not {count}.")
    return count


def _parse_port(variables: Mapping[str, str], name: str, default: int) -> int:
    port = _parse_integer(variables, name, default)
    if not 1 <= port <= 65535:
        raise InvalidEnvironment(f"{name} must be a port between 1 and 65535, not {port}.")
    return port
