"""The address of Redis: what REDIS_URL says. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit


class InvalidAddress(ValueError):
    """A URL that names no Redis; the message says what is expected, without the password."""


@dataclass(frozen=True)
class StoreAddress:
    """Where Redis is and how to sign in. `path` is a Unix socket; without it `host` and `port` apply."""

    host: str = "localhost"
    port: int = 6379
    path: str = ""
    database: int = 0
    username: str = ""
    password: str = ""
    is_encrypted: bool = False
    verifies_certificate: bool = True
    ca_file: str = ""

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


def parse_address(url: str) -> StoreAddress:
    """Parse `redis://`, `rediss://` and `unix://` URLs as redis-py does. Raises InvalidAddress."""
    try:
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        is_socket = parts.scheme == "unix"
        number = options.get("db") or ("" if is_socket else parts.path.strip("/"))
        if parts.scheme not in {"redis", "rediss", "unix"} or (is_socket and not parts.path):
            raise ValueError
        return StoreAddress(
            host=unquote(parts.hostname or "localhost"),
            port=parts.port or 6379,
            path=unquote(parts.path) if is_socket else "",
            database=int(number or 0),
            username=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            is_encrypted=parts.scheme == "rediss",
            verifies_certificate=options.get("ssl_cert_reqs", "required") != "none",
            ca_file=options.get("ssl_ca_certs", ""),
        )
    except ValueError:
        raise InvalidAddress(
            "REDIS_URL must be redis://[user:password@]host[:port][/database], the same with rediss://, or "
            "unix://[user:password@]/path[?db=database]."
        ) from None
