"""What a deployment is doing now, why, and what comes next, in one or two lines that stand at the same place of its
page in every status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings

from console.components.formats import format_count, format_duration, format_elapsed, format_moment, join_words
from console.pages.overview import Overview
from deployments.states import DeploymentStatus, ReplicaState

S, R = DeploymentStatus, ReplicaState


@dataclass(frozen=True)
class Now:
    """`title` says what, `lines` why and what next. `tone` is empty where all is well."""

    tone: str
    icon: str
    title: str
    lines: tuple[str, ...] = ()

    @property
    def detail(self) -> str:
        return " ".join(one for one in self.lines if one)


def now(overview: Overview) -> Now:
    """The first that fits: what holds it back comes before what its status says."""
    status = S(overview.deployment.status)
    if status in (S.FAILED, S.TERMINATED, S.TERMINATING, S.SLEEPING):
        return BY_STATUS[status](overview)
    if overview.backoff_left is not None:
        return _held_back(overview)
    if overview.is_waking:
        return _waking(overview)
    if overview.rollout.is_going_on or overview.deployment.rollout_hold:
        return _rolling(overview)
    return BY_STATUS[status](overview)


def _pending(overview: Overview) -> Now:
    deployment = overview.deployment
    waits = f"Waiting for {overview.gpus}, {overview.place_in_words}" if overview.place else "Waiting for its turn"
    reason = f"{deployment.pending_reason.rstrip('.')}." if deployment.pending_reason else "Free GPUs are looked for."
    calm = "It starts by itself as soon as GPUs are free; nothing is held meanwhile."
    return Now("waiting" if overview.waits else "", "status-pending", waits, (reason, calm))


def _deploying(overview: Overview) -> Now:
    starting = overview.starting
    title = f"Starting {format_count(overview.wanted, 'replica')}"
    if not starting:
        return Now("moving", "status-deploying", title, ("Waits for its GPUs.",))
    first, failures = overview.furthest, overview.backoff.failures
    progress = f", {first.progress}" if first.progress else ""
    tries = f"attempt {failures + 1} of {settings.FAILURES_BEFORE_FAILED}"
    again = f"It is {tries}; the last one ended: {overview.last_failure}" if failures else ""
    lines = (f"{first.short}: {first.title}{progress}.", _expected(overview), again)
    return Now("moving", "status-deploying", title, lines)


def _expected(overview: Overview) -> str:
    chart = next((start.chart for start in overview.starts if not start.is_over), None)
    if chart and chart.ready_about_at:
        return f"Ready about {chart.ready_about_at:%H:%M:%S} UTC, as earlier starts here went."
    return "It takes longer than the p95 of earlier starts here." if chart and chart.is_late else ""


def _running(overview: Overview) -> Now:
    on = f"Revision {overview.revision.number} on {format_count(overview.ready, 'replica')}"
    return Now("good", "status-running", "Serves requests", (f"{on}, {overview.allowed}.",))


def _scaling(overview: Overview) -> Now:
    before, after = overview.scaled_from, overview.wanted
    if overview.deployment.asleep_since:
        return Now("resting", "status-sleeping", "Falling asleep", (_moves(overview), "Then it holds no GPU."))
    title = f"Scaling from {before} to {format_count(after, 'replica')}"
    if before == after:
        title = (
            f"Bringing {format_count(after, 'replica')} up" if overview.ready < after else "Stopping what is too many"
        )
    return Now("moving", "status-scaling", title, (overview.scaled_because, _moves(overview)))


def _moves(overview: Overview) -> str:
    starting = f"{len(overview.starting)} starting" if overview.starting else ""
    ending = len(overview.live) - overview.ready - len(overview.starting)
    said = join_words([one for one in (starting, f"{ending} ending" if ending else "") if one])
    return f"{overview.ready} ready{', ' + said if said else ''}."


def _rolling(overview: Overview) -> Now:
    rollout = overview.rollout
    tone = "waiting" if rollout.hold else "moving"
    to = rollout.revision.number
    title = f"Rolling from revision {rollout.before} to {to}" if rollout.before else f"Rolling to revision {to}"
    done = f"{rollout.replaced} of {rollout.wanted} replaced." if rollout.wanted else ""
    return Now(tone, "status-rolling", title, (done, rollout.next))


def _sleeping(overview: Overview) -> Now:
    asleep = overview.deployment.asleep_since or overview.deployment.status_since
    idle = format_duration((overview.now - asleep).total_seconds())
    title = f"Asleep since {format_moment(asleep, overview.now)} UTC, {idle}"
    if overview.waiting:
        return Now("resting", "status-sleeping", title, (f"{_queue(overview)}: it is about to wake.",))
    costs = "No replica runs: it holds no GPU and costs nothing."
    return Now("resting", "status-sleeping", title, (costs, f"The next request wakes it; {overview.typical_start}."))


def _waking(overview: Overview) -> Now:
    woken_at = overview.deployment.woken_at or overview.now
    least = overview.deployment.min_replicas
    by = "by a request" if not least else f"as at least {format_count(least, 'replica')} must run,"
    title = f"Woken {by} at {format_moment(woken_at, overview.now)} UTC"
    expected = _expected(overview) or f"{overview.typical_start.capitalize()}."
    reason = f"{overview.deployment.pending_reason.rstrip('.')}." if overview.deployment.pending_reason else ""
    return Now("moving", "sun", title, (f"{_queue(overview)}.", reason, expected))


def _queue(overview: Overview) -> str:
    """3 requests wait for it, the oldest for 0:12."""
    if overview.waiting is None:
        return "How many requests wait is not known now"
    if not overview.waiting:
        return "No request waits now"
    verb = "waits" if overview.waiting == 1 else "wait"
    oldest = format_elapsed(overview.oldest_waiting_seconds)
    return f"{format_count(overview.waiting, 'request')} {verb}, the oldest for {oldest}"


def _held_back(overview: Overview) -> Now:
    left = overview.backoff_left or 0.0
    when = f"in {max(1, round(left))} s" if left > 0 else "now"
    title = f"Starts again {when}, attempt {overview.backoff.failures + 1} of {settings.FAILURES_BEFORE_FAILED}"
    serves = f"{format_count(overview.ready, 'replica')} serving meanwhile." if overview.ready else ""
    return Now("waiting", "refresh", title, (overview.last_failure, serves))


def _failed(overview: Overview) -> Now:
    cause = overview.deployment.cause or {}
    title = str(cause.get("message") or "It failed, and nothing says why.")
    return Now("bad", "status-failed", title, (str(cause.get("action", "")),))


def _terminating(overview: Overview) -> Now:
    live = overview.live
    if not live:
        return Now("gone", "status-terminating", "Ending: nothing is left to stop")
    busy = format_count(overview.in_flight, "request") if overview.in_flight else ""
    finish = f"{busy} in flight may finish, for at most {settings.DRAIN_SECONDS} s." if busy else ""
    return Now("gone", "status-terminating", f"Ending: {format_count(len(live), 'replica')} to stop", (finish,))


def _terminated(overview: Overview) -> Now:
    deployment = overview.deployment
    by = f" by {deployment.terminated_by}" if deployment.terminated_by else ""
    title = f"Terminated {format_moment(deployment.terminated_at or overview.now, overview.now)} UTC{by}"
    stays = "No GPU is held. Events, logs and usage stay until you delete it."
    return Now("gone", "status-terminated", title, (stays,))


BY_STATUS: dict[DeploymentStatus, Callable[[Overview], Now]] = {
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
