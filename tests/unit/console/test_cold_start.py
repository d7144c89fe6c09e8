from datetime import UTC, datetime, timedelta

from console.playground.answer import Measurements
from console.playground.cold_start import describe_wait, split_cold_start
from deployments.queries import Durations

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MEASURED = Measurements(ttft_ms=21_352, itl_ms=10.0, input_tokens=7, output_tokens=2)


USUAL = Durations(p50_seconds=42.0, high_seconds=50.0, shortest_seconds=40.0, count=4)


def test_a_wait_names_the_phase_of_the_replica_that_is_furthest_and_what_is_usual():
    wait = describe_wait(["REQUESTING_GPU", "DOWNLOADING_MODEL"], USUAL, 8.0)
    assert wait.words == "Cold start: downloading model,"
    assert (wait.elapsed, wait.expected) == ("0:08", "of about 0:40 to 0:50, based on 4 earlier starts")


def test_without_a_replica_it_waits_for_gpus():
    assert describe_wait(["STOPPING"], USUAL, 1.0).words == "Cold start: waiting for GPUs,"


def test_with_a_ready_replica_it_waits_for_a_token_and_nothing_starts():
    wait = describe_wait(["READY", "ENGINE_INITIALIZING"], USUAL, 1.0)
    assert (wait.words, wait.expected) == ("Waiting for the first token,", "")


def test_the_cold_start_is_told_apart_from_the_ttft():
    split = split_cold_start(MEASURED, NOW, NOW + timedelta(seconds=21))
    assert (split.cold_start_seconds, split.ttft_ms) == (21.0, 352)


def test_a_start_that_nobody_saw_is_all_of_the_wait_and_times_are_never_negative():
    assert split_cold_start(MEASURED, NOW, None).cold_start_seconds == 21.4
    assert split_cold_start(MEASURED, NOW, NOW + timedelta(seconds=30)).ttft_ms == 0
    assert split_cold_start(MEASURED, NOW, NOW - timedelta(seconds=1)).cold_start_seconds == 0
