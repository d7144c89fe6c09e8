"""What must hold once nothing moves any more, whatever was killed before.

Not our own word for it: the process table, the shims' logs, the engines' journals and what the clients saw are held
against the rows.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg

from tests.e2e.clients import Ending, Seen
from tests.e2e.stack import Stack, json_lines, until

LIVE = ("REQUESTING_GPU", "DOWNLOADING_MODEL", "ENGINE_INITIALIZING", "READY", "DRAINING", "STOPPING", "UNKNOWN")
OF_THE_SHIM = ("DOWNLOADING_MODEL", "ENGINE_INITIALIZING", "READY")
SECOND = timedelta(seconds=1)
PASS_SECONDS = 30.0  # by when a pass has seen what a shim wrote
HEARTBEAT_SECONDS = 2.5  # the last heartbeat of a killed shim: one a second, and this machine is busy
BACK_SECONDS = 40.0  # by when a killed process has its successor, at its longest pause between restarts
AWAY = frozenset({"gateway", "up", "valkey"})


@dataclass(frozen=True)
class Kill:
    """One SIGKILL. `at` is of `time.time()`; `replica_id` where a replica's engine or shim was hit."""

    victim: str
    at: float
    replica_id: str = ""


@dataclass
class Row:
    """One replica as the database has it; phases are (name, started_at, ended_at)."""

    replica_id: str
    name: str
    state: str
    released_at: datetime | None
    phases: list[tuple[str, datetime, datetime | None]] = field(default_factory=list)

    def leaving_at(self) -> datetime | None:
        """When it was asked to end, or had ended."""
        return next((start for name, start, _ in self.phases if name in {"DRAINING", "STOPPING"}), self.released_at)


@dataclass(frozen=True)
class Counted:
    """One usage event."""

    outcome: str
    estimated: bool
    input_tokens: int
    output_tokens: int
    replica_id: str
    deployment_id: str
    provisional: bool


def query(stack: Stack, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(stack.run["database_url"]) as connection:
        return connection.execute(statement).fetchall()  # type: ignore[arg-type]


def rows(stack: Stack) -> list[Row]:
    found: dict[str, Row] = {}
    statement = """
        SELECT r.id::text, r.name, r.state, r.released_at, p.name, p.started_at, p.ended_at
        FROM deployments_replica r LEFT JOIN deployments_replicaphase p ON p.replica_id = r.id
        ORDER BY p.started_at, p.id
    """
    for replica_id, name, state, released_at, *phase in query(stack, statement):
        row = found.setdefault(replica_id, Row(replica_id, name, state, released_at))
        if phase[0]:
            row.phases.append((phase[0], phase[1], phase[2]))
    return list(found.values())


def ledger(stack: Stack) -> dict[str, Counted]:
    """Usage by request id: the tokens of all its rows, the rest of its last one. A request that was counted twice, or
    whose final event was followed by another, fails here."""
    columns = """request_id::text, outcome, estimated, sums.input_tokens, sums.output_tokens, replica_id::text,
        deployment_id::text, provisional"""
    statement = f"""
        SELECT DISTINCT ON (request_id) {columns} FROM billing_usage_event
        JOIN (
            SELECT request_id, sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens
            FROM billing_usage_event GROUP BY request_id
        ) AS sums USING (request_id)
        ORDER BY request_id, sequence DESC
    """
    events = query(stack, statement)
    twice = """
        SELECT request_id FROM billing_usage_event GROUP BY request_id
        HAVING count(*) FILTER (WHERE sequence = 0) <> 1 OR count(*) FILTER (WHERE NOT provisional) > 1
    """
    assert not query(stack, twice)
    return {request_id: Counted(*rest) for request_id, *rest in events}


def no_orphan_and_no_ghost(stack: Stack) -> None:
    """Every process with a replica's id has a live row, and every live row a process."""
    live: set[str] = set()

    def same() -> bool:
        live.clear()
        live.update(row.replica_id for row in rows(stack) if row.state in LIVE)
        return live == set(stack.engines().values())

    until("processes and live rows are the same replicas", same)
    assert live


def no_engine_ran_twice(stack: Stack) -> None:
    """By each shim's log at most one engine was spawned per replica."""
    for folder in stack.replica_folders():
        spawned = [note for note in json_lines(folder / "shim.log") if note["what"] == "spawned"]
        assert sum(note["step"] == "engine" for note in spawned) <= 1, folder.name


def stamps_are_those_of_the_shims(stack: Stack, kills: Iterable[Kill] = ()) -> None:
    """Phases neither overlap nor leave gaps, and begin and end within a second of what the shim wrote down.

    What a shim wrote a moment ago, the next pass brings over: it is asked again until it has.
    """
    killed = {kill.replica_id: kill.at for kill in kills if kill.victim == "shim"}
    deadline = time.monotonic() + PASS_SECONDS
    while (wrong := _wrong(stack, killed)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not wrong, "\n".join(wrong)


def _wrong(stack: Stack, killed: Mapping[str, float]) -> list[str]:
    return [
        f"{row.name} ({row.state}): {fault}; {row.phases}, released {row.released_at}"
        for row in rows(stack)
        for fault in [*_broken_intervals(row), *_wrong_stamps(stack, row, killed.get(row.replica_id))]
    ]


def _broken_intervals(row: Row) -> Iterable[str]:
    ends = [end for _, _, end in row.phases]
    starts = [start for _, start, _ in row.phases]
    if any(end is None for end in ends[:-1]) or ends[:-1] != starts[1:]:
        yield "phases overlap or leave a gap"
    if any(end is not None and end <= start for _, start, end in row.phases):
        yield "a phase is empty or negative"
    if row.state in LIVE and (not ends or ends[-1] is not None):
        yield "a live replica has no open phase"
    if row.state not in LIVE and ends and ends[-1] != row.released_at:  # without any: it ended before it was asked for
        yield "the last phase does not end with the replica"


def _wrong_stamps(stack: Stack, row: Row, killed_at: float | None) -> Iterable[str]:
    notes = json_lines(stack.folder / "clusters" / "local" / row.name / "shim.log")
    entered = {one["phase"]: datetime.fromisoformat(one["entered_at"]) for one in notes if one["what"] == "phase"}
    starts: dict[str, datetime] = {}
    for name, start, _ in row.phases:
        if name in OF_THE_SHIM:
            starts.setdefault(name, start)  # READY again: it was draining and has been taken back
    for name in starts.keys() | entered.keys():
        if name not in entered:
            yield f"{name} is nothing that the shim knows of"
        elif name not in starts and not _too_short_to_keep(row, name, entered):
            yield f"{name} is missing, entered {entered[name]}"
        elif name in starts and abs(starts[name] - entered[name]) > SECOND:
            yield f"{name} began {entered[name]} by the shim"
    ends = [one.get("exited_at") or one.get("ended_at") for one in notes if one["what"] in {"exited", "lost"}]
    ended = datetime.fromisoformat(ends[0]) if ends else None
    if ended and row.released_at and abs(ended - row.released_at) > SECOND:
        yield f"it ended {ended} by the shim"
    if killed_at and ended and not 0 <= killed_at - ended.timestamp() <= HEARTBEAT_SECONDS:
        yield f"its shim was killed at {datetime.fromtimestamp(killed_at, ended.tzinfo)}, its end says {ended}"


def _too_short_to_keep(row: Row, name: str, entered: dict[str, datetime]) -> bool:
    """A phase is not kept where the next began at once, or where the replica was leaving already."""
    later = [at for other, at in entered.items() if other != name and at >= entered[name]]
    leaving = row.leaving_at()
    return any(at - entered[name] <= SECOND for at in later) or bool(leaving and leaving <= entered[name] + SECOND)


def requests_are_counted_once(stack: Stack, seen: Sequence[Seen], kills: Sequence[Kill] = ()) -> None:
    """Every request that an engine began is in the ledger, once, with the engine's own tokens."""
    journal = {entry["request_id"]: entry for entry in stack.generated()}
    assert len(journal) == len(stack.generated()), "an engine was given one request twice"
    begun = {one for one, entry in journal.items() if entry["outcome"] == "finished" or entry["completion_tokens"]}
    begun |= {one.request_id for one in seen if one.tokens}
    until("every request is counted", lambda: begun <= ledger(stack).keys())
    counted, killed = ledger(stack), {kill.replica_id for kill in kills}
    wrong = [
        f"{request_id}: {event}, journal {journal.get(request_id)}"
        for request_id, event in counted.items()
        if not _is_right(event, journal.get(request_id), event.replica_id in killed)
    ]
    assert not wrong, "\n".join(wrong)
    _clients_agree(seen, counted)
    _hours_are_the_sums(stack)
    callers = max(1, len({one.model for one in seen}))
    interrupted = [event for event in counted.values() if event.provisional]
    assert bool(interrupted) <= any(kill.victim in AWAY for kill in kills), (interrupted, callers)


def _is_right(event: Counted, entry: dict[str, Any] | None, was_killed: bool) -> bool:
    if event.outcome == "completed":
        if entry is None:
            return was_killed
        whole = entry["outcome"] == "finished" and not event.estimated
        return whole and (event.input_tokens, event.output_tokens) == (
            entry["prompt_tokens"], entry["completion_tokens"],
        )  # fmt: skip
    most = entry["completion_tokens"] if entry else None
    return most is None or event.output_tokens <= most


def _clients_agree(seen: Sequence[Seen], counted: dict[str, Counted]) -> None:
    """What a client got is what was counted, unless the gateway died before it could say so."""
    wrong = []
    for one in seen:
        event = counted.get(one.request_id)
        if one.ending in {Ending.DONE, Ending.TOLD} and one.tokens:
            exact = event is not None and (event.estimated or event.provisional or event.output_tokens == one.tokens)
            wrong += [] if exact else [(one, event)]
    assert not wrong, wrong


def _hours_are_the_sums(stack: Stack) -> None:
    def same() -> bool:
        sums: dict[str, tuple[int, int, int]] = {}
        for one in ledger(stack).values():
            requests, tokens_in, tokens_out = sums.get(one.deployment_id, (0, 0, 0))
            sums[one.deployment_id] = (requests + 1, tokens_in + one.input_tokens, tokens_out + one.output_tokens)
        return sums == stack.usage()

    until("the hourly sums are those of the events", same)


def clients_were_told(seen: Sequence[Seen], kills: Sequence[Kill], tokens: int, may_be_gone: Iterable[str]) -> None:
    """No stream ends in silence; what breaks, breaks while something that serves it is being killed."""
    gone = set(may_be_gone)
    wrong = [one for one in seen if not _was_told(one, kills, tokens, gone)]
    assert not wrong, "\n".join(map(str, [*wrong[:20], *(_after(kills, wrong[0]))]))


def _was_told(one: Seen, kills: Sequence[Kill], tokens: int, gone: set[str]) -> bool:
    match one.ending:
        case Ending.DONE:
            return one.tokens == tokens
        case Ending.TOLD:
            return bool(_after(kills, one, "engine", "shim", "gateway", "up")) or one.model in gone
        case Ending.REFUSED if one.status == 404:  # a new name is published late when Redis was away
            return one.model in gone or bool(_after(kills, one, "valkey", "up"))
        case Ending.REFUSED if one.status == 500:
            return one.code == "upstream_lost" and bool(_after(kills, one, "engine", "shim"))
        case Ending.REFUSED if one.status == 503:
            return bool(_after(kills, one, *AWAY)) or one.model in gone
        case Ending.CUT:
            return one.code != "APITimeoutError" and bool(_after(kills, one, "gateway", "up"))
    return False


def _after(kills: Sequence[Kill], one: Seen, *victims: str) -> list[Kill]:
    """Kills shortly before this request ended."""
    near = [kill for kill in kills if -1 <= one.ended_at - kill.at <= BACK_SECONDS]
    return [kill for kill in near if not victims or kill.victim in victims]
