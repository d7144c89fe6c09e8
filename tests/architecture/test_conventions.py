"""Conventions of CONTRIBUTING.md: names that say something, documented modules, no swallowed errors."""

import ast

from tests.architecture import sources

BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "handler", "misc"}


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
