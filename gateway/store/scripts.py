"""The Lua scripts of the gateway, read once at import."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from gateway.store.resp import Argument, encode_arguments

FOLDER = Path(__file__).parent.parent / "scripts"


@dataclass(frozen=True)
class Script:
    """A Lua script; `sha` is what Redis calls it once it is loaded."""

    source: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.source.encode()).hexdigest())  # noqa: S324 - Redis's own name

    def encode_call(self, keys: list[str], arguments: list[Argument]) -> bytes:
        """Encode the EVALSHA of one call."""
        count = 3 + len(keys) + len(arguments)
        head = b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % (count, self.sha.encode())
        return head + encode_arguments((len(keys), *keys, *arguments))


def _read(*names: str) -> Script:
    """One script of several files, in this order; local functions of the first ones are known in the last one."""
    return Script("\n".join((FOLDER / f"{name}.lua").read_text() for name in names))


ADMIT = _read("counters", "admit")
SETTLE = _read("counters", "settle")
GIVE_BACK = _read("counters", "give_back")
RESTORE_REQUEST = _read("restore_request")
HEARTBEAT = _read("heartbeat")
REAP = _read("counters", "reap")
REPORT_WAITING = _read("report_waiting")
ALL = (ADMIT, SETTLE, GIVE_BACK, RESTORE_REQUEST, HEARTBEAT, REAP, REPORT_WAITING)
