"""What import-linter cannot see for itself: that its list of pure modules is whole, and what tests must not do."""

import ast
import re
import tomllib

from tests.architecture import sources

CONTRACTS = tomllib.loads((sources.ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
PURE = next(one for one in CONTRACTS if one["name"].startswith("Pure modules"))["source_modules"]


def test_every_module_that_calls_itself_pure_is_held_to_it():
    claims = {
        sources.module_name(path)
        for path in sources.files()
        if re.search(r"\bPure\b[.:]", ast.get_docstring(sources.tree(path)) or "")
    }
    assert sorted(claims - set(PURE)) == []


def test_every_module_of_the_pure_list_exists():
    assert set(PURE) <= {sources.module_name(path) for path in sources.files()}


def test_only_edges_read_the_clock():
    """Where TID251 is waived for a clock, the module is a view, admin, task, command, process or publisher."""
    edges = re.compile(
        r"^(console\.|gateway\.(__main__|routes)"
        r"|(accounts|billing|deployments)\.(admin|tasks|key_publication|management\.)"
        r"|deployments\.(drivers\.(local|registry)|engines\.simulator))"
    )
    readers = {
        sources.module_name(path)
        for path in sources.files()
        if re.search(r"(time\.time|datetime\.now|timezone\.now)\(", path.read_text())
    }
    assert not {name for name in readers if not edges.match(name)}


def test_only_the_store_writes_replicas_and_their_phases():
    writes = {"create", "bulk_create", "update", "bulk_update", "get_or_create", "update_or_create", "delete"}
    writers = set()
    for path in sources.files():
        for node in ast.walk(sources.tree(path)):
            if isinstance(node, ast.Attribute) and node.attr in writes:
                names = {child.id for child in ast.walk(node.value) if isinstance(child, ast.Name)}
                if names & {"Replica", "ReplicaPhase"}:
                    writers.add(sources.module_name(path))
    assert writers == {"deployments.reconciler.state_writer"}


def test_tests_neither_patch_nor_skip_nor_sleep():
    banned = {"mock.patch", "pytest.skip", "pytest.xfail", "mark.skip", "mark.skipif", "mark.xfail", "time.sleep"}
    here = sources.ROOT / "tests"
    found = {
        f"{path.relative_to(here)}:{node.lineno}"
        for path in here.rglob("test_*.py")
        for node in ast.walk(sources.tree(path))
        if isinstance(node, ast.Attribute) and ".".join(ast.unparse(node).split(".")[-2:]) in banned
    }
    assert not found
