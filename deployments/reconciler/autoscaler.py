"""How many replicas the load of a deployment needs. Pure; its state between passes is a `Memory`.

Scale up at once, at most doubling. Scale down when nothing within the scale-down delay needed more, at most halving. An
UNKNOWN load changes nothing, and the absence of load counts only for the time that data covers. Sleeping and waking are
decided in `replica_count`: here the minimum is one replica. A load is the number of requests in flight and waiting;
times are aware UTC. Formulas and reasons: docs/lifecycle.md, "Number of replicas".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from deployments.codes import Reason, ReasonCode

Sample = tuple[datetime, float]
Peak = tuple[datetime, int]
Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Range:
    """The configured range. A range of one number is a fixed number."""

    min_replicas: int
    max_replicas: int
    scale_down_delay_seconds: float

    @property
    def lowest(self) -> int:
        return max(1, self.min_replicas)

    @property
    def is_fixed(self) -> bool:
        return self.lowest >= self.max_replicas

    def clamp(self, replicas: int) -> int:
        return max(self.lowest, min(replicas, self.max_replicas))


@dataclass(frozen=True)
class Rules:
    """The settings. A replica's target load is `target_share` of its max concurrency, as a mean over `mean_seconds`.

    A request that waits longer than `queue_wait_seconds` makes a backlog. Samples are `sample_seconds` apart; after a
    gap of more than `hole_seconds` data collection restarts.
    """

    target_share: float = 0.70
    mean_seconds: float = 60.0
    queue_wait_seconds: float = 2.0
    sample_seconds: float = 2.0
    hole_seconds: float = 60.0


@dataclass(frozen=True)
class Signals:
    """The inputs of a decision. `load` None: UNKNOWN. `current`: the desired number so far.

    `epoch` identifies the Redis that counted; after a restart it has a new one and no history.
    """

    load: float | None
    waiting: int
    oldest_waiting_seconds: float
    max_concurrency: int
    current: int
    ready: int
    starting: int
    epoch: str


@dataclass(frozen=True)
class Memory:
    """The state from previous passes; empty at first.

    `since`: when the data of this `epoch` began. `samples`: (at, load), at most `mean_seconds` old and one before that.
    Of equal samples in a row, the first and the last are kept.
    `peaks`: (at, replicas needed) within the scale-down delay, strictly decreasing: a later one replaces earlier ones
    that are not higher. The last one is of the last decision with a known load.
    """

    epoch: str = ""
    since: datetime | None = None
    samples: tuple[Sample, ...] = ()
    peaks: tuple[Peak, ...] = ()

    @property
    def load_known_at(self) -> datetime | None:
        """When the last decision with a known load was made."""
        return self.peaks[-1][0] if self.peaks else None

    def to_json(self) -> dict[str, Any]:
        """Times in milliseconds of the Unix epoch, null for `load_known_at`; {} when empty.

        While the load stays the same, so does the JSON.
        """
        if self.since is None:
            return {}
        last = self.load_known_at
        return {
            "epoch": self.epoch,
            "since": _to_milliseconds(self.since),
            "samples": [[None if at == last else _to_milliseconds(at), load] for at, load in self.samples],
            "peaks": [[None if at == last else _to_milliseconds(at), replicas] for at, replicas in self.peaks],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], load_known_at: datetime | None) -> Memory:
        if "since" not in data:
            return Memory()
        since = _from_milliseconds(data["since"])

        def parse(milliseconds: int | None) -> datetime:
            return (load_known_at or since) if milliseconds is None else _from_milliseconds(milliseconds)

        return Memory(
            data["epoch"],
            since,
            tuple((parse(at), load) for at, load in data["samples"]),
            tuple((parse(at), replicas) for at, replicas in data["peaks"]),
        )


@dataclass(frozen=True)
class Decision:
    """`code` says why, None when nothing changes; `inputs` is every number that was used."""

    replicas: int
    memory: Memory
    code: ReasonCode | None
    inputs: Inputs

    @property
    def reason(self) -> Reason | None:
        return Reason(self.code, **self.inputs) if self.code else None


@dataclass(frozen=True)
class _Need:
    """`want`: replicas needed now, within the range; `keep`: so many that no request of this moment would wait.

    `mean` of the load; `counted` is the load that was divided by `target`: in a backlog the current one, else the mean.
    `basis` of `want`: the division ("load"), one more than is ready ("backlog"), or a limit of the range ("range").
    """

    mean: float
    target: float
    counted: float
    is_backlog: bool
    basis: str
    want: int
    keep: int


def decide(allowed: Range, signals: Signals, memory: Memory, rules: Rules, now: datetime) -> Decision:
    """The number of replicas from now on, and the memory for the next decision."""
    current = allowed.clamp(signals.current)
    if allowed.is_fixed or signals.load is None:
        code = None if current == signals.current else _find_range_code(allowed, signals)
        memory = Memory() if allowed.is_fixed else memory
        return Decision(current, memory, code, _list_signals(allowed, signals, memory, now))
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # the precision of the memory
    memory = _continue(memory, signals.epoch, rules, now)
    now = max(now, _latest_sample(memory, now))
    need = _compute_need(allowed, signals, current, memory.samples, rules, now)
    memory = _remember(memory, allowed, signals.load, need, rules, now)
    replicas = _next_number(allowed, signals, current, need, memory, now)
    code = _find_code(allowed, signals, current, replicas, need)
    inputs = _list_signals(allowed, signals, memory, now)
    return Decision(replicas, memory, code, inputs | _list_computed(need, rules, replicas, inputs["most_needed"]))


def mean(samples: Sequence[Sample], since: datetime) -> float:
    """The time-weighted mean from `since`, or from the first sample if that is later, to the last sample.

    The load between two samples is interpolated linearly.
    """
    line = [sample for sample in samples if sample[0] >= since]
    for (start, first), (end, second) in pairwise(samples):
        if start < since < end:
            line.insert(0, (since, first + (second - first) * ((since - start) / (end - start))))
    seconds = (line[-1][0] - line[0][0]).total_seconds()
    if seconds <= 0:
        return line[-1][1]
    areas = ((end - start).total_seconds() * (a + b) / 2 for (start, a), (end, b) in pairwise(line))
    return sum(areas) / seconds


# Memory


def _continue(memory: Memory, epoch: str, rules: Rules, now: datetime) -> Memory:
    """The part of the memory that still holds: none of another epoch. After a gap, or when the clock was set back, data
    collection restarts but peaks are kept; peaks in the future move to now."""
    if memory.epoch != epoch or memory.since is None:
        return Memory(epoch, now)
    gap = (now - _latest_sample(memory, memory.since)).total_seconds()
    if -rules.sample_seconds <= gap <= rules.hole_seconds:
        return memory
    future = [replicas for at, replicas in memory.peaks if at > now]
    past = tuple((at, replicas) for at, replicas in memory.peaks if at <= now and replicas > max(future, default=0))
    return Memory(epoch, now, (), (*past, (now, max(future))) if future else past)


def _latest_sample(memory: Memory, default: datetime) -> datetime:
    return memory.samples[-1][0] if memory.samples else default


def _remember(memory: Memory, allowed: Range, load: float, need: _Need, rules: Rules, now: datetime) -> Memory:
    since = now - timedelta(seconds=rules.mean_seconds)
    older = sum(at < since for at, _ in memory.samples)
    samples = memory.samples[max(0, older - 1) :]  # with the one before, from which the first interval starts
    load = round(load, 2)
    if len(samples) > 1 and samples[-2][1] == samples[-1][1] == load:
        samples = (*samples[:-1], (now, load))
    elif not samples or (now - samples[-1][0]).total_seconds() >= rules.sample_seconds:
        samples = (*samples, (now, load))
    since = now - timedelta(seconds=allowed.scale_down_delay_seconds)
    higher = tuple(peak for peak in memory.peaks if peak[0] > since and peak[1] > need.keep)
    return replace(memory, samples=samples, peaks=(*higher, (now, need.keep)))


# Decision


def _compute_need(
    allowed: Range, signals: Signals, current: int, samples: tuple[Sample, ...], rules: Rules, now: datetime
) -> _Need:
    load = signals.load or 0.0
    target = signals.max_concurrency * rules.target_share
    is_backlog = signals.oldest_waiting_seconds > rules.queue_wait_seconds
    average = mean((*samples, (now, load)), now - timedelta(seconds=rules.mean_seconds))
    counted = load if is_backlog else average
    want, basis = _ceil(counted / target), "load"
    one_more = min(signals.ready, current) + 1
    if is_backlog and one_more > want:
        want, basis = one_more, "backlog"
    if allowed.clamp(want) != want:
        basis = "range"
    full = _ceil(load / signals.max_concurrency)
    return _Need(average, target, counted, is_backlog, basis, allowed.clamp(want), allowed.clamp(max(want, full)))


def _next_number(allowed: Range, signals: Signals, current: int, need: _Need, memory: Memory, now: datetime) -> int:
    """Down only when data covers the whole delay, and not while a replica starts, which would be in vain."""
    if need.want > current:
        return min(need.want, 2 * current)
    is_covered = memory.since is not None and (now - memory.since).total_seconds() >= allowed.scale_down_delay_seconds
    if not is_covered or signals.starting:
        return current
    highest = allowed.clamp(memory.peaks[0][1])
    return min(current, max(highest, _ceil(current / 2)))


def _ceil(value: float) -> int:
    """Rounded up, but 112 / 11.2 is 10: ignores the imprecision of floats."""
    return math.ceil(round(value, 6))


# Why


def _find_code(allowed: Range, signals: Signals, current: int, decided: int, need: _Need) -> ReasonCode | None:
    if decided == signals.current:
        return None
    if decided == current:
        return _find_range_code(allowed, signals)
    if decided < current:
        return ReasonCode.LOAD_FELL
    return ReasonCode.BACKLOG if need.is_backlog else ReasonCode.LOAD_ROSE


def _find_range_code(allowed: Range, signals: Signals) -> ReasonCode:
    if allowed.min_replicas == allowed.max_replicas:
        return ReasonCode.RANGE_FIXED
    return ReasonCode.RANGE_MINIMUM if signals.current < allowed.lowest else ReasonCode.RANGE_MAXIMUM


def _list_signals(allowed: Range, signals: Signals, memory: Memory, now: datetime) -> dict[str, Any]:
    data_seconds = max(0.0, (now - memory.since).total_seconds()) if memory.since else None
    return {
        "load": signals.load,
        "waiting": signals.waiting,
        "oldest_waiting_seconds": round(signals.oldest_waiting_seconds, 2),
        "max_concurrency": signals.max_concurrency,
        "wanted_before": signals.current,
        "ready": signals.ready,
        "starting": signals.starting,
        "lowest": allowed.lowest,
        "min_replicas": allowed.min_replicas,
        "max_replicas": allowed.max_replicas,
        "scale_down_delay_seconds": allowed.scale_down_delay_seconds,
        "most_needed": allowed.clamp(memory.peaks[0][1]) if memory.peaks else None,
        "data_seconds": None if data_seconds is None else round(data_seconds, 2),
        "epoch": signals.epoch,
    }


def _list_computed(need: _Need, rules: Rules, decided: int, most_needed: int) -> dict[str, Any]:
    """`is_limited`: one step goes less far than what is needed now, or was needed lately."""
    return {
        "mean_load": round(need.mean, 2),
        "mean_seconds": rules.mean_seconds,
        "needed_by": need.basis,
        "counted_load": round(need.counted, 2),
        "is_backlog": need.is_backlog,
        "queue_wait_seconds": rules.queue_wait_seconds,
        "target_percent": round(100 * rules.target_share, 1),
        "load_per_replica": round(need.target, 2),
        "needed": need.want,
        "is_limited": decided < need.want or decided > most_needed,
    }


# Times in the memory


def _to_milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _from_milliseconds(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
