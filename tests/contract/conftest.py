"""Both clusters, for every test that asks for `world`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import worlds
from tests.contract.worlds import LocalWorld, MemoryWorld, World


@pytest.fixture(params=["memory", "local"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
    else:
        yield from worlds.local(tmp_path / "clusters" / "local")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalWorld]:
    yield from worlds.local(tmp_path / "clusters" / "local")
