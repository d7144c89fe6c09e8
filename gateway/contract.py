"""The contract between console and gateway: records, their JSON, and the names of the Redis keys. Pure.

Nothing else is shared between the two. Ids are strings, times are seconds since the epoch (float, on the clock of Redis
or of the cluster), tokens are integers.

Redis keys
    mc:keys                     hash  key_hash → KeyRecord                 published by accounts/key_publication.py
    mc:routes                   hash  deployment_id → RouteRecord          published by deployments/routing/publish.py
    mc:changes                  stream {"key": key_hash} or {"deployment": deployment_id}: what was published anew;
                                      the last MAX_CHANGES; followed by gateways
    mc:published                hash  "keys", "routes" → when all of them were published; missing: Redis lost its data
                                      and what it lacks is not gone. Beside them where the next publication continues.
    mc:d:{id}:replicas          hash  replica_id → ReplicaRecord           candidates of `admit`
    mc:d:{id}:slots             hash  replica_id → requests in flight      counted by `admit` and `settle`
    mc:d:{id}:waiting           set   gateway ids that wait for a slot     filled by `admit`, emptied by `settle`
    mc:d:{id}:load              hash  input of autoscaling and sleep, written by scripts only:
                                      at → Redis time in ms of the last arrival (`admit` at each attempt)
                                      asleep → "1" while the deployment sleeps (set by `sleep`, copied by the console)
                                      wake → Redis time in ms of the first arrival since then that found no ready
                                      replica (set by `admit`, removed by `sleep`)
                                      "waiting gateway_id" → Waiting: the requests that this gateway queues
    mc:gateways                 zset  gateway_id → last heartbeat          every HEARTBEAT_SECONDS
    mc:gateway:{id}:requests    hash  "request_id/attempt" → Admitted      the open requests of that gateway; written by
                                      `admit`, removed by `settle`
    mc:gateway:{id}:counts      hash  "request_id/attempt" → "input cached output estimated": the tokens so far of open
                                      requests, reported with each heartbeat, for reaping
    mc:gateway:{id}:reservations hash request_id → what it reserved in counters of limits; written by `admit`, removed
                                      by `settle` and `give_back`; read by the scripts of counters.lua only
    mc:limit:{…}                str   a counter of a limit; see counter_key and read_counter
    mc:gateway:{id}:waiting     set   deployment ids in whose load hash that gateway has a field, for reaping
    mc:usage                    stream {"event": UsageEvent}               trimmed below the committed position only
    mc:wakeups                  list  Wakeup: "reconcile this deployment"  read by the watch process
    mc:gateway:{id}             channel  deployment id: a slot was released for which that gateway waits
    mc:epoch                    str   random, set if absent; a change means that Redis restarted without its data
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

KEYS = "mc:keys"
ROUTES = "mc:routes"
CHANGES = "mc:changes"
PUBLISHED = "mc:published"
GATEWAYS = "mc:gateways"
USAGE = "mc:usage"
WAKEUPS = "mc:wakeups"
EPOCH = "mc:epoch"

KEY_CHANGED, DEPLOYMENT_CHANGED = "key", "deployment"
KEYS_COMPLETE, ROUTES_COMPLETE = "keys", "routes"
MAX_CHANGES = 10_000

ARRIVED, ASLEEP, WAKE, WAITING = "at", "asleep", "wake", "waiting "

# How often the engine of a route reports the usage of a stream when it is asked to: cumulative usage on every chunk, in
# one chunk at the end, or never.
USAGE_EVERY_CHUNK, USAGE_LAST_CHUNK, USAGE_NONE = "every_chunk", "last_chunk", "none"

HEARTBEAT_SECONDS = 5.0
GATEWAY_DEAD_SECONDS = 15.0
PUBLISH_SECONDS = 15.0


# An API key is `mc_`, 30 random base62 characters, and the CRC32 of these 33 characters as 6 base62 characters. It has
# 178 bits of entropy, so an unsalted SHA-256 is a safe way to store it; the checksum detects typing errors without a
# lookup.
KEY_PREFIX = "mc_"
KEY_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY_PATTERN = re.compile(r"mc_[0-9A-Za-z]{36}")


def key_checksum(body: str) -> str:
    """Return the CRC32 of `body` in base62: six characters, most significant first."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = KEY_ALPHABET[digit] + digits
    return digits


def is_well_formed_key(secret: str) -> bool:
    """Whether `secret` has the format and the checksum of a key, existing or not."""
    return bool(KEY_PATTERN.fullmatch(secret)) and key_checksum(secret[:-6]) == secret[-6:]


def key_hash(secret: str) -> str:
    """Return the hexadecimal SHA-256 of a secret, by which keys are stored and found."""
    return hashlib.sha256(secret.encode()).hexdigest()


def replicas_key(deployment_id: str) -> str:
    return f"mc:d:{{{deployment_id}}}:replicas"


def slots_key(deployment_id: str) -> str:
    return f"mc:d:{{{deployment_id}}}:slots"


def waiting_gateways_key(deployment_id: str) -> str:
    return f"mc:d:{{{deployment_id}}}:waiting"


def load_key(deployment_id: str) -> str:
    return f"mc:d:{{{deployment_id}}}:load"


def waiting_field(gateway_id: str) -> str:
    """Return the field of the load hash in which a gateway reports its queued requests."""
    return f"{WAITING}{gateway_id}"


def gateway_requests_key(gateway_id: str) -> str:
    return f"mc:gateway:{gateway_id}:requests"


def gateway_counts_key(gateway_id: str) -> str:
    return f"mc:gateway:{gateway_id}:counts"


def gateway_reservations_key(gateway_id: str) -> str:
    return f"mc:gateway:{gateway_id}:reservations"


def gateway_waiting_key(gateway_id: str) -> str:
    return f"mc:gateway:{gateway_id}:waiting"


def gateway_channel(gateway_id: str) -> str:
    return f"mc:gateway:{gateway_id}"


# Limits a minute, by level and unit; what is absent has no limit.
Limits = Mapping[str, Mapping[str, int]]
ORGANIZATION, USER, API_KEY = LEVELS = ("organization", "user", "api_key")
REQUESTS, TOKENS = UNITS = ("requests", "tokens")
LIMIT_FIELDS = {REQUESTS: "requests_per_minute", TOKENS: "tokens_per_minute"}
ALL_DEPLOYMENTS = "all"

# The layout of a counter, as gateway/scripts/counters.lua has it.
BUCKET_MILLISECONDS, BUCKETS, COUNTER_HEAD = 250, 241, struct.Struct("<dd")


def counter_key(scope: str, level: str, organization_id: str, subject_id: str, unit: str) -> str:
    """Return the key of a counter. `scope` is a deployment id or ALL_DEPLOYMENTS; `subject_id` the id of the
    organization that calls, of its user, or of the API key."""
    return f"mc:limit:{scope}:{level}:{organization_id}:{subject_id}:{unit}"


def read_counter(data: bytes | None, milliseconds: int) -> tuple[int, int]:
    """Return what a counter counts at a time of Redis, and the milliseconds until it is 0 if nothing is added."""
    if not data:
        return 0, 0
    total, newest = map(int, COUNTER_HEAD.unpack_from(data))
    bucket = milliseconds // BUCKET_MILLISECONDS
    if bucket - newest >= BUCKETS:
        return 0, 0
    for ended in range(newest + 1, bucket + 1):
        offset = COUNTER_HEAD.size + ended % BUCKETS * 8
        total -= int(struct.unpack_from("<d", data, offset)[0]) if offset < len(data) else 0
    return total, (newest + BUCKETS) * BUCKET_MILLISECONDS - milliseconds if total else 0


class _Record:
    """JSON codec of the records. Unknown fields are ignored, so that a newer process may add fields."""

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        data: dict[str, Any] = json.loads(text)
        names = cls.__dataclass_fields__  # type: ignore[attr-defined]
        return cls(**{name: value for name, value in data.items() if name in names})


@dataclass(frozen=True)
class KeyRecord(_Record):
    """A usable API key. Revoked keys are absent; `expires_at` is checked at each request.

    `deployments` are the ids that the key may call, None means all of the organization. Without "inference" in `scopes`
    the gateway responds with 403. `limits` are those of its organization across all deployments.
    """

    key_id: str
    organization_id: str
    organization_slug: str
    user_id: str
    scopes: list[str]
    deployments: list[str] | None = None
    expires_at: float | None = None
    limits: Limits = field(default_factory=dict)


@dataclass(frozen=True)
class RouteRecord(_Record):
    """A deployment that can be called. `state`: "open", or "failed" (503 with `reason`, not to be retried).

    Terminated and deleted deployments are absent: 404. `adapters` are the names that may follow the colon in a model
    name. `adapters` and `context_length` contain only what every serving replica supports, so that no request reaches a
    replica without its adapter during a rollout. `usage_reporting` is one of USAGE_….
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
    usage_reporting: str = USAGE_EVERY_CHUNK
    limits: Limits = field(default_factory=dict)


@dataclass(frozen=True)
class ReplicaRecord:
    """A replica that `admit` may choose. `address` is host:port; a `draining` replica gets no new requests.

    Its text is "max_concurrency draining address", which `admit` reads faster than JSON.
    """

    replica_id: str
    address: str
    max_concurrency: int
    draining: bool = False

    def to_text(self) -> str:
        return f"{self.max_concurrency} {int(self.draining)} {self.address}"

    @classmethod
    def from_text(cls, replica_id: str, text: str) -> Self:
        """Parse the text of a replica. Raises ValueError."""
        max_concurrency, draining, address = text.split(" ", 2)
        return cls(replica_id, address, int(max_concurrency), draining == "1")


@dataclass(frozen=True)
class Waiting(_Record):
    """The requests that one gateway queues for one deployment; `oldest_at` is the arrival of the oldest."""

    count: int
    oldest_at: float


@dataclass  # made once a request; a frozen one takes three times as long to make
class Admitted(_Record):
    """An attempt of an open request, kept in Redis until it is settled or its gateway is reaped.

    `request_id` and `admitted_at` belong to the request, the slot of `replica_id` to the attempt. `organization_id` is
    that of the key, `owner_organization_id` that of the deployment; `input_estimate` is in tokens. `is_limited`: the
    request has a reservation in counters of limits.
    """

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
    attempt: int = 1
    is_limited: bool = False

    @property
    def attempt_id(self) -> str:
        """The name of the attempt in Redis, under which its slot is held."""
        return f"{self.request_id}/{self.attempt}"

    def to_text(self) -> str:
        """The record in Redis: "milliseconds replica_id JSON of the rest"."""
        return f"{round(self.admitted_at * 1000)} {self.replica_id} {self.to_open_text()}"

    def to_open_text(self) -> str:
        """The part of the record that is known before a slot is granted."""
        fields = {name: value for name, value in vars(self).items() if name not in SET_BY_ADMIT}
        return msgspec.json.encode(fields).decode()

    @classmethod
    def from_text(cls, attempt_id: str, text: str) -> Self:
        """Parse a record. Raises ValueError or TypeError."""
        request_id, _, attempt = attempt_id.partition("/")
        milliseconds, replica_id, rest = text.split(" ", 2)
        return cls(
            request_id=request_id,
            admitted_at=int(milliseconds) / 1000,
            replica_id=replica_id,
            attempt=int(attempt),
            **json.loads(rest),
        )


SET_BY_ADMIT = frozenset({"request_id", "admitted_at", "replica_id", "attempt"})


@dataclass  # made once a request; a frozen one takes three times as long to make
class UsageEvent(_Record):
    """The usage of one request, identified by (request_id, admitted_at); replaying it has no effect.

    `provisional`: written in place of a gateway that seemed dead. The event of that gateway replaces it, and of several
    provisional events the last one to finish counts.

    `outcome`: completed | client_left | upstream_error | refused_upstream | interrupted. `estimated` marks token counts
    that the engine did not report; the last cumulative usage of an interrupted stream is not an estimate.

    Latency in seconds, None where it does not apply. `ttft_seconds`: from arrival to the first output of a stream.
    `itl_…`: mean and 99th percentile of the gaps between the chunks with output of a stream. `queue_seconds`: waited
    for a slot. `cold`: whether the request waited for a replica to start.
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
    itl_mean_seconds: float | None = None
    itl_p99_seconds: float | None = None
    queue_seconds: float | None = None
    cold: bool | None = None
    provisional: bool = False


@dataclass(frozen=True)
class Wakeup(_Record):
    """A request of the gateway to reconcile a deployment now. It carries no facts, so losing it costs latency only."""

    deployment_id: str
