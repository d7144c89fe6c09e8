"""The counters of limits: the real Lua on a real Valkey, in virtual time, against a model that remembers everything."""

import itertools
import uuid
from dataclasses import dataclass, field

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import contract
from gateway.store.scripts import FOLDER

# The functions of counters.lua with a time of the test's own.
PROGRAM = (
    (FOLDER / "counters.lua").read_text()
    + """
if ARGV[1] == 'reserve' then
    return {reserve(KEYS[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), KEYS, 2, ARGV, 6)}
end
end_reservation(KEYS[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1')
"""
)
START = 1_800_000_000_000
MINUTE = 60_000


@dataclass
class Counters:
    """Counters in Valkey under keys of their own; `maxima` has the limits of requests first."""

    client: redis.Redis
    requests: int
    maxima: list[int]
    now: int = START
    ids: itertools.count = field(default_factory=itertools.count)

    def __post_init__(self):
        self.prefix = f"test:{uuid.uuid4()}"
        self.keys = [f"{self.prefix}:{number}" for number in range(len(self.maxima))]
        self.run = self.client.register_script(PROGRAM)

    def reserve(self, tokens=0):
        """Returns (request id, what is used, None or milliseconds to wait)."""
        request_id = str(next(self.ids))
        given = ["reserve", request_id, self.now, tokens, self.requests, *self.maxima]
        seen, *refusal = self.run(keys=[self.prefix, *self.keys], args=given)
        return request_id, [int(text) for text in seen.split()[::2]], refusal[1] if refusal else None

    def end(self, request_id, tokens, gives_back=False):
        self.run(keys=[self.prefix], args=["end", request_id, tokens, int(gives_back)])

    def used(self):
        return [contract.read_counter(self.client.get(key), self.now)[0] for key in self.keys]

    def delete(self):
        self.client.delete(self.prefix, *self.keys)


class Model:
    """Every admission with its time; one counts until its quarter of a second is a minute ago."""

    def __init__(self):
        self.admitted = {}  # request id → time, requests, tokens
        self.open = []

    def used(self, now, requests, count):
        counted = [entry for entry in self.admitted.values() if now // 250 - entry[0] // 250 <= 240]
        sums = (sum(entry[1] for entry in counted), sum(entry[2] for entry in counted))
        return [sums[0]] * requests + [sums[1]] * (count - requests)


PAUSES = st.one_of(
    st.integers(0, 300), st.integers(0, 20_000), st.sampled_from([249, 250, 59_999, 60_249, 60_250, 70_000])
)
STEPS = st.lists(
    st.tuples(PAUSES, st.sampled_from(["reserve", "reserve", "settle", "give_back"]), st.integers(0, 60)), max_size=60
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=STEPS, maxima=st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(60, 200), st.integers(60, 200))
)
def test_counters_count_what_the_model_counts(redis_url, steps, maxima):
    client = redis.Redis.from_url(redis_url)
    counters, model = Counters(client, 2, list(maxima)), Model()
    for pause, action, number in steps:
        counters.now += pause
        before = model.used(counters.now, 2, 4)
        assert counters.used() == before
        if action == "reserve":
            request_id, used, wait = counters.reserve(number)
            has_room = all(
                old + amount <= maximum
                for old, amount, maximum in zip(before, (1, 1, number, number), maxima, strict=True)
            )
            assert (wait is None) == has_room
            if has_room:
                model.admitted[request_id] = (counters.now, 1, number)
                model.open.append(request_id)
            else:
                assert counters.used() == before, "a refusal consumes nothing"
                for moment, expected in ((counters.now + wait - 1, False), (counters.now + wait, True)):
                    later = model.used(moment, 2, 4)
                    fits = all(
                        old + amount <= maximum
                        for old, amount, maximum in zip(later, (1, 1, number, number), maxima, strict=True)
                    )
                    assert fits == expected, "the wait is exact"
            assert used == model.used(counters.now, 2, 4)
        elif model.open:
            request_id = model.open.pop(number % len(model.open))
            counters.end(request_id, number if action == "settle" else 0, gives_back=action == "give_back")
            counters.end(request_id, 1000, gives_back=True)  # only the first one counts
            admitted_at = model.admitted[request_id][0]
            model.admitted[request_id] = (admitted_at, 1, number) if action == "settle" else (admitted_at, 0, 0)
        assert counters.used() == model.used(counters.now, 2, 4)
    counters.delete()
    client.close()


def test_no_sliding_minute_exceeds_the_limit_and_hardly_anything_is_left_of_it(redis_url):
    client = redis.Redis.from_url(redis_url)
    counters, admitted = Counters(client, 1, [97]), []
    while counters.now < START + 10 * MINUTE:
        if counters.reserve()[2] is None:
            admitted.append(counters.now)
        counters.now += 97 + counters.now % 53  # about five times the limit
    most = max(sum(moment - MINUTE < other <= moment for other in admitted) for moment in admitted)
    assert most == 97
    assert len(admitted) >= 0.99 * 97 * 10
    client.close()


def test_tokens_of_random_lengths_use_the_limit_when_they_are_settled(redis_url):
    client = redis.Redis.from_url(redis_url)
    counters, admitted, running = Counters(client, 0, [10_000]), [], []
    for number in itertools.count():
        if counters.now >= START + 10 * MINUTE:
            break
        for end, request_id, moment, tokens in [entry for entry in running if entry[0] <= counters.now]:
            running.remove((end, request_id, moment, tokens))
            counters.end(request_id, tokens)
            admitted.append((moment, tokens))
        request_id, _, wait = counters.reserve(300)
        if wait is None:
            running.append((counters.now + 2000, request_id, counters.now, 50 + number * 37 % 250))
        counters.now += 150
    sums = [sum(tokens for other, tokens in admitted if moment - MINUTE < other <= moment) for moment, _ in admitted]
    assert max(sums) <= 10_000
    assert sum(tokens for _, tokens in admitted) >= 0.95 * 10_000 * 10
    client.close()


def test_waiting_exactly_as_long_as_a_refusal_says_admits_the_next_request(redis_url):
    client = redis.Redis.from_url(redis_url)
    counters, waits = Counters(client, 1, [7, 900]), 0
    for number in range(4000):
        tokens = 100 + number * 61 % 800
        _, _, wait = counters.reserve(tokens)
        if wait is not None:
            counters.now += wait - 1
            assert counters.reserve(tokens)[2] == 1
            counters.now += 1
            assert counters.reserve(tokens)[2] is None
            waits += 1
        counters.now += number * 7919 % 4000
    assert waits >= 1000
    client.close()


def test_a_clock_that_goes_back_counts_on(redis_url):
    client = redis.Redis.from_url(redis_url)
    counters = Counters(client, 1, [3])
    for step in (0, -5000, -5000):
        counters.now += step
        assert counters.reserve()[2] is None
    assert counters.reserve()[1:] == ([3], START // 250 * 250 + 60_250 - counters.now)
    client.close()
