"""A deployment in virtual time: replicas that take a while to start, callers that wait when all slots are taken."""

from datetime import timedelta

from deployments.reconciler.autoscaler import Memory, Range, Rules, Signals, decide
from tests.unit.deployments.snapshots import NOW


class Scene:
    """`changes`: (second, replicas wanted from then on). Seconds count from the start of the scene."""

    def __init__(self, scale: Range, *, max_concurrency=16, start_seconds=20.0, step_seconds=1.0, rules=None):
        self.scale, self.max_concurrency, self.start_seconds = scale, max_concurrency, start_seconds
        self.rules, self.step_seconds = rules or Rules(), step_seconds
        self.second, self.memory, self.waiting_since = 0.0, Memory(), None
        self.ready_at, self.changes = [0.0] * scale.lowest, []

    @property
    def current(self) -> int:
        return len(self.ready_at)

    def run(self, seconds, load, unknown=lambda second: False):
        """Go on for so long with `load` (a number, or a function of the second); the changes in it."""
        end, already = self.second + seconds, len(self.changes)
        while self.second < end:
            self.look(None if unknown(self.second) else load(self.second) if callable(load) else load)
            self.second += self.step_seconds
        return self.changes[already:]

    def look(self, load):
        at = NOW + timedelta(seconds=self.second)
        decision = decide(self.scale, self.seen(load), self.memory, self.rules, at)
        self.memory = decision.memory
        if decision.replicas != self.current:
            self.changes.append((self.second, decision.replicas))
            more = [self.second + self.start_seconds] * (decision.replicas - self.current)
            self.ready_at = sorted([*self.ready_at, *more])[: decision.replicas]

    def seen(self, load):
        ready = sum(at <= self.second for at in self.ready_at)
        waiting = max(0, (load or 0) - ready * self.max_concurrency)
        self.waiting_since = (
            (self.waiting_since if self.waiting_since is not None else self.second) if waiting else None
        )
        waited = self.second - self.waiting_since if waiting else 0.0
        return Signals(load, waiting, waited, self.max_concurrency, self.current, ready, self.current - ready, "e")
