"""The message catalogue: what each code says to people, for pages, events and the API. Pure.

Only codes and facts are stored (`deployments/codes.py`), so a message that is worded anew is worded anew everywhere,
for what happened earlier too. An unknown code, such as one of a later release, renders as itself.

A message is a template. `{gpu}` is a fact, `{replicas:#replica}` one in a format of `_format`. What is within brackets
is left out when one of its facts is absent, empty or zero (facts are added over time, and some are not always known);
what follows a bar there takes its place.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from deployments.codes import CauseCode, ClusterProblem, Kind, Notice, ReasonCode, StopReason
from deployments.config.diff import Change
from deployments.config.diff import sentence as describe_changes

Facts = Mapping[str, Any]
MAX_CHARACTERS = 300
NOTHING = "–"
OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
GB = 10**9


@dataclass(frozen=True)
class Message:
    """`title` names it in a few words, `sentence` says it, `action` what to do, `no_evidence` what stands in for the
    evidence of a cause that has none. The sentence of an event follows the time and has no full stop; its title stands
    above the list of its changes."""

    sentence: str
    title: str = ""
    action: str = ""
    no_evidence: str = ""


@dataclass(frozen=True)
class Text:
    """A message with its facts filled in; what the message does not have is empty."""

    code: str
    title: str
    sentence: str
    action: str = ""
    evidence: str = ""

    @property
    def phrase(self) -> str:
        """The sentence without its full stop, to stand in a cell or within another sentence."""
        return self.sentence.rstrip(".")


EVENTS: Mapping[str, Message] = {
    Kind.CREATED: Message("{actor} created the deployment, {replicas:#replica} wanted"),
    Kind.EDITED: Message(
        title="{actor} [created revision {revision}|changed settings (no restart)]",
        sentence="[Revision {revision}: ]{actor} changed {changes:changes}",
    ),
    Kind.ROLLED_BACK: Message(
        title="{actor} rolled back to revision {restores}, as revision {revision}",
        sentence="Revision {revision}: {actor} rolled back to revision {restores}[, {changes:changes}]",
    ),
    Kind.RETRIED: Message("{actor} asked to try again"),
    Kind.REDEPLOYED: Message("{actor} redeployed it, {replicas:#replica} wanted"),
    Kind.TERMINATE_REQUESTED: Message("{actor} asked to terminate"),
    Kind.TERMINATED: Message("Terminated: nothing is left in the cluster, GPUs released"),
    Kind.DELETED: Message("{actor} deleted the deployment"),
    Kind.FAILED: Message("Failed after {failures:#failure} in a row[: {cause:sentence}]"),
    Kind.PENDING: Message("{reason:title}: {reason:clause}"),
    Kind.SCALED: Message("Scales from {from:#replica} to {to}[: {reason:sentence}]"),
    Kind.FELL_ASLEEP: Message(
        "Fell asleep after {idle_seconds:number} s without a request: its GPUs are released, the next request wakes it"
    ),
    Kind.WOKEN: Message("Waking: {reason:clause}[, {waiting:#request} waiting]"),
    Kind.ROLLOUT_STARTED: Message("Rolling to revision {revision}"),
    Kind.ROLLOUT_DONE: Message("Rolled: all replicas run revision {revision}"),
    Kind.ROLLOUT_HELD: Message("The rolling update waits[. {reason:sentence}]"),
    Kind.ROLLED_BACK_BY_ITSELF: Message(
        "Revision {failed} could not start, rolled back to the configuration of revision {restores}[: {cause:sentence}]"
    ),
    Kind.REPLICA_REQUESTED: Message("{replica}: {gpu_count} × {gpu} requested from cluster {cluster}"),
    Kind.REPLICA_REPLACED: Message(
        "{replica}: {gpu_count} × {gpu} requested from cluster {cluster}, in place of a replica that ended"
    ),
    Kind.REPLICA_DOWNLOADING: Message(
        "{replica} got {gpu_count} × {gpu}[ on {node}] and downloads the model[, {bytes_total:gb} GB]"
    ),
    Kind.REPLICA_INITIALIZING: Message("{replica} starts its engine"),
    Kind.REPLICA_READY: Message("{replica} is ready after {start_seconds:elapsed}"),
    Kind.REPLICA_UNHEALTHY: Message("{replica} fails its health probe and gets no requests"),
    Kind.REPLICA_HEALTHY: Message("{replica} passes its health probe again"),
    Kind.REPLICA_DRAINING: Message("{replica} drains: it gets nothing new and finishes what it has"),
    Kind.REPLICA_RESUMED: Message("{replica} is needed again and takes requests"),
    Kind.REPLICA_UNKNOWN: Message("{replica} is unknown: the cluster has no record of it. It keeps its GPUs"),
    Kind.REPLICA_FOUND: Message("{replica} is no longer unknown: the cluster shows it"),
    Kind.REPLICA_DECLARED_GONE: Message("{actor} declared {replica} gone"),
    Kind.REPLICA_STOPPED: Message("{replica} stopped, {gpu_count} × {gpu} released"),
    Kind.REPLICA_FAILED: Message("{replica} failed[: {cause:sentence}]"),
}

LIMIT = (
    "{limit_seconds:number} s[ ({base_seconds:number} s, and {weight_seconds:number} s for {weight_bytes:gb} GB of "
    "weights at {mib_per_second:number} MiB/s)]"
)
CAUSES: Mapping[str, Message] = {
    CauseCode.DOWNLOAD_FAILED: Message(
        title="Download failed",
        sentence="The model could not be downloaded: the download {exit_code:exit}.",
        action="Check that the model's source can be reached from the cluster and that the disk has room, then press "
        "Retry.",
        no_evidence="The download wrote no output.",
    ),
    CauseCode.OUT_OF_MEMORY: Message(
        title="Out of GPU memory",
        sentence="The engine ran out of GPU memory: model, KV cache and working memory do not fit.",
        action="Edit: more GPUs per replica, a shorter context or a lower max concurrency. Clone it for another GPU "
        "type.",
        no_evidence="The engine was stopped for its memory and wrote no output.",
    ),
    CauseCode.ENGINE_EXITED: Message(
        title="The engine exited",
        sentence="The engine {exit_code:exit}.",
        action="Read the end of the replica's log. If it names a setting, correct it with Edit; otherwise press Retry.",
        no_evidence="The engine wrote no output.",
    ),
    CauseCode.ADAPTER_FAILED: Message(
        title="Adapter not loaded",
        sentence="An adapter could not be loaded, so the engine did not start.",
        action="Correct or remove the adapter that the evidence names with Edit. If only its source was away, press "
        "Retry.",
    ),
    CauseCode.EXECUTABLE_MISSING: Message(
        title="{program} is not installed",
        sentence="{program} is not installed on the node, so no replica can start there.",
        action="Install {program} on the node, with its command on the PATH, and press Retry, or choose another "
        "engine.",
        no_evidence="The program was not found.",
    ),
    CauseCode.UNHEALTHY: Message(
        title="Unhealthy",
        sentence="The engine stopped answering its health probe for {limit_seconds:number} s.",
        action="Read the end of the replica's log. Edit: a shorter context or a lower max concurrency relieves it.",
        no_evidence="No answer to the health probe.",
    ),
    CauseCode.GPU_NOT_GRANTED: Message(
        title="No GPUs granted in time",
        sentence=f"The cluster did not give the replica its GPUs within {LIMIT}.",
        action="Check the cluster's capacity and press Retry, or Clone the deployment for another GPU type.",
        no_evidence="The cluster never showed the replica with GPUs.",
    ),
    CauseCode.DOWNLOAD_TOO_SLOW: Message(
        title="Download too slow",
        sentence=f"The model was not downloaded within {LIMIT}.",
        action="Check the network between the cluster and the model's source, then press Retry. Operators set the "
        "limit: PHASE_DEADLINE_DOWNLOADING_MODEL_SECONDS and DOWNLOAD_FLOOR_MIB_PER_SECOND.",
        no_evidence="The download did not finish.",
    ),
    CauseCode.NEVER_HEALTHY: Message(
        title="Never healthy",
        sentence=f"The engine started but its health probe did not succeed within {LIMIT}.",
        action="Read the end of the replica's log; correct the settings with Edit, or press Retry. Operators set the "
        "limit: PHASE_DEADLINE_ENGINE_INITIALIZING_SECONDS and INITIALIZE_FLOOR_MIB_PER_SECOND.",
        no_evidence="The health probe never answered 200.",
    ),
    CauseCode.VANISHED: Message(
        title="Disappeared",
        sentence="The replica disappeared from the cluster without a record of how it ended, and was declared gone.",
        action="Check whether somebody removed it by hand or its node was lost; a replacement starts by itself.",
        no_evidence="The cluster has no trace of it.",
    ),
    CauseCode.START_REFUSED: Message(
        title="Start refused",
        sentence="The cluster refused to start the replica.",
        action="Correct what the evidence names with Edit, or Clone the deployment to another endpoint; then press "
        "Retry.",
    ),
}

# `position` and `seconds` are not stored: they are computed when the message is read.
REASONS: Mapping[str, Message] = {
    ReasonCode.GPU_QUEUE: Message(
        title="Looking for free GPUs",
        sentence="{gpu_count} × {gpu} needed, {free} of {total} free[, {position:ordinal} in turn].",
        action="It starts automatically when GPUs are free, and holds none until then.",
    ),
    ReasonCode.GPU_POOL_TOO_SMALL: Message(
        title="Not enough GPUs in the cluster",
        sentence="{gpu_count} × {gpu} needed, {free} of {total} free; what it can have is running or starting.",
        action="Edit: fewer replicas or fewer GPUs per replica. Clone it for another GPU type.",
    ),
    ReasonCode.BACK_OFF: Message(
        title="Starting again after a failure",
        sentence="Starts again[ in {seconds:number} s], after failure {failures} of {attempts}.",
    ),
    ReasonCode.CLUSTER_UNREACHABLE: Message(
        title="Cluster unavailable",
        sentence="The cluster[ {cluster}] cannot be used now[: {problem:problem}].",
        action="It is asked again every few seconds.",
    ),
    ReasonCode.LOAD_ROSE: Message(
        title="More load",
        sentence="{counted_load:number} requests at a time over {mean_seconds:number} s, at {load_per_replica:number} "
        "for each replica, call for {needed:#replica}[; one step at most doubles them{is_limited:if}].",
    ),
    ReasonCode.BACKLOG: Message(
        title="Requests wait",
        sentence="A request has waited {oldest_waiting_seconds:number} s: {counted_load:number} in flight or waiting, "
        "at {load_per_replica:number} for each replica, call for {needed:#replica}"
        "[; one step at most doubles them{is_limited:if}].",
    ),
    ReasonCode.LOAD_FELL: Message(
        title="Less load",
        sentence="Nothing within the scale-down delay of {scale_down_delay_seconds:number} s needed more than "
        "{most_needed:#replica}[; one step at most halves them{is_limited:if}].",
    ),
    ReasonCode.RANGE_FIXED: Message(title="Fixed number", sentence="The number is fixed at {min_replicas:#replica}."),
    ReasonCode.RANGE_MINIMUM: Message(title="New minimum", sentence="The range starts at {lowest:#replica}."),
    ReasonCode.RANGE_MAXIMUM: Message(title="New maximum", sentence="The range ends at {max_replicas:#replica}."),
    ReasonCode.REQUEST_ARRIVED: Message(title="A request arrived", sentence="A request arrived."),
    ReasonCode.MINIMUM_RAISED: Message(title="New minimum", sentence="At least {min_replicas:#replica} must run."),
    ReasonCode.UPDATE_BEHIND_OTHERS: Message(
        title="Held: other deployments wait for GPUs",
        sentence="Needs {gpu_count} × {gpu} for the new revision; {ahead:#other deployment} before it in the queue.",
    ),
    ReasonCode.UPDATE_POOL_TOO_SMALL: Message(
        title="Held: not enough GPUs",
        sentence="Needs {gpu_count} × {gpu} for the new revision; even without the old replicas only {freed} would be "
        "free.",
    ),
}

# As parts of a sentence. Tenants read them: names of machines, folders and installations stay in the log.
CLUSTER_PROBLEMS: Mapping[str, str] = {
    ClusterProblem.DATA_FOLDER_MISSING: "its data folder is missing",
    ClusterProblem.DATA_FOLDER_UNREADABLE: "its data folder cannot be read",
    ClusterProblem.DATA_FOLDER_UNMARKED: "its data folder belongs to no installation yet",
    ClusterProblem.DATA_FOLDER_FOREIGN: "its data folder belongs to another installation",
    ClusterProblem.NO_ANSWER: "it does not answer",
    ClusterProblem.DRIVER_BROKEN: "its driver failed, and the log of the console has the error",
}

# Times and durations are texts already. What depends on more than these facts is added by the page.
NOTICES: Mapping[str, Message] = {
    Notice.LOOKING_FOR_GPUS: Message(title="Looking for free GPUs", sentence="{gpus} for each replica."),
    Notice.STARTING: Message(title="Starting {replicas:#replica}", sentence="Waiting for GPUs."),
    Notice.LIVE: Message(
        title="Live and accepting requests",
        sentence="Revision {revision} on {replicas:#replica}, [range {range}|fixed number].",
    ),
    Notice.FALLING_ASLEEP: Message(title="Falling asleep", sentence="It then holds no GPUs."),
    Notice.SCALING: Message(
        title="Scaling from {before} to {replicas:#replica}",
        sentence="Waits for GPUs: none are free for the rest.",
    ),
    Notice.ADDING_REPLICAS: Message(
        title="Starting {replicas:#replica}", sentence="Waits for GPUs: none are free for the rest."
    ),
    Notice.STOPPING_SURPLUS: Message(
        title="Stopping surplus replicas", sentence="Waits for GPUs: none are free for the rest."
    ),
    Notice.ROLLING: Message(
        title="Rolling [from revision {previous} to|to revision] {revision}",
        sentence="{replaced} of {replicas} replaced.",
    ),
    Notice.ASLEEP: Message(
        title="Asleep since {since} UTC, {idle}",
        sentence="It has no replicas, holds no GPUs and costs nothing.",
        action="The next request wakes it; {typical_start}.",
    ),
    Notice.ABOUT_TO_WAKE: Message(
        title="Asleep since {since} UTC, {idle}", sentence="{waiting}. The deployment is about to wake."
    ),
    Notice.WAKING: Message(
        title="Waking: [the minimum is {least:#replica}|a request arrived] at {at} UTC", sentence="{waiting}."
    ),
    Notice.STARTING_AGAIN: Message(
        title="Starts again [in {seconds} s|now], attempt {attempt} of {attempts}",
        sentence="[{ready:#replica} serving requests.]",
    ),
    Notice.FAILED_WITHOUT_CAUSE: Message(title="The deployment failed for an unknown reason.", sentence=""),
    Notice.TERMINATING: Message(
        title="Terminating: [{replicas:#replica} to stop|no replicas left to stop]",
        sentence="[{requests:#request} in flight can finish within {drain_seconds} s.]",
    ),
    Notice.TERMINATED: Message(
        title="Terminated {at} UTC[ by {actor}]",
        sentence="It holds no GPUs. Unless you delete it, its events are kept for {event_days:#day} and its logs for "
        "{log_days:#day}.",
    ),
    Notice.BROKEN: Message(
        title="The console cannot work on this deployment",
        sentence="An internal error ({error}) has interrupted {attempts:#attempt} since {since} UTC.",
        action="It tries again at least once a minute. An operator finds the error in the worker's log."
        "[ {ready:#replica} serving requests.]",
    ),
    Notice.UNKNOWN_REPLICA: Message(
        title="Replica unknown",
        sentence="Replica {names} is unknown: the cluster has no record of it. It may still run, and keeps its GPUs "
        "until an operator declares it gone.",
    ),
    Notice.UNKNOWN_REPLICAS: Message(
        title="Replicas unknown",
        sentence="{count} replicas ({names}) are unknown: the cluster has no record of them. They may still run, and "
        "keep their GPUs until an operator declares them gone.",
    ),
}

STOP_REASONS: Mapping[str, Message] = {
    StopReason.DRAINED: Message("Drained"),
    StopReason.DRAIN_LIMIT: Message("Stopped at the end of the drain time"),
    StopReason.SURPLUS: Message("No longer needed"),
    StopReason.ASLEEP: Message("Fell asleep"),
    StopReason.SUPERSEDED: Message("Superseded by a newer revision"),
    StopReason.TERMINATED: Message("Deployment terminated"),
    StopReason.DEPLOYMENT_FAILED: Message("Deployment failed"),
    StopReason.FAILED: Message("Failed"),
    StopReason.ENDED: Message("Ended"),
    StopReason.ENDED_UNOBSERVED: Message("Ended while the console was off"),
    StopReason.MACHINE_RESTARTED: Message("Ended with its machine, which restarted"),
    StopReason.CONSOLE_OFF: Message("Console switched off"),
}


def describe_event(kind: str, actor: str, facts: Facts) -> str:
    """One line, at most MAX_CHARACTERS long."""
    message = EVENTS.get(kind)
    text = _fill(message.sentence, {**facts, "actor": actor}) if message else kind
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"


def title_event(kind: str, actor: str, facts: Facts) -> str:
    """What stands above the list of its changes; its line where there is no title."""
    message = EVENTS.get(kind)
    if message is None or not message.title:
        return describe_event(kind, actor, facts)
    return _fill(message.title, {**facts, "actor": actor})


def describe_reason(stored: Facts, computed: Facts | None = None) -> Text:
    """`stored`: a reason or a cause, as its JSON; `computed`: facts that change while it is stored."""
    code, facts = str(stored.get("code", "")), {**(stored.get("facts") or {}), **(computed or {})}
    message = CAUSES.get(code) or REASONS.get(code)
    evidence = str(stored.get("evidence", ""))
    if message is None:
        return Text(code, code, code, "", evidence)
    return Text(
        code,
        _fill(message.title, facts),
        _fill(message.sentence, facts),
        _fill(message.action, facts),
        evidence or message.no_evidence,
    )


def describe_notice(code: Notice, **facts: Any) -> Text:
    message = NOTICES[code]
    return Text(code, _fill(message.title, facts), _fill(message.sentence, facts), _fill(message.action, facts))


def describe_stop(code: str) -> str:
    message = STOP_REASONS.get(code)
    return message.sentence if message else code


def describe_exit(code: int | None) -> str:
    """An exit code in words: `exited with code 1`, `was killed by SIGKILL`; None: the exit was not observed."""
    if code is None:
        return "ended, and its exit code is not known"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


# Templates


def _fill(template: str, facts: Facts) -> str:
    def fill_optional(match: re.Match[str]) -> str:
        wanted, _, otherwise = match[1].partition("|")
        names = [name for _, name, _, _ in Formatter().parse(wanted) if name]
        return wanted if all(facts.get(name) for name in names) else otherwise

    parts = Formatter().parse(OPTIONAL.sub(fill_optional, template))
    return "".join(
        text + ("" if name is None else _format(facts.get(name), spec or "")) for text, name, spec, _ in parts
    )


def _format(value: Any, spec: str) -> str:
    """`spec`: `#noun` counts, `number` has one decimal at most, `elapsed` is m:ss, `ordinal` 2nd, `gb` bytes in GB,
    `changes` the differences of an edit, `exit` an exit code. Of a reason or cause: `title`, `sentence`, and `clause`,
    the sentence as a part of another. `problem`: what is wrong with a cluster. `if` renders nothing: it makes what is
    within brackets depend on a fact."""
    if spec == "exit":
        return describe_exit(value)
    if value is None:
        return NOTHING
    if spec.startswith("#"):
        return f"{value:,} {spec[1:]}" if value == 1 else f"{value:,} {spec[1:]}s"
    match spec:
        case "":
            return str(value)
        case "number":
            return f"{value:,.1f}".removesuffix(".0")
        case "gb":
            return f"{value / GB:,.1f}"
        case "elapsed":
            minutes, seconds = divmod(int(value), 60)
            hours, minutes = divmod(minutes, 60)
            return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        case "ordinal":
            suffix = "th" if 10 <= value % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
            return f"{value}{suffix}"
        case "changes":
            return describe_changes(Change(**change) for change in value)
        case "title":
            return describe_reason(value).title
        case "sentence":
            return describe_reason(value).sentence
        case "clause":
            phrase = describe_reason(value).phrase
            return phrase[:1].lower() + phrase[1:]
        case "problem":
            return CLUSTER_PROBLEMS.get(value, str(value))
        case "if":
            return ""
    raise ValueError(f"unknown format {spec!r}")
