"""Commands in the Redis serialization protocol (RESP). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Argument = str | bytes | int | float


def encode_command(arguments: Sequence[Argument]) -> bytes:
    return b"*%d\r\n" % len(arguments) + encode_arguments(arguments)


def encode_arguments(arguments: Iterable[Argument]) -> bytes:
    """Encode arguments that follow others of the same command."""
    parts = []
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
