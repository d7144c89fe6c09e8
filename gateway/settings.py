"""Settings of a gateway process, read from environment variables. Durations are in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


class InvalidSetting(Exception):
    """An environment variable has an invalid value; the message names it and states what is expected."""


@dataclass(frozen=True)
class Settings:
    """`docs/gateway.md` documents each setting."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8001
    redis_url: str = "redis://127.0.0.1:6379/0"
    drain_seconds: float = 60.0
    queue_length: int = 1000
    queue_bytes: int = 256 * 1024 * 1024
    queue_seconds: float = 60.0
    cold_start_seconds: float = 300.0
    body_bytes: int = 10 * 1024 * 1024
    default_output_tokens: int = 1024
    connect_seconds: float = 5.0
    upstream_seconds: float = 600.0
    client_stall_seconds: float = 120.0
    head_seconds: float = 10.0
    upload_seconds: float = 120.0
    idle_seconds: float = 75.0
    connections: int = 10_000
    held_bytes: int = 1024 * 1024 * 1024
    lame_duck_seconds: float = 0.0
    processes: int = 1
    ready_file: Path | None = None

    @property
    def spool_dir(self) -> Path:
        return self.data_dir / "spool"


def read_settings(variables: Mapping[str, str]) -> Settings:
    """Parse environment variables; empty and missing ones have their default. Raises InvalidSetting."""
    default = Settings(Path(variables.get("CONSOLE_DATA_DIR") or "var").absolute())
    drain = "GATEWAY_DRAIN_SECONDS" if variables.get("GATEWAY_DRAIN_SECONDS") else "DRAIN_SECONDS"
    return Settings(
        data_dir=default.data_dir,
        host=variables.get("CONSOLE_HOST") or default.host,
        port=int(_parse_number(variables, "GATEWAY_PORT", default.port)),
        redis_url=variables.get("REDIS_URL") or default.redis_url,
        drain_seconds=_parse_number(variables, drain, default.drain_seconds),
        queue_length=int(_parse_number(variables, "GATEWAY_QUEUE_LENGTH", default.queue_length)),
        queue_bytes=int(_parse_number(variables, "GATEWAY_QUEUE_BYTES", default.queue_bytes)),
        queue_seconds=_parse_number(variables, "GATEWAY_QUEUE_SECONDS", default.queue_seconds),
        cold_start_seconds=_parse_number(variables, "GATEWAY_COLD_START_SECONDS", default.cold_start_seconds),
        body_bytes=int(_parse_number(variables, "GATEWAY_BODY_BYTES", default.body_bytes)),
        default_output_tokens=int(
            _parse_number(variables, "GATEWAY_DEFAULT_OUTPUT_TOKENS", default.default_output_tokens)
        ),
        connect_seconds=_parse_number(variables, "GATEWAY_CONNECT_SECONDS", default.connect_seconds),
        upstream_seconds=_parse_number(variables, "GATEWAY_UPSTREAM_SECONDS", default.upstream_seconds),
        client_stall_seconds=_parse_number(variables, "GATEWAY_CLIENT_STALL_SECONDS", default.client_stall_seconds),
        head_seconds=_parse_number(variables, "GATEWAY_HEAD_SECONDS", default.head_seconds),
        upload_seconds=_parse_number(variables, "GATEWAY_UPLOAD_SECONDS", default.upload_seconds),
        idle_seconds=_parse_number(variables, "GATEWAY_IDLE_SECONDS", default.idle_seconds),
        connections=int(_parse_number(variables, "GATEWAY_CONNECTIONS", default.connections)),
        held_bytes=int(_parse_number(variables, "GATEWAY_HELD_BYTES", default.held_bytes)),
        processes=int(_parse_number(variables, "GATEWAY_PROCESSES", default.processes)),
        ready_file=Path(variables["CONSOLE_READY_FILE"]) if variables.get("CONSOLE_READY_FILE") else None,
        lame_duck_seconds=_parse_number(variables, "GATEWAY_LAME_DUCK_SECONDS", default.lame_duck_seconds),
    )


def _parse_number(variables: Mapping[str, str], name: str, default: float) -> float:
    text = variables.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e12:
        raise InvalidSetting(f"{name} must be a number that is not negative, not {text!r}.")
    return number
