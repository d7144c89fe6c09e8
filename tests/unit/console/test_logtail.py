import pytest

from console.live.logtail import LONGEST, added, clean
from deployments.drivers.base import LogLine


def lines(*texts: str) -> list[LogLine]:
    return [LogLine(None, text) for text in texts]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[32mINFO\x1b[0m ready\n", "INFO ready"),
        ("\x1b]0;title\x07loading", "loading"),
        ("10 %\r55 %\r100 %", "100 %"),
        ("a\x00b\x08c\td", "abc\td"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
    ids=["colours", "window title", "progress bar", "control characters", "markup stays text"],
)
def test_a_line_is_cleaned_of_what_is_not_text(raw, shown):
    assert clean(raw) == shown


def test_a_line_is_cut_to_a_length_that_a_page_can_bear():
    assert len(clean("x" * 100_000)) == LONGEST + 1


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ([], ["a", "b"], ["a", "b"]),
        (["a", "b"], ["a", "b"], []),
        (["a", "b"], ["a", "b", "c"], ["c"]),
        (["a", "b", "c"], ["b", "c", "d"], ["d"]),
        (["a", "b"], ["x", "y"], ["x", "y"]),
        (["a", "a"], ["a", "a", "a"], ["a"]),
    ],
    ids=["first look", "nothing new", "one more", "window moved", "all new", "the same line again"],
)
def test_only_lines_that_were_added_are_sent(before, after, new):
    assert [line.text for line in added(lines(*before), lines(*after))] == new
