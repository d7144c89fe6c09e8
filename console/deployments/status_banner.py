"""The banner of a deployment's page: what it is doing now, why, and what comes next, in one or two lines that stand at
the same place in every status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.conf import settings

from console.components.formats import format_count, format_duration, format_moment, join_words
from console.components.measured_starts import describe_starts
from console.deployments.page_context import CurrentState
from console.deployments.replica_rows import format_replica_range
from console.deployments.rollout_progress import RevisionReplicas, find_rollout
from console.deployments.startup_waterfall import Waterfall
from deployments import queries
from deployments.codes import Notice
from deployments.events import Kind
from deployments.messages import Text, describe_notice, describe_reason
from deployments.models import DeploymentEvent, Revision, WorkItem
from deployments.states import STARTING_ORDER, DeploymentStatus, ReplicaState

S, R = DeploymentStatus, ReplicaState
# A deployment that finds its GPUs within this time shows no notice that would disappear again.
SILENT = timedelta(seconds=5)
MAX_NAMED = 3
# A scaling decision may be this much older than the status that follows from it.
BEFORE_STATUS = timedelta(seconds=10)


@dataclass(frozen=True)
class Banner:
    """`title` is what happens, `lines` why and what next, `code` that of the reason, cause or notice that they give;
    `tone` is empty where all is well. `by_revision` is filled during a rolling update. `rolled_back`: the revision that
    could not start and was rolled back automatically."""

    tone: str
    icon: str
    title: str
    lines: tuple[str, ...]
    code: str
    by_revision: Sequence[RevisionReplicas] = field(default=())
    rolled_back: Revision | None = None

    @property
    def detail(self) -> str:
        return " ".join(line for line in self.lines if line)


@dataclass(frozen=True)
class Situation:
    """What the texts are made from; `startup` is the waterfall of the first start that goes on, `limits` are its."""

    state: CurrentState
    startup: Waterfall | None
    limits: queries.StartLimits | None

    @property
    def is_late(self) -> bool:
        return self.limits is not None and self.limits.is_late(self.state.now)

    @property
    def expected_ready(self) -> str:
        if self.limits and self.is_late:
            now = self.state.now
            expected, fails = (format_moment(at, now) for at in (self.limits.expected_at, self.limits.fails_at))
            return f"Late: expected by {expected} UTC; this attempt fails at {fails} UTC."
        if self.startup and self.startup.ready_about_at:
            return f"Ready at about {self.startup.ready_about_at:%H:%M:%S} UTC, based on earlier starts."
        return ""

    @property
    def pending(self) -> Text | None:
        """Why fewer replicas run than desired."""
        deployment = self.state.deployment
        return queries.explain_pending(deployment, self.state.now, queries.queue_position(deployment))

    @property
    def last_failure(self) -> str:
        return next((row.cause for row in self.state.ended if row.replica.state == R.FAILED), "")

    @property
    def replica_counts(self) -> str:
        """1 ready, 2 starting and 1 ending."""
        state = self.state
        starting, unknown = len(state.starting), len(state.unknown)
        ending = len(state.live) - state.ready - starting - unknown
        counts = ((starting, "starting"), (ending, "ending"), (unknown, "unknown"))
        moving = join_words([f"{n} {word}" for n, word in counts if n])
        return f"{state.ready} ready{', ' + moving if moving else ''}."

    @property
    def waiting_requests(self) -> str:
        """3 requests waiting, the oldest for 0:12."""
        waiting = self.state.waiting
        if waiting is None:
            return "The number of waiting requests is unknown"
        if not waiting:
            return "No requests are waiting"
        return f"{format_count(waiting, 'request')} waiting, the oldest for {self.state.oldest_waiting}"


def read_banner(state: CurrentState, startup: Waterfall | None, limits: queries.StartLimits | None) -> Banner:
    """The first text that applies: what delays the deployment comes before what its status says."""
    situation, rollout = Situation(state, startup, limits), find_rollout(state)
    status = S(state.deployment.status)
    if broken := queries.broken_pass(state.deployment):
        banner = _broken(situation, broken)
    elif status in (S.FAILED, S.TERMINATED, S.TERMINATING, S.SLEEPING):
        banner = BY_STATUS[status](situation)
    elif state.backoff_left is not None:
        banner = _backing_off(situation)
    elif _is_waking(state):
        banner = _waking(situation)
    elif rollout.is_rolling or state.deployment.rollout_hold:
        banner = _rolling(situation)
    else:
        banner = BY_STATUS[status](situation)
    if state.unknown:
        banner = replace(banner, tone="bad", lines=(_explain_unknown(state), *banner.lines))
    is_split = rollout.is_rolling and state.deployment.terminate_requested_at is None
    return Banner(
        banner.tone,
        banner.icon,
        banner.title,
        banner.lines,
        banner.code,
        by_revision=rollout.by_revision if is_split else (),
        rolled_back=_find_rolled_back(state),
    )


def _explain_unknown(state: CurrentState) -> str:
    count = len(state.unknown)
    names = [row.short for row in state.unknown[:MAX_NAMED]] + ["…"] * (count > MAX_NAMED)
    notice = Notice.UNKNOWN_REPLICA if count == 1 else Notice.UNKNOWN_REPLICAS
    return describe_notice(notice, count=count, names=", ".join(names)).sentence


def _pending(situation: Situation) -> Banner:
    state, reason = situation.state, situation.pending
    tone = "waiting" if reason or state.now - state.deployment.status_since > SILENT else ""
    if reason is None:
        text = describe_notice(Notice.LOOKING_FOR_GPUS, gpus=state.header.gpus)
        return Banner(tone, "status-pending", text.title, (text.sentence,), text.code)
    return Banner(tone, "status-pending", reason.title, (reason.sentence, reason.action), reason.code)


def _deploying(situation: Situation) -> Banner:
    state = situation.state
    text = describe_notice(Notice.STARTING, replicas=state.wanted)
    if not state.starting:
        return Banner("moving", "status-deploying", text.title, (text.sentence,), text.code)
    first = max(state.starting, key=lambda row: STARTING_ORDER.index(R(row.replica.state)))
    progress = f", {first.progress}" if first.progress else ""
    failures, attempts = state.backoff.failures, settings.FAILURES_BEFORE_FAILED
    attempt = f"Attempt {failures + 1} of {attempts}. The last attempt failed: {situation.last_failure}"
    lines = (f"{first.short}: {first.title}{progress}.", situation.expected_ready, attempt if failures else "")
    return Banner("waiting" if situation.is_late else "moving", "status-deploying", text.title, lines, text.code)


def _running(situation: Situation) -> Banner:
    state = situation.state
    replica_range = format_replica_range(state.deployment)
    text = describe_notice(Notice.LIVE, revision=state.revision.number, replicas=state.ready, range=replica_range)
    return Banner("good", "status-running", text.title, (text.sentence,), text.code)


def _scaling(situation: Situation) -> Banner:
    state = situation.state
    if state.deployment.asleep_since:
        text = describe_notice(Notice.FALLING_ASLEEP)
        return Banner("resting", "status-sleeping", text.title, (situation.replica_counts, text.sentence), text.code)
    decision = _find_scaling_decision(state)
    before, after = int(decision.facts.get("from", state.wanted)) if decision else state.wanted, state.wanted
    notice = Notice.SCALING
    if before == after:
        notice = Notice.ADDING_REPLICAS if state.ready < after else Notice.STOPPING_SURPLUS
    text = describe_notice(notice, before=before, replicas=after)
    waits = state.ready + len(state.starting) + len(state.unknown) < after
    missing = situation.pending.sentence if situation.pending else text.sentence
    decided, reason = describe_reason(decision.facts["reason"]) if decision else None, ""
    if decision and decided:
        reason = f"Decided at {format_moment(decision.at, state.now)} UTC: {decided.sentence}"
    lines = (missing if waits else situation.expected_ready, situation.replica_counts, reason)
    tone = "waiting" if waits or situation.is_late else "moving"
    title = text.title
    if state.unknown and not waits and not state.starting:
        title = describe_notice(Notice.UNKNOWN_REPLICA if len(state.unknown) == 1 else Notice.UNKNOWN_REPLICAS).title
    return Banner(tone, "status-scaling", title, lines, decided.code if decided else text.code)


def _rolling(situation: Situation) -> Banner:
    state, rollout = situation.state, find_rollout(situation.state)
    tone = "waiting" if state.deployment.rollout_hold else "moving"
    text = describe_notice(
        Notice.ROLLING,
        previous=rollout.previous_number,
        revision=rollout.number,
        replaced=rollout.replaced,
        replicas=state.wanted,
    )
    replaced = text.sentence if state.wanted else ""
    return Banner(tone, "status-rolling", text.title, (replaced, rollout.next_step), text.code)


def _sleeping(situation: Situation) -> Banner:
    state = situation.state
    asleep = state.deployment.asleep_since or state.deployment.status_since
    idle = format_duration((state.now - asleep).total_seconds())
    facts = {"since": format_moment(asleep, state.now), "idle": idle}
    if state.waiting:
        text = describe_notice(Notice.ABOUT_TO_WAKE, **facts, waiting=situation.waiting_requests)
    else:
        text = describe_notice(Notice.ASLEEP, **facts, typical_start=_read_typical_start(state))
    return Banner("resting", "status-sleeping", text.title, (text.sentence, text.action), text.code)


def _waking(situation: Situation) -> Banner:
    state, deployment = situation.state, situation.state.deployment
    woken_at: datetime = deployment.woken_at or state.now
    text = describe_notice(
        Notice.WAKING,
        least=deployment.min_replicas,
        at=format_moment(woken_at, state.now),
        waiting=situation.waiting_requests,
    )
    reason = situation.pending
    expected = situation.expected_ready or f"{_read_typical_start(state).capitalize()}."
    lines = (text.sentence, reason.sentence if reason else "", expected)
    return Banner("moving", "sun", text.title, lines, reason.code if reason else text.code)


def _broken(situation: Situation, work: WorkItem) -> Banner:
    """Whatever the status says is out of date."""
    state = situation.state
    text = describe_notice(
        Notice.BROKEN,
        error=work.error,
        attempts=work.failures,
        since=format_moment(work.failing_since or state.now, state.now),
        ready=state.ready,
    )
    return Banner("bad", "status-failed", text.title, (text.sentence, text.action), text.code)


def _backing_off(situation: Situation) -> Banner:
    state = situation.state
    left = state.backoff_left or 0.0
    text = describe_notice(
        Notice.STARTING_AGAIN,
        seconds=max(1, round(left)) if left > 0 else None,
        attempt=state.backoff.failures + 1,
        attempts=settings.FAILURES_BEFORE_FAILED,
        ready=state.ready,
    )
    return Banner("waiting", "refresh", text.title, (situation.last_failure, text.sentence), text.code)


def _failed(situation: Situation) -> Banner:
    cause = situation.state.deployment.cause
    if not cause:
        text = describe_notice(Notice.FAILED_WITHOUT_CAUSE)
        return Banner("bad", "status-failed", text.title, (), text.code)
    text = describe_reason(cause)
    return Banner("bad", "status-failed", text.sentence, (text.action,), text.code)


def _terminating(situation: Situation) -> Banner:
    state = situation.state
    requests = state.in_flight if state.live else None
    text = describe_notice(
        Notice.TERMINATING, replicas=len(state.live), requests=requests, drain_seconds=settings.DRAIN_SECONDS
    )
    return Banner("gone", "status-terminating", text.title, (text.sentence,), text.code)


def _terminated(situation: Situation) -> Banner:
    deployment, now = situation.state.deployment, situation.state.now
    text = describe_notice(
        Notice.TERMINATED,
        at=format_moment(deployment.terminated_at or now, now),
        actor=deployment.terminated_by.email if deployment.terminated_by else None,
        event_days=settings.EVENT_DAYS,
        log_days=settings.REPLICA_LOG_DAYS,
    )
    return Banner("gone", "status-terminated", text.title, (text.sentence,), text.code)


BY_STATUS: dict[DeploymentStatus, Callable[[Situation], Banner]] = {
    S.PENDING: _pending,
    S.DEPLOYING: _deploying,
    S.RUNNING: _running,
    S.SCALING: _scaling,
    S.ROLLING: _rolling,
    S.SLEEPING: _sleeping,
    S.FAILED: _failed,
    S.TERMINATING: _terminating,
    S.TERMINATED: _terminated,
}


def _is_waking(state: CurrentState) -> bool:
    """A request woke it, and no replica has become ready since."""
    woken_at = state.deployment.woken_at
    if woken_at is None or state.deployment.status not in (S.PENDING, S.DEPLOYING):
        return False
    return not any(row.replica.ready_at and row.replica.ready_at >= woken_at for row in (*state.live, *state.ended))


def _find_scaling_decision(state: CurrentState) -> DeploymentEvent | None:
    """The decision that the present scaling follows from."""
    event = state.deployment.events.filter(kind=Kind.SCALED).first()
    if event is None or event.facts.get("to") != state.wanted:
        return None
    return event if event.at >= state.deployment.status_since - BEFORE_STATUS else None


def _find_rolled_back(state: CurrentState) -> Revision | None:
    """The revision that could not start and was rolled back automatically, until the next change."""
    if state.revision.restores is None or state.revision.created_by_id is not None:
        return None
    earlier = state.deployment.revisions.filter(number__lt=state.revision.number, cause__isnull=False)
    return earlier.order_by("-number").first()


def _read_typical_start(state: CurrentState) -> str:
    """How long earlier starts here took; a part of a sentence."""
    total = queries.measure_starts(state.deployment).total
    if total is None:
        return "how long a start takes is not known yet"
    return f"a start typically takes {describe_starts(total)}"
