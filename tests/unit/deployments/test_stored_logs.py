"""The kept end of a log keeps its times; what engines write becomes plain text."""

from datetime import UTC, datetime, timedelta

import pytest

from deployments.drivers.base import LogLine
from deployments.logs.line_query import MAX_CHARACTERS, clean, split_matches
from deployments.logs.stored_format import pack, plain_text, unpack

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
KIB = 1024


def lines(*texts: str) -> list[LogLine]:
    return [LogLine(NOON + timedelta(milliseconds=number), text) for number, text in enumerate(texts)]


def test_lines_come_back_with_their_times():
    said = [
        *lines("loading", "", "  indented", "a  b "),
        LogLine(None, "no time"),
        LogLine(None, "2026-11-21 is a day"),
    ]
    assert unpack(pack(said, KIB)) == said


def test_only_whole_lines_at_the_end_are_kept():
    said = lines(*(f"line {number}" for number in range(100)))
    kept = pack(said, KIB)
    assert len(kept.encode()) <= KIB
    assert unpack(kept) == said[-len(unpack(kept)) :]
    assert len(unpack(kept)) > 10


def test_hostile_text_is_kept_as_one_line_that_postgresql_can_hold():
    kept = pack(lines("a\x00b", "c\nd", "e\x85\u2028\x0cf", "\ud800", "x" * 2**20), 64 * KIB)
    assert "\x00" not in kept
    assert [line.text for line in unpack(kept)][:4] == ["a\ufffdb", "c d", "e\x85\u2028\x0cf", "?"]
    assert len(unpack(kept)[4].text) == 16 * KIB


def test_a_log_without_lines_keeps_nothing():
    assert (pack([], KIB), unpack(""), plain_text("")) == ("", [], "")


def test_evidence_has_no_times():
    assert plain_text(pack(lines("CUDA out of memory", "exit"), KIB)) == "CUDA out of memory\nexit"


def test_what_was_kept_without_times_is_still_text():
    assert unpack("simulated\n2026-11-21 12:00 hello") == [
        LogLine(None, "simulated"),
        LogLine(None, "2026-11-21 12:00 hello"),
    ]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[32mINFO\x1b[0m ready\n", "INFO ready"),
        ("\x1b]0;title\x07loading", "loading"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Bplain\x1b7", "plain"),
        ("10 %\r55 %\r100 %", "100 %"),
        ("a\x00b\x08c\td", "abc\td"),
        ("a\u202eb\u2028c\x85d", "abcd"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("caf\ufffd", "caf\ufffd"),
    ],
    ids=[
        "colours", "window title", "hyperlink", "character set", "progress bar", "control characters", "direction",
        "markup stays text", "bytes that were no UTF-8",
    ],
)  # fmt: skip
def test_a_line_is_cleaned_of_what_is_not_text(raw, shown):
    assert clean(raw) == shown


def test_a_line_is_cut_to_a_length_that_a_page_can_bear():
    assert clean("x" * 2**20) == "x" * MAX_CHARACTERS + "…"


@pytest.mark.parametrize(
    ("text", "sought", "found"),
    [
        ("an ERROR, an error", "error", [("an ", False), ("ERROR", True), (", an ", False), ("error", True)]),
        ("a.*b", ".*", [("a", False), (".*", True), ("b", False)]),
        ("nothing", "error", [("nothing", False)]),
        ("all", "", [("all", False)]),
        ("all", "ALL", [("all", True)]),
        ("", "", [("", False)]),
    ],
    ids=["in any case", "no pattern", "no match", "nothing sought", "the whole line", "an empty line"],
)
def test_matches_are_told_from_the_rest(text, sought, found):
    assert list(split_matches(text, sought)) == found
