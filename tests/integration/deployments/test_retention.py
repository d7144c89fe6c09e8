"""What is older than its retention is deleted in bounded batches; live rows and usage stay."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import Q

from billing.models import UsageHour
from billing.queries import sum_usage
from deployments import queries, retention
from deployments.events import Kind
from deployments.models import Deployment, DeploymentEvent, Replica, ReplicaPhase
from deployments.states import ReplicaState as R
from tests.integration.console import deployment_rows as rows

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.fixture
def deployment(settings) -> Deployment:
    settings.ENDED_REPLICA_DAYS, settings.REPLICA_LOG_DAYS, settings.EVENT_DAYS = 35, 30, 400
    return rows.deployment(rows.organization(), NOW)


def ended(deployment: Deployment, days: int, state: R = R.STOPPED) -> Replica:
    at = NOW - timedelta(days=days)
    return rows.replica(deployment, state, at, released_at=at, log_tail="last words")


def event(deployment: Deployment, days: int, kind: Kind = Kind.SCALED, actor: str = "console") -> DeploymentEvent:
    return DeploymentEvent.objects.create(
        organization=deployment.organization, deployment=deployment, at=NOW - timedelta(days=days),
        kind=kind, actor=actor,
    )  # fmt: skip


def test_ended_replicas_are_deleted_with_their_phases(deployment):
    young, live = ended(deployment, 34), rows.replica(deployment, R.READY, NOW - timedelta(days=90))
    ended(deployment, 36)
    ended(deployment, 40, R.FAILED)
    assert retention.delete_ended_replicas(NOW) == 2
    assert set(Replica.objects.all()) == {young, live}
    assert {phase.replica_id for phase in ReplicaPhase.objects.all()} == {young.pk, live.pk}
    assert retention.delete_ended_replicas(NOW) == 0


def test_the_logs_of_replicas_go_before_the_replicas(deployment):
    old, young, live = ended(deployment, 31), ended(deployment, 29), rows.replica(deployment, R.READY, NOW)
    Replica.objects.filter(pk=live.pk).update(log_tail="still here")
    assert retention.delete_kept_logs(NOW) == 1
    kept = dict(Replica.objects.values_list("pk", "log_tail"))
    assert kept == {old.pk: "", young.pk: "last words", live.pk: "still here"}


def test_events_are_deleted_oldest_first(deployment, monkeypatch):
    monkeypatch.setattr(retention, "BATCH_SIZE", 2)
    for days in (500, 450, 401):
        event(deployment, days)
    kept = [event(deployment, 399), event(deployment, 0)]
    assert retention.delete_events(NOW) == 3
    assert list(DeploymentEvent.objects.order_by("id")) == kept


def test_who_changed_a_deployment_last_is_known_as_long_as_it_exists(deployment):
    event(deployment, 500, Kind.CREATED, "ada@example.com")
    last = event(deployment, 450, Kind.EDITED, "bob@example.com")
    event(deployment, 440)
    gone = rows.deployment(deployment.organization, NOW, name="gone", deleted_at=NOW)
    event(gone, 430, Kind.DELETED)
    event(gone, 430, Kind.TERMINATE_REQUESTED)
    assert retention.delete_events(NOW) == 4
    assert queries.last_change(deployment) == ("bob@example.com", last.at)


def test_one_run_is_bounded_and_the_next_takes_the_rest(deployment, monkeypatch):
    monkeypatch.setattr(retention, "BATCH_SIZE", 2)
    monkeypatch.setattr(retention, "MAX_ROWS", 4)
    for _ in range(5):
        ended(deployment, 36)
        event(deployment, 401)
    assert [retention.delete_ended_replicas(NOW) for _ in range(3)] == [4, 1, 0]
    assert [retention.delete_events(NOW) for _ in range(3)] == [4, 1, 0]


def test_usage_of_deleted_replicas_stays(deployment):
    user = rows.person("ada@example.com", deployment.organization)
    hour = (NOW - timedelta(days=40)).replace(minute=0)
    UsageHour.objects.create(
        organization_id=deployment.organization_id, owner_organization_id=deployment.organization_id,
        deployment_id=deployment.pk, key_id=user.pk, user_id=user.pk, hour=hour, requests=7,
    )  # fmt: skip
    ended(deployment, 40)
    assert retention.delete_ended_replicas(NOW) == 1
    (row,) = sum_usage(condition=Q(), since=NOW - timedelta(days=60), until=NOW, group_by="deployment")
    assert row.requests == 7
