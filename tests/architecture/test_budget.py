"""The budget of CONTRIBUTING.md: short functions, files of one purpose, names that say something."""

import ast
import statistics

import pytest

from tests.architecture import sources

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "handler", "misc"}


@pytest.mark.parametrize("path", sources.files(), ids=sources.module_name)
def test_a_file_has_at_most_400_lines_and_no_function_over_45(path):
    lines = path.read_text().count("\n")
    assert lines <= 400, f"{path.name} has {lines} lines; split it by noun"
    long = {node.name: sources.length(node) for node in sources.functions(path) if sources.length(node) > 45}
    assert not long


def test_the_median_function_has_at_most_8_lines_and_nine_in_ten_at_most_30():
    lengths = sorted(sources.length(node) for path in sources.files() for node in sources.functions(path))
    assert statistics.median(lengths) <= 8
    assert lengths[len(lengths) * 9 // 10] <= 30


def test_no_module_has_a_name_that_says_nothing():
    assert not [
        path for path in sources.files() if set(path.relative_to(sources.ROOT).with_suffix("").parts) & BANNED_NAMES
    ]


def test_every_module_with_code_says_what_it_is():
    silent = [
        sources.module_name(path)
        for path in sources.files()
        if sources.tree(path).body
        and not ast.get_docstring(sources.tree(path))
        and path.name not in {"__init__.py", "apps.py", "admin.py"}
    ]
    assert not silent


def test_no_error_is_swallowed_without_a_word():
    swallowed = [
        f"{sources.module_name(path)}:{node.lineno}"
        for path in sources.files()
        for node in ast.walk(sources.tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
        and all(isinstance(step, ast.Pass | ast.Return | ast.Continue) for step in node.body)
    ]
    assert not swallowed
