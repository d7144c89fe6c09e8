"""What a deployment's page says while it rolls, scales, sleeps, wakes, fails and is held back."""

import json
import re
from datetime import datetime, timedelta
from html import escape

import pytest
import redis
from django.test import Client
from django.utils import timezone

from accounts.models import Organization
from accounts.roles import Role
from console.components.formats import format_moment
from deployments.codes import Notice
from deployments.messages import describe_notice, describe_reason
from deployments.models import Deployment, WorkItem
from deployments.states import DeploymentStatus as S
from deployments.states import ReplicaState
from gateway import contract
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze, words_of

pytestmark = pytest.mark.django_db
BACKEND = "django.contrib.auth.backends.ModelBackend"
INPUTS = {"load": 28, "waiting": 6, "oldest_waiting_seconds": 2.4, "max_concurrency": 16, "load_per_replica": 11.2,
          "mean_load": 28.0, "mean_seconds": 60, "counted_load": 28.0, "needed": 3, "needed_by": "load",
          "min_replicas": 1, "max_replicas": 6}  # fmt: skip
ROSE = {"from": 1, "to": 3, "reason": {"code": "load_rose", "facts": INPUTS}}
HELD = {"code": "update_pool_too_small", "facts": {"gpu": "L40S", "gpu_count": 2, "freed": 1}}


@pytest.fixture
def owner() -> Organization:
    return rows.organization()


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def visitor(owner: Organization) -> Client:
    client = Client()
    client.force_login(rows.person("mara@example.com", owner, Role.ADMIN), backend=BACKEND)
    return client


def said(client: Client, deployment: Deployment, below: str = "", fragment: str = "status-banner") -> str:
    """The words of a fragment of a page."""
    answer = client.get(f"/deployments/{deployment.pk}/{below}")
    assert answer.status_code == 200
    text = answer.content.decode()
    assert "style=" not in text
    return words_of(text, fragment)


def notice(code: Notice, **facts: object) -> tuple[str, str]:
    """Heading and sentence of a notice, as they stand on a page."""
    text = describe_notice(code, **facts)
    return escape(text.title, quote=False), escape(text.sentence, quote=False)


def code_on(client: Client, deployment: Deployment) -> str:
    """What the banner of a deployment's page says, as a code."""
    return re.findall(r'data-code="(\w+)"', squeeze(client.get(f"/deployments/{deployment.pk}/")))[0]


def kinds_on(client: Client, deployment: Deployment, below: str) -> list[str]:
    """The kinds of the events on a page, in its order."""
    return re.findall(r'data-kind="(\w+)"', client.get(f"/deployments/{deployment.pk}/{below}").content.decode())


def changed(deployment: Deployment, **fields: object) -> Deployment:
    Deployment.objects.filter(pk=deployment.pk).update(**fields)
    deployment.refresh_from_db()
    return deployment


def waiting(url: str, deployment: Deployment, count: int, seconds: float) -> None:
    """What a living gateway says that it holds."""
    client = redis.Redis.from_url(url)
    now = client.time()[0]
    client.set(contract.EPOCH, "e1")
    client.zadd(contract.GATEWAYS, {"g1": now})
    held = contract.Waiting(count, now - seconds).to_json()
    client.hset(contract.load_key(str(deployment.pk)), contract.waiting_field("g1"), held)


def test_a_roll_says_from_which_revision_to_which_how_many_of_each_and_what_is_next(owner, now, visitor):
    text = said(visitor, rows.in_status(owner, S.ROLLING, now))
    heading, sentence = notice(Notice.ROLLING, previous=1, revision=2, replaced=1, replicas=2)
    assert heading in text
    assert sentence in text
    assert re.search(r"revision 1 1 ready, 1 draining revision 2 1 ready, 1 starting", text)
    assert re.search(r"Next: once r-\w{4} is ready, an old replica drains", text)


def test_the_end_of_a_roll_says_which_replica_finishes_and_how_long_it_may_take(owner, now, visitor):
    deployment = rows.in_status(owner, S.ROLLING, now)
    deployment.replicas.filter(state=ReplicaState.ENGINE_INITIALIZING).update(state=ReplicaState.READY)
    assert re.search(r"Next: r-\w{4} finishes its requests, at most 0:(3\d|40), then stops", said(visitor, deployment))


def test_a_roll_that_is_held_says_why(owner, now, visitor):
    deployment = changed(rows.in_status(owner, S.ROLLING, now), rollout_hold=HELD)
    assert f"Held: {escape(describe_reason(HELD).sentence, quote=False)}" in said(visitor, deployment)


def test_a_replica_of_an_equal_configuration_counts_as_replaced(owner, now, visitor):
    deployment = rows.in_status(owner, S.RUNNING, now)
    rows.revision(deployment, now, max_concurrency=32)
    rows.revision(deployment, now, max_concurrency=16, restores=1)
    assert code_on(visitor, deployment) == Notice.LIVE


def test_a_replica_that_has_just_become_ready_must_stay_so_before_an_old_one_goes(owner, now, visitor):
    deployment = rows.in_status(owner, S.RUNNING, now)
    rows.revision(deployment, now)
    changed(deployment, status=S.ROLLING)
    rows.replica(deployment, ReplicaState.READY, now, ready_at=now)
    assert re.search(r"Next: r-\w{4} must stay ready for \d+ s, then an old replica drains", said(visitor, deployment))


def test_falling_asleep_is_no_scaling(owner, now, visitor):
    deployment = changed(rows.in_status(owner, S.SCALING, now), desired_replicas=0, asleep_since=now)
    heading, sentence = notice(Notice.FALLING_ASLEEP)
    assert f"{heading} 1 ready, 1 starting. {sentence}" in said(visitor, deployment)


def test_scaling_says_from_what_to_what_and_why(owner, now, visitor):
    deployment = changed(rows.in_status(owner, S.SCALING, now), desired_replicas=3)
    rows.event(deployment, now, "scaled", **ROSE)
    text = said(visitor, deployment)
    heading, missing = notice(Notice.SCALING, before=1, replicas=3)
    assert f"{heading} {missing} 1 ready, 1 starting" in text
    sentence = escape(describe_reason(ROSE["reason"]).sentence, quote=False)
    assert re.search(rf"Decided at \d\d:\d\d:\d\d UTC: {re.escape(sentence)}", text)
    changed(deployment, pending_reason=rows.SHORTAGE)
    missing = escape(describe_reason(rows.SHORTAGE).sentence, quote=False)
    assert f"{heading} {missing} 1 ready, 1 starting." in said(visitor, deployment)


def test_a_start_beyond_its_expected_time_is_late_and_says_when_it_fails(owner, now, visitor):
    late = rows.deployment(owner, now, status=S.DEPLOYING)
    rows.replica(late, ReplicaState.ENGINE_INITIALIZING, now - timedelta(minutes=12), seconds=600)
    text = said(visitor, late)
    assert re.search(r"Late: expected by [\d: \w]+ UTC; this attempt fails at [\d: \w]+ UTC\.", text)
    listed = squeeze(visitor.get("/deployments/"))
    assert re.search(r"late, fails at [\d:]+ UTC", listed)
    assert re.search(r'Needs attention</dt><dd class="tone-waiting">1</dd><dd>1 start late', listed)


def test_a_start_is_expected_to_take_what_earlier_ones_took(owner, now, visitor):
    rows.replica(rows.deployment(owner, now, "earlier"), ReplicaState.READY, now, seconds=20, ready_at=now)
    starting = rows.deployment(owner, now, "starting", status=S.DEPLOYING)
    row = rows.replica(starting, ReplicaState.DOWNLOADING_MODEL, now, state_since=now - timedelta(seconds=30))
    assert "Late" not in said(visitor, starting)
    row.state_since = now - timedelta(seconds=36)
    row.save()
    assert "Late: expected by" in said(visitor, starting)


def test_the_timeline_answers_why_it_scaled_with_every_number(owner, now, visitor):
    deployment = rows.in_status(owner, S.RUNNING, now)
    rows.event(deployment, now, "scaled", **ROSE)
    text = said(visitor, deployment, fragment="timeline")
    assert "Why did it scale?" in text
    assert "Needed now 28 ÷ 11.2, rounded up 3" in text
    assert "Decided up at once 3 replicas" in text


def test_sleeping_says_since_when_what_it_costs_and_how_long_a_start_takes_here(owner, now, visitor):
    earlier = rows.deployment(owner, now)
    rows.replica(earlier, ReplicaState.READY, now, seconds=14, ready_at=now)
    asleep = rows.in_status(owner, S.SLEEPING, now - timedelta(minutes=5))
    text = said(visitor, asleep)
    assert "5 min" in text
    assert notice(Notice.ASLEEP)[1] in text
    assert "a start typically takes 0:42, based on 1 earlier start" in text


def heading_of_waking(deployment: Deployment) -> str:
    at = format_moment(deployment.woken_at, deployment.woken_at)
    return notice(Notice.WAKING, least=deployment.min_replicas, at=at)[0]


def test_waking_says_when_it_was_woken_and_who_waits_for_how_long(owner, now, visitor, redis_url):
    waking = rows.in_status(owner, S.DEPLOYING, now)
    changed(waking, woken_at=now - timedelta(seconds=12), min_replicas=0, max_replicas=3, autoscaling_enabled=True)
    waiting(redis_url, waking, 4, 12)
    text = said(visitor, waking)
    assert heading_of_waking(waking) in text
    assert re.search(r"4 requests waiting, the oldest for 0:1[2-4]", text)
    assert "+ 4" in said(visitor, waking, fragment="readouts")
    changed(waking, min_replicas=1)
    assert heading_of_waking(waking) in said(visitor, waking)


def test_who_waits_is_not_known_without_a_living_gateway(owner, now, visitor, redis_url):
    waking = changed(rows.in_status(owner, S.DEPLOYING, now), woken_at=now)
    assert "The number of waiting requests is unknown" in said(visitor, waking)


def test_a_start_after_a_crash_is_no_waking(owner, now, visitor):
    crashed = changed(rows.in_status(owner, S.DEPLOYING, now), woken_at=now - timedelta(hours=1))
    rows.replica(crashed, ReplicaState.STOPPED, now, ready_at=now - timedelta(minutes=50))
    assert code_on(visitor, crashed) == Notice.STARTING


def test_a_failure_offers_the_ways_out_beside_its_cause(owner, now, visitor):
    failed = rows.in_status(owner, S.FAILED, now)
    text = said(visitor, failed)
    said_of_it = describe_reason(rows.CAUSE)
    assert escape(f"{said_of_it.sentence} {said_of_it.action}", quote=False) in text
    assert "Traceback &lt;b&gt;" in text
    assert re.search(r"Retry\s+Edit\s+Redeploy", text)


def headings_of_third_attempt() -> list[str]:
    return [notice(Notice.STARTING_AGAIN, seconds=seconds, attempt=3, attempts=3)[0] for seconds in (1, 2, 3)]


def test_a_back_off_says_when_it_starts_again_and_which_attempt_it_is(owner, now, visitor):
    held = rows.in_status(owner, S.PENDING, now)
    changed(held, pending_reason=None)
    rows.failure(held, now, 30)
    rows.failure(held, now, 1)
    text = said(visitor, held)
    assert any(heading in text for heading in headings_of_third_attempt())
    assert escape(describe_reason(rows.CAUSE).sentence, quote=False) in text
    assert "Retry" in text


def test_an_update_that_waits_after_a_failure_says_so_while_the_old_replica_serves(owner, now, visitor):
    updated = rows.in_status(owner, S.RUNNING, now)
    rows.revision(updated, now, max_concurrency=512)
    rows.failure(updated, now, 30)
    rows.failure(updated, now, 1)
    text = said(visitor, updated)
    assert any(heading in text for heading in headings_of_third_attempt())
    assert notice(Notice.STARTING_AGAIN, ready=1)[1] in text
    assert "Retry" in text


def test_failures_before_people_asked_to_try_again_hold_nothing_back(owner, now, visitor):
    held = changed(rows.in_status(owner, S.PENDING, now), tried_since=now)
    rows.failure(held, now, 1)
    assert code_on(visitor, held) != Notice.STARTING_AGAIN


def test_an_automatic_rollback_is_told_until_the_next_change(owner, now, visitor):
    deployment = rows.in_status(owner, S.RUNNING, now)
    cause = {**rows.CAUSE, "evidence": "CUDA <error>"}
    rows.revision(deployment, now, max_concurrency=512, cause=cause)
    rows.revision(deployment, now, max_concurrency=16, restores=1)
    text = said(visitor, deployment)
    assert "Revision 2 could not start and was rolled back to revision 1, now revision 3" in text
    assert escape(describe_reason(cause).sentence, quote=False) in text
    assert "CUDA &lt;error&gt;" in text
    rows.revision(deployment, now, max_concurrency=64)
    assert "could not start" not in said(visitor, deployment)


def test_what_is_terminated_can_be_redeployed_from_its_page(owner, now, visitor):
    ended = rows.in_status(owner, S.TERMINATED, now)
    assert "Redeploy" in said(visitor, ended)
    answer = visitor.post(f"/deployments/{ended.pk}/redeploy/", follow=True)
    ended.refresh_from_db()
    assert (ended.status, ended.terminate_requested_at) == (S.PENDING, None)
    assert "Redeploying" in squeeze(answer)


def test_retry_starts_anew_and_says_so_and_says_why_not_where_nothing_failed(owner, now, visitor):
    failed = rows.in_status(owner, S.FAILED, now)
    assert "Earlier failures no longer count" in squeeze(visitor.post(f"/deployments/{failed.pk}/retry/", follow=True))
    failed.refresh_from_db()
    assert (failed.failed_at, failed.cause) == (None, None)
    running = rows.in_status(owner, S.RUNNING, now)
    assert "nothing to retry" in squeeze(visitor.post(f"/deployments/{running.pk}/retry/", follow=True))


def test_older_events_are_reached_page_by_page_and_chosen_by_kind(owner, now, visitor):
    deployment = rows.in_status(owner, S.RUNNING, now)
    for number in range(120):
        rows.event(deployment, now, "replica_ready", replica=f"r-{number}", start_seconds=1)
    rows.event(deployment, now, "scaled", **ROSE)
    seen, address = [], f"/deployments/{deployment.pk}/events/?kind=replicas"
    while address:
        text = squeeze(visitor.get(address))
        seen += re.findall(r'data-kind="replica_ready".*?r-(\d+)', text)
        older = re.search(r'id="older" href="([^"]+)"', text)
        address = older[1].replace("&amp;", "&") if older else ""
    assert seen == [str(number) for number in reversed(range(120))]
    assert set(kinds_on(visitor, deployment, "events/?kind=scaling")) == {"scaled"}


@pytest.mark.parametrize("query", ["?before=x", "?before=-1", "?before=99999999999999999999", "?kind=nothing"])
def test_an_address_of_events_is_read_leniently(owner, now, visitor, query):
    assert kinds_on(visitor, rows.in_status(owner, S.RUNNING, now), f"events/{query}") == ["created"]


def test_adapters_are_counted_in_a_badge_that_lists_them_and_offered_to_callers(owner, now, visitor):
    deployment = rows.in_status(owner, S.RUNNING, now)
    spec = deployment.revision.spec | {"adapters": [{"name": "sql", "repository": "org/sql-lora", "revision": ""}]}
    deployment.revision.spec = json.loads(json.dumps(spec))
    deployment.revision.save()
    text = squeeze(visitor.get(f"/deployments/{deployment.pk}/"))
    badge = re.search(r'<button class="tag" type="button" id="lora-engine" popovertarget="([^"]+)"[^>]*>\+1 LoRA', text)
    assert re.search(rf'id="{badge[1]}" popover[^>]*>.*?in-running:sql.*?org/sql-lora', text, re.S)
    assert "<dt>Adapter</dt><dd><code>in-running:sql</code></dd>" in text


def test_cells_are_drawn_up_to_what_the_range_allows(owner, now, visitor):
    deployment = changed(rows.in_status(owner, S.RUNNING, now), autoscaling_enabled=True, max_replicas=4)
    text = squeeze(visitor.get(f"/deployments/{deployment.pk}/"))
    readouts = text[text.index('id="readouts"') :]
    assert readouts[readouts.index('<span class="cells"') :].startswith(
        '<span class="cells" aria-hidden="true"><i class="ready"></i><i></i><i></i><i></i></span>'
    )
    assert "range 1–4" in readouts


def test_passes_that_break_are_said_on_the_page_and_counted_in_the_list(owner, now, visitor):
    deployment = rows.deployment(owner, now, status=S.RUNNING)
    since = now - timedelta(minutes=3)
    WorkItem.objects.create(deployment=deployment, failures=4, failing_since=since, error="KeyError")
    text = said(visitor, deployment)
    since = format_moment(since, timezone.now())
    assert " ".join(notice(Notice.BROKEN, error="KeyError", attempts=4, since=since)) in text
    assert "1 with internal errors" in visitor.get("/deployments/").content.decode()
