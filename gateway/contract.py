"""What the console and the gateway agree on: records, their JSON, and the names of the Redis keys. Pure.

Nothing else is shared between the two sides. Ids are strings, times are seconds since the epoch (float, Redis or
provider time), tokens are integers.

Redis keys
    mc:keys                     hash  key_hash → KeyRecord                 published by accounts/key_publication.py
    mc:routes                   hash  deployment_id → RouteRecord          published by deployments/publish.py
    mc:generation               int   raised at every published change; gateways poll it; missing: keep what is known
    mc:d:{id}:replicas          hash  replica_id → ReplicaRecord           who may be chosen, read by `admit`
    mc:d:{id}:slots             hash  "replica_id gateway_id" → in-flight  counters of `admit` and `settle`
    mc:d:{id}:load              hash  what the autoscaler and sleep go by, all written by scripts:
                                      at → Redis time in ms of the last arrival (`admit` at each try)
                                      asleep → "1" while nothing may be chosen (`sleep` flips, the console mirrors)
                                      wake → Redis time in ms of the first arrival since then that found nothing to
                                      serve it (`admit`; `sleep` removes it)
                                      "waiting gateway_id" → Waiting: how many that gateway holds, absolute
    mc:gateways                 zset  gateway_id → last heartbeat          every 5 s; dead after GATEWAY_DEAD_SECONDS
    mc:gateway:{id}:requests    set   request ids admitted by that gateway, for the reaper
    mc:gateway:{id}:waiting     set   deployment ids in whose load hash that gateway has a field, for the reaper
    mc:req:{request_id}         str   Admitted; written by `admit`, removed by `settle`
    mc:usage                    stream {"event": UsageEvent}               trimmed below the committed position only
    mc:hints                    list  Hint: "look at this deployment"      read by the watch process
    mc:epoch                    str   random, set if absent; a change means that Redis restarted empty
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from dataclasses import dataclass, field
from typing import Any, Self

KEYS = "mc:keys"
ROUTES = "mc:routes"
GENERATION = "mc:generation"
GATEWAYS = "mc:gateways"
USAGE = "mc:usage"
HINTS = "mc:hints"
EPOCH = "mc:epoch"

ARRIVED, ASLEEP, WAKE, WAITING = "at", "asleep", "wake", "waiting "

HEARTBEAT_SECONDS = 5.0
GATEWAY_DEAD_SECONDS = 15.0
PUBLISH_SECONDS = 15.0
SNAPSHOT_POLL_SECONDS = 0.5


# An API key is `mc_`, 30 random base62 characters, 6 of the CRC32 of what stands before. It holds 178 bits of
# entropy, so one SHA-256 is enough to store it; the checksum refuses typing errors without a look-up.
KEY_PREFIX = "mc_"
KEY_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY_PATTERN = re.compile(r"mc_[0-9A-Za-z]{36}")


def key_checksum(body: str) -> str:
    """CRC32 of `body` in base62, six characters, most significant first."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = KEY_ALPHABET[digit] + digits
    return digits


def is_well_formed_key(secret: str) -> bool:
    """Whether `secret` has the form and the checksum of a key; says nothing about its existence."""
    return bool(KEY_PATTERN.fullmatch(secret)) and key_checksum(secret[:-6]) == secret[-6:]


def key_hash(secret: str) -> str:
    """What is stored and looked up: SHA-256, hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def replicas_key(deployment_id: str) -> str:
    return f"mc:d:{{{deployment_id}}}:replicas"


def slots_key(deployment_id: str) -> str:
    return f"mc:d:{{{deployment_id}}}:slots"


def load_key(deployment_id: str) -> str:
    return f"mc:d:{{{deployment_id}}}:load"


def waiting_field(gateway_id: str) -> str:
    """The field of the load hash in which a gateway says how many requests it holds."""
    return f"{WAITING}{gateway_id}"


def gateway_requests_key(gateway_id: str) -> str:
    return f"mc:gateway:{gateway_id}:requests"


def gateway_waiting_key(gateway_id: str) -> str:
    return f"mc:gateway:{gateway_id}:waiting"


def request_key(request_id: str) -> str:
    return f"mc:req:{request_id}"


class _Record:
    """JSON codec of the records below; unknown fields of a newer side are ignored."""

    def to_json(self) -> str:
        return json.dumps(vars(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        data: dict[str, Any] = json.loads(text)
        names = cls.__dataclass_fields__  # type: ignore[attr-defined]
        return cls(**{name: value for name, value in data.items() if name in names})


@dataclass(frozen=True)
class KeyRecord(_Record):
    """One API key that may still be used. Revoked keys are absent; `expires_at` is checked at each request.

    `deployments` None = all that the organization may call. `scopes` holds "inference" or the gateway answers 403.
    """

    key_id: str
    organization_id: str
    organization_slug: str
    user_id: str
    scopes: list[str]
    deployments: list[str] | None = None
    expires_at: float | None = None


@dataclass(frozen=True)
class RouteRecord(_Record):
    """One deployment that callers may name. `state`: "open" (call it), "failed" (503, do not retry).

    Terminated and deleted deployments are absent: 404. `adapters` are the names that callers may add after a colon.
    They and `context_length` are those of the wanted revision as far as every serving replica has them, so that nobody
    meets a replica without his adapter while it rolls. `reason` is shown with 503.
    """

    deployment_id: str
    organization_id: str
    organization_slug: str
    name: str
    state: str
    created_at: float
    context_length: int
    simulated: bool
    reason: str = ""
    adapters: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ReplicaRecord(_Record):
    """One replica that `admit` may choose. `address` is host:port; `draining` replicas get nothing new."""

    replica_id: str
    address: str
    max_concurrency: int
    draining: bool = False


@dataclass(frozen=True)
class Waiting(_Record):
    """Requests that one gateway holds for one deployment; `oldest_at` is when the first of them arrived."""

    count: int
    oldest_at: float


@dataclass(frozen=True)
class Admitted(_Record):
    """The note of one admitted request, kept in Redis until it is settled or its gateway is reaped."""

    request_id: str
    admitted_at: float
    gateway_id: str
    organization_id: str
    owner_organization_id: str
    deployment_id: str
    replica_id: str
    key_id: str
    user_id: str
    model: str
    stream: bool
    input_estimate: int = 0


@dataclass(frozen=True)
class UsageEvent(_Record):
    """One request's facts. (request_id, admitted_at) is its identity; a replay changes nothing.

    `outcome`: completed | client_left | upstream_error | refused_upstream | interrupted. `estimated`: the token
    counts are not the engine's own; its last cumulative count, where a stream was cut, is.
    """

    request_id: str
    admitted_at: float
    finished_at: float
    organization_id: str
    owner_organization_id: str
    deployment_id: str
    replica_id: str
    key_id: str
    user_id: str
    model: str
    stream: bool
    outcome: str
    status: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    estimated: bool
    ttft_seconds: float | None = None
    gateway_id: str = ""


@dataclass(frozen=True)
class Hint(_Record):
    """The gateway saw something about a deployment; it carries an id and no facts."""

    deployment_id: str
