"""How many replicas a deployment's load needs. Pure; what it knows from one pass to the next is its `Memory`.

Up at once, at most doubling; down when nothing within the scale-down delay needed more, at most halving. An UNKNOWN
load changes nothing, and silence counts only as far as data covers it. To sleep and to wake is not decided here: the
least is one replica. Loads are requests in flight and waiting, times aware UTC. Formulae and why: docs/lifecycle.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

Sample = tuple[datetime, float]
Peak = tuple[datetime, int]
Inputs = Mapping[str, float | int | str | None]


@dataclass(frozen=True)
class Range:
    """What people allow. A range of one number is a fixed number."""

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
    """The settings. A replica is meant to carry `target_share` of its max concurrency, in the mean over `mean_seconds`.

    Who waits longer than `queue_wait_seconds` makes a backlog. Samples are kept `sample_seconds` apart; data with a
    hole of more than `hole_seconds` begins anew.
    """

    target_share: float = 0.70
    mean_seconds: float = 60.0
    queue_wait_seconds: float = 2.0
    sample_seconds: float = 2.0
    hole_seconds: float = 60.0


@dataclass(frozen=True)
class Seen:
    """What is known now. `load` None: UNKNOWN. `current`: replicas wanted so far, those `starting` among them.

    `epoch` names the Redis that counted; another one has forgotten what was.
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
    """What the controller knows from before; nothing at first.

    `since`: when the data of this `epoch` began. `samples`: (at, load), at most `mean_seconds` old and one before.
    `peaks`: (at, replicas) within the scale-down delay, each lower than the one before it: what comes later and is no
    lower replaces it.
    """

    epoch: str = ""
    since: datetime | None = None
    samples: tuple[Sample, ...] = ()
    peaks: tuple[Peak, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Times as milliseconds of the Unix epoch; nothing known is {}."""
        if self.since is None:
            return {}
        return {
            "epoch": self.epoch,
            "since": _milliseconds(self.since),
            "samples": [[_milliseconds(at), load] for at, load in self.samples],
            "peaks": [[_milliseconds(at), replicas] for at, replicas in self.peaks],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Memory:
        if "since" not in data:
            return Memory()
        return Memory(
            data["epoch"],
            _moment(data["since"]),
            tuple((_moment(at), load) for at, load in data["samples"]),
            tuple((_moment(at), replicas) for at, replicas in data["peaks"]),
        )


@dataclass(frozen=True)
class Decision:
    """`reason` is one sentence for people, empty when nothing changes; `inputs` is every number that was looked at."""

    replicas: int
    memory: Memory
    reason: str
    inputs: Inputs


@dataclass(frozen=True)
class _Need:
    """What the load needs: `want` now, within the range; `keep` so that nobody who was seen would have had to wait.

    `mean` of the load; `counted` is what was divided by `target`, in a backlog the load of this moment.
    """

    mean: float
    target: float
    counted: float
    is_backlog: bool
    want: int
    keep: int


def decide(range: Range, seen: Seen, memory: Memory, rules: Rules, now: datetime) -> Decision:
    """How many replicas from now on, and what to remember for the next time."""
    current = range.clamp(seen.current)
    if range.is_fixed or seen.load is None:
        reason = "" if current == seen.current else _allowed(range, seen)
        return Decision(current, Memory() if range.is_fixed else memory, reason, _inputs(range, seen, memory, now))
    now = _to_milliseconds(now)
    memory = _continued(memory, seen.epoch, rules, now)
    now = max(now, _latest(memory, now))
    need = _need(range, seen, current, memory.samples, rules, now)
    memory = _remember(memory, range, seen.load, need, rules, now)
    replicas = _next(range, seen, current, need, memory, now)
    reason = _reason(range, seen, current, replicas, need, memory, rules)
    return Decision(replicas, memory, reason, _inputs(range, seen, memory, now) | _outputs(need))


def mean(samples: Sequence[Sample], since: datetime) -> float:
    """The time-weighted mean from `since`, or from the first sample if that is later, to the last one.

    Between two samples the load goes straight from the one to the other.
    """
    line = [*_edge(samples, since), *(sample for sample in samples if sample[0] >= since)]
    seconds = (line[-1][0] - line[0][0]).total_seconds()
    if seconds <= 0:
        return line[-1][1]
    return sum((end - start).total_seconds() * (one + two) / 2 for (start, one), (end, two) in pairwise(line)) / seconds


def _edge(samples: Sequence[Sample], since: datetime) -> list[Sample]:
    """The load at `since`, where samples lie on both sides of it."""
    for (start, one), (end, two) in pairwise(samples):
        if start < since < end:
            return [(since, one + (two - one) * ((since - start) / (end - start)))]
    return []


# What is remembered


def _continued(memory: Memory, epoch: str, rules: Rules, now: datetime) -> Memory:
    """What still counts: nothing of another epoch. After a hole, or when the clock stepped back, data begins anew, but
    what was needed is not forgotten; stamps that now lie ahead become now."""
    if memory.epoch != epoch or memory.since is None:
        return Memory(epoch, now)
    away = (now - _latest(memory, memory.since)).total_seconds()
    if -rules.sample_seconds <= away <= rules.hole_seconds:
        return memory
    ahead = [replicas for at, replicas in memory.peaks if at > now]
    before = tuple((at, replicas) for at, replicas in memory.peaks if at <= now and replicas > max(ahead, default=0))
    return Memory(epoch, now, (), (*before, (now, max(ahead))) if ahead else before)


def _latest(memory: Memory, otherwise: datetime) -> datetime:
    return memory.samples[-1][0] if memory.samples else otherwise


def _recent(samples: tuple[Sample, ...], since: datetime) -> tuple[Sample, ...]:
    """Those since then, and the one before, which says how the first interval began."""
    return samples[max(0, sum(at < since for at, _ in samples) - 1) :]


def _remember(memory: Memory, range: Range, load: float, need: _Need, rules: Rules, now: datetime) -> Memory:
    samples = _recent(memory.samples, now - timedelta(seconds=rules.mean_seconds))
    if not samples or (now - samples[-1][0]).total_seconds() >= rules.sample_seconds:
        samples = (*samples, (now, round(load, 2)))
    since = now - timedelta(seconds=range.scale_down_delay_seconds)
    higher = tuple(peak for peak in memory.peaks if peak[0] > since and peak[1] > need.keep)
    return replace(memory, samples=samples, peaks=(*higher, (now, need.keep)))


# What is decided


def _need(range: Range, seen: Seen, current: int, samples: tuple[Sample, ...], rules: Rules, now: datetime) -> _Need:
    load = seen.load or 0.0
    target = seen.max_concurrency * rules.target_share
    is_backlog = seen.oldest_waiting_seconds > rules.queue_wait_seconds
    average = mean((*samples, (now, load)), now - timedelta(seconds=rules.mean_seconds))
    counted = load if is_backlog else average
    want = _ceil(counted / target)
    if is_backlog:
        want = max(want, min(seen.ready, current) + 1)
    full = _ceil(load / seen.max_concurrency)
    return _Need(average, target, counted, is_backlog, range.clamp(want), range.clamp(max(want, full)))


def _next(range: Range, seen: Seen, current: int, need: _Need, memory: Memory, now: datetime) -> int:
    """Down only on data that covers the whole delay, and not while a replica starts: it would be ordered in vain."""
    if need.want > current:
        return min(need.want, 2 * current)
    covered = memory.since is not None and (now - memory.since).total_seconds() >= range.scale_down_delay_seconds
    if not covered or seen.starting:
        return current
    highest = range.clamp(memory.peaks[0][1])
    return min(current, max(highest, _ceil(current / 2)))


# What people read


def _reason(range: Range, seen: Seen, current: int, decided: int, need: _Need, memory: Memory, rules: Rules) -> str:
    if decided == seen.current:
        return ""
    if decided == current:
        return _allowed(range, seen)
    if decided > current:
        step = "; one step at most doubles them" if decided < need.want else ""
        return f"{_demand(seen, need, rules)} for {_replicas(need.want)}{step}."
    most = range.clamp(memory.peaks[0][1])
    step = "; one step at most halves them" if decided > most else ""
    delay = f"the scale-down delay of {range.scale_down_delay_seconds:g} s"
    return f"Nothing within {delay} needed more than {_replicas(most)}{step}."


def _demand(seen: Seen, need: _Need, rules: Rules) -> str:
    """What is there, up to the verb."""
    each = f"at {_number(need.target)} for each replica"
    if need.is_backlog:
        waited = f"A request has waited {_number(seen.oldest_waiting_seconds)} s"
        return f"{waited}: {_number(need.counted)} in flight or waiting, {each}, call"
    return f"{_number(need.counted)} requests at a time over {rules.mean_seconds:g} s, {each}, call"


def _allowed(range: Range, seen: Seen) -> str:
    if range.min_replicas == range.max_replicas:
        return f"The number is fixed at {_replicas(range.lowest)}."
    if seen.current < range.lowest:
        return f"The range starts at {_replicas(range.lowest)}."
    return f"The range ends at {_replicas(range.max_replicas)}."


def _inputs(range: Range, seen: Seen, memory: Memory, now: datetime) -> dict[str, float | int | str | None]:
    covered = max(0.0, (now - memory.since).total_seconds()) if memory.since else None
    return {
        "load": seen.load,
        "waiting": seen.waiting,
        "oldest_waiting_seconds": round(seen.oldest_waiting_seconds, 2),
        "max_concurrency": seen.max_concurrency,
        "wanted_before": seen.current,
        "ready": seen.ready,
        "starting": seen.starting,
        "min_replicas": range.min_replicas,
        "max_replicas": range.max_replicas,
        "scale_down_delay_seconds": range.scale_down_delay_seconds,
        "most_needed": memory.peaks[0][1] if memory.peaks else None,
        "data_seconds": None if covered is None else round(covered, 2),
        "epoch": seen.epoch,
    }


def _outputs(need: _Need) -> dict[str, float | int | str | None]:
    return {"mean_load": round(need.mean, 2), "load_per_replica": round(need.target, 2), "needed": need.want}


def _replicas(count: int) -> str:
    return f"{count} replica" if count == 1 else f"{count} replicas"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _ceil(value: float) -> int:
    """Rounded up, but 112 / 11.2 is 10: the last digits of a float are noise."""
    return math.ceil(round(value, 6))


# Times in milliseconds, as they are kept


def _to_milliseconds(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
