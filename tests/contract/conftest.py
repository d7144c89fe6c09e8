"""Both clusters, for every test that asks for `world`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract import driver_worlds
from tests.contract.driver_worlds import LocalWorld, MemoryWorld, World


@pytest.fixture(params=["memory", "local"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
    else:
        yield from driver_worlds.local(tmp_path / "clusters" / "local")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalWorld]:
    yield from driver_worlds.local(tmp_path / "clusters" / "local")
