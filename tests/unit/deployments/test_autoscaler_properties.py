"""What holds for every load: no flapping, never outside the range, no scale-down on what is not known. Seeded."""

from datetime import timedelta
from random import Random

import pytest

from deployments.reconciler.autoscaler import Memory, Range, Rules, Signals, decide
from tests.unit.deployments.autoscaler_scene import Scene
from tests.unit.deployments.snapshots import NOW

HOUR = 3600
WAVES = [(delay, seed) for delay in (30, 60, 300, 900) for seed in range(5)]


def a_wave(random, period):
    """So much load in one part of the period and none in the other, both longer than a look takes."""
    height, share = random.choice([8, 20, 60, 150, 400, 1200]), random.choice([0.3, 0.5, 0.5, 0.7])
    return lambda second: height if second % period < period * share else 0


def most_in(changes, seconds):
    """The most changes in any such time, half-open."""
    times = [at for at, _ in changes]
    return max((sum(start <= at < start + seconds for at in times) for start in times), default=0)


@pytest.mark.parametrize(("delay", "seed"), WAVES)
def test_a_square_wave_shorter_than_the_delay_changes_the_count_twice_a_delay_at_most(delay, seed):
    """Once the first climb is over; the climb itself only goes up."""
    random = Random(f"{delay} {seed}")
    scale = Range(1, random.choice([3, 4, 8, 16, 64]), delay)
    period = random.uniform(10, 0.98 * delay)
    scene = Scene(scale, start_seconds=random.choice([1, 10, 60]), step_seconds=random.choice([1.0, 1.3, 2.0]))
    scene.run(HOUR, a_wave(random, period))
    climb = [count for at, count in scene.changes if at < delay]
    settled = [(at, count) for at, count in scene.changes if at >= delay + 2 * max(delay, 60)]
    assert climb == sorted(climb)
    assert most_in(settled, delay) <= 2
    assert all(scale.lowest <= count <= scale.max_replicas for _, count in scene.changes)


@pytest.mark.parametrize("seed", range(5))
def test_with_the_usual_range_even_the_climb_changes_the_count_twice_at_most(seed):
    random = Random(seed)
    scene = Scene(Range(1, 3, 300), start_seconds=random.choice([5, 90]), step_seconds=random.choice([1.0, 5.0]))
    scene.run(HOUR, a_wave(random, random.uniform(10, 290)))
    assert most_in(scene.changes, 300) <= 2


class Chance:
    """One deployment with a clock and a gateway that cannot be trusted. `truth` is the time that nobody can set."""

    def __init__(self, random: Random) -> None:
        self.random, self.truth, self.shift = random, 0.0, 0.0
        low = random.choice([0, 0, 1, 1, 2, 5])
        self.scale = Range(low, low + random.choice([1, 2, 6, 59]), random.choice([5, 30, 300]))
        self.current, self.ready, self.memory, self.epoch = random.randint(0, 70), 0, Memory(), 0
        self.needs: list[tuple[float, int]] = []
        self.known_since: float | None = None

    def step(self) -> None:
        random = self.random
        self.truth += random.choice([0.0, 0.3, 1.0, 2.0, 5.0, 20.0, 55.0])
        self.shift += random.choice([0.0] * 12 + [-0.5, -1.0, -5.0, -700.0, 5000.0])
        if random.random() < 0.05:
            self.epoch, self.known_since = self.epoch + 1, None
        load = None if random.random() < 0.15 else random.choice([0, 0, 0, 3, 20, 200, 3000])
        self.ready = random.randint(0, self.current)
        waited = random.choice([0.0, 0.0, 1.0, 30.0]) if load else 0.0
        now = Signals(load, int(waited), waited, 16, self.current, self.ready, 0, str(self.epoch))
        decision = decide(self.scale, now, self.memory, Rules(), NOW + timedelta(seconds=self.truth + self.shift))
        self.judge(load, decision)
        memory = decision.memory
        self.current, self.memory = decision.replicas, Memory.from_json(memory.to_json(), memory.load_known_at)

    def judge(self, load, decision) -> None:
        scale, before = self.scale, self.scale.clamp(self.current)
        assert scale.lowest <= decision.replicas <= scale.max_replicas
        assert bool(decision.reason) == (decision.replicas != self.current)
        if load is None or scale.is_fixed:
            assert decision.replicas == before
            return
        self.known_since = self.truth if self.known_since is None else self.known_since
        self.needs.append((self.truth, int(decision.inputs["needed"])))
        if decision.replicas < before:
            since = self.truth - scale.scale_down_delay_seconds + 0.01  # stamps are milliseconds
            assert self.known_since <= since
            assert decision.replicas >= max(need for at, need in self.needs if at > since)
        assert -(-before // 2) <= decision.replicas <= 2 * before


@pytest.mark.parametrize("seed", range(10))
def test_in_a_thousand_random_lives_it_never_leaves_the_range_and_never_comes_down_early(seed):
    downs = 0
    for number in range(1000):
        life = Chance(Random(f"{seed} {number}"))
        for _ in range(9):
            before = life.scale.clamp(life.current)
            life.step()
            downs += life.current < before
    assert downs > 50
