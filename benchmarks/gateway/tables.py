"""The printed report. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.gateway.measurements import DIRECT, Plan
from benchmarks.gateway.statistics import Spread
from benchmarks.gateway.verdicts import (
    ADDED_P99,
    CHUNK_CPU,
    HELD,
    PACED,
    RATE,
    RATE_MANY,
    REQUEST_CPU,
    STREAM_MEMORY,
    STREAMS,
    Figures,
    Verdict,
)

FULL = 0.97  # share of a core from which it counts as used up
REQUEST_COLUMNS = (
    ("CPU µs a request", REQUEST_CPU, 1),
    ("in the kernel %", "system_share", None),
    ("requests/s", "requests_per_second", 0),
    ("Valkey CPU µs", "valkey_cpu_us", 1),
    ("in commands, elapsed µs", "valkey_commands_us", 1),
)
COLUMNS: Mapping[str, Sequence[tuple[str, str, int | None]]] = {
    RATE: REQUEST_COLUMNS,
    RATE_MANY: REQUEST_COLUMNS,
    PACED: (
        ("p50 ms", "p50_ms", 2),
        ("p99 ms", "p99_ms", 2),
        ("added p50 ms", "added_p50_ms", 2),
        ("added p99 ms", ADDED_P99, 2),
        ("CPU µs a request", REQUEST_CPU, 1),
        ("unanswered", "unanswered", 0),
    ),
    STREAMS: (
        ("CPU µs a chunk", CHUNK_CPU, 1),
        ("CPU µs a stream", "stream_us", 0),
        ("in the kernel %", "system_share", None),
        ("chunks/s", "chunks_per_second", 0),
    ),
    HELD: (
        ("kB a stream", STREAM_MEMORY, 1),
        ("MB before", "resident_mb", 1),
        ("open streams", "open", 0),
    ),
}


def format_spread(spread: Spread, digits: int | None) -> str:
    """`digits` None: a share, as a percentage. The least and the greatest follow where they differ."""
    if digits is None:
        return f"{spread.median:.0%}"
    texts = [f"{value:,.{digits}f}" for value in (spread.median, spread.least, spread.greatest)]
    return texts[0] if texts[1] == texts[2] else f"{texts[0]} ({texts[1]}–{texts[2]})"


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column is aligned to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "  ".join(cell.rjust(width) if number else cell.ljust(width) for number, (cell, width) in
                  enumerate(zip(row, widths, strict=True)))
        for row in [head, *rows]
    ]  # fmt: skip
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def describe_scenario(scenario: str, plan: Plan) -> str:
    at_a_time = f"{plan.connections} requests at a time, not streamed"
    return {
        RATE: f"{at_a_time}, one replica",
        RATE_MANY: f"{at_a_time}, {plan.replicas} replicas",
        PACED: f"{plan.per_second:,.0f} requests/s at fixed moments, not streamed; from when a request is due",
        STREAMS: f"{plan.streams} streams of {plan.chunks} chunks, one every {plan.pause * 1000:.0f} ms",
        HELD: f"{plan.held:,} open streams that send a chunk every 10 s",
    }[scenario]


def format_scenario(scenario: str, servers: Mapping[str, Mapping[str, Spread]], plan: Plan) -> str:
    columns = [column for column in COLUMNS[scenario] if any(column[1] in figures for figures in servers.values())]
    rows = []
    for server, figures in servers.items():
        cells = [format_spread(figures[name], digits) if name in figures else "–" for _, name, digits in columns]
        rows.append([server, *cells])
    notes = [f"  {server}: {note}" for server, figures in servers.items() for note in note_limits(server, figures)]
    head = [title for title, _, _ in columns]
    return "\n".join([describe_scenario(scenario, plan), format_table(["", *head], rows), *notes])


def note_limits(server: str, figures: Mapping[str, Spread]) -> list[str]:
    """What the reader must know of these figures."""
    notes = []
    if "load_core" in figures and figures["server_core"].median < FULL:
        notes.append(
            f"used {figures['server_core'].median:.0%} of its core: what runs on the other cores limits the requests/s"
        )
    if figures["failed"].greatest:
        notes.append(f"up to {figures['failed'].greatest:,.0f} requests failed in a round")
    if "unanswered" in figures and figures["unanswered"].median > 20 and server != DIRECT:
        notes.append("did not keep up with the pace, so that its latencies grow with the length of the round")
    return notes


def format_verdicts(verdicts: Sequence[Verdict]) -> str:
    rows = []
    for verdict in verdicts:
        digits, suffix = (2, " × nginx") if verdict.is_ratio else (2 if verdict.unit == "ms" else 1, f" {verdict.unit}")
        value, least, greatest, goal = (
            f"{number:,.{digits}f}" for number in (verdict.value, verdict.least, verdict.greatest, verdict.goal)
        )
        rows.append(
            [
                verdict.title,
                f"{verdict.gateway:,.{digits}f} {verdict.unit}",
                f"{verdict.nginx:,.{digits}f} {verdict.unit}",
                f"{value} ({least}–{greatest}){suffix}",
                f"≤ {goal}",
                "–" if verdict.floor is None else f"≤ {verdict.floor:,.{digits}f}",
                verdict.outcome,
            ]
        )
    return format_table(["", "gateway", "nginx", "judged", "goal", "floor", "verdict"], rows)


def format_report(figures: Figures, verdicts: Sequence[Verdict], plan: Plan, notes: Sequence[str]) -> str:
    parts = [format_scenario(scenario, servers, plan) for scenario, servers in figures.items()]
    return "\n\n".join([*parts, format_verdicts(verdicts), "\n".join(notes)])
