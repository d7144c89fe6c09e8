"""Northwind (whose admin calls) and Contoso, one cluster, two catalog models, an empty Redis."""

import pytest

from accounts.models import User
from tests.integration.api import world
from tests.integration.api.world import Api, Tenant


@pytest.fixture
def cluster(db, redis_url):
    world.make_model("small", 8192)
    world.make_model("wide", 32768)
    return world.make_cluster()


@pytest.fixture
def northwind(cluster) -> Tenant:
    return world.make_tenant("northwind")


@pytest.fixture
def contoso(cluster) -> Tenant:
    return world.make_tenant("contoso")


@pytest.fixture
def operator(cluster) -> tuple[User, str]:
    """An operator and the secret of a key of the organization "platform"."""
    platform = world.accounts.create_organization(slug="platform", name="Platform")
    user = world.make_user("operator@example.com", is_operator=True)
    return user, world.make_key(platform, user, "manage")[1]


@pytest.fixture
def api(northwind) -> Api:
    """As Northwind's admin."""
    return Api(northwind.secrets["admin"])


@pytest.fixture
def deployed(api):
    """A deployment of Northwind as the API shows it."""
    return api.post("/deployments", world.BODY).json()
