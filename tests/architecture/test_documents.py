"""The documents render as they are meant to."""

import re

from tests.architecture import sources

CELL = re.compile(r"(?<!\\)\|")


def test_every_row_of_a_table_has_the_cells_of_its_head():
    torn = []
    for path in [*sources.ROOT.glob("*.md"), *sources.ROOT.glob("docs/**/*.md")]:
        cells = 0
        for number, line in enumerate(path.read_text().splitlines(), 1):
            count = len(CELL.findall(line)) if line.startswith("|") else 0
            torn += [f"{path.name}:{number}"] if cells and (count != cells if count else line) else []
            cells = count and (cells or count)
    assert not torn
