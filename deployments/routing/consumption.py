"""How much of its limits a caller has used, read from the counters of the gateways in Redis."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import redis

from accounts.models import ApiKey, Organization
from accounts.redis_client import redis_client
from deployments.models import Deployment
from gateway import contract

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Consumption:
    """One limit. `scope`: "deployment" or "all_deployments". `used` and `reset_seconds`, after which nothing is used if
    nothing is added, are None while Redis is unavailable."""

    scope: str
    level: str
    unit: str
    limit: int
    used: int | None
    reset_seconds: float | None


def read_consumption(deployment: Deployment, organization: Organization, key: ApiKey) -> list[Consumption]:
    """What calls of `deployment` by this organization, the user of this key and this key have used."""
    limits = [
        *_list_limits("deployment", str(deployment.pk), deployment.limits, organization, key),
        *_list_limits("all_deployments", contract.ALL_DEPLOYMENTS, organization.limits, organization, key),
    ]
    counts = _read_counts([counter for *_, counter in limits])
    return [
        Consumption(scope, level, unit, maximum, *count)
        for (scope, level, unit, maximum, _), count in zip(limits, counts, strict=True)
    ]


def _list_limits(
    scope: str, scope_id: str, limits: contract.Limits, organization: Organization, key: ApiKey
) -> Iterator[tuple[str, str, str, int, str]]:
    """Scope, level, unit, limit and key of the counter of each limit in force."""
    subjects: Mapping[str, object] = {
        contract.ORGANIZATION: organization.pk,
        contract.USER: key.user_id,
        contract.API_KEY: key.pk,
    }
    for level, subject_id in subjects.items():
        for unit in contract.UNITS:
            maximum = limits.get(level, {}).get(contract.LIMIT_FIELDS[unit])
            if maximum is not None:
                counter = contract.counter_key(scope_id, level, str(organization.pk), str(subject_id), unit)
                yield scope, level, unit, maximum, counter


def _read_counts(counters: list[str]) -> list[tuple[int | None, float | None]]:
    """(used, seconds until nothing is used) of each counter."""
    if not counters:
        return []
    try:
        with redis_client().pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.mget(counters)
            (seconds, microseconds), values = pipeline.execute()
    except redis.RedisError as error:
        log.warning("The counters of limits are not readable: %s", error)
        return [(None, None)] * len(counters)
    now = seconds * 1000 + microseconds // 1000
    counts = [contract.read_counter(value, now) for value in values]
    return [(used, milliseconds / 1000) for used, milliseconds in counts]
