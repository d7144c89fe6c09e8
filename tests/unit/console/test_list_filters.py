"""The filters that the deployments list reads from its address."""

import pytest
from django.http import QueryDict

from console.deployments.list_filters import DeploymentFilterForm, DeploymentFilters


def read(query: str) -> DeploymentFilters:
    return DeploymentFilters(**DeploymentFilterForm(QueryDict(query)).filters)


def test_an_address_without_parameters_has_the_defaults():
    assert read("") == DeploymentFilters()


def test_every_parameter_is_read_and_written_back():
    query = "q=chat&status=failed&organization=northwind&gpu=l40s-48gb&endpoint=default&sort=-name"
    filters = read(f"{query}&page=3")
    assert filters == DeploymentFilters("chat", "failed", "northwind", "l40s-48gb", "default", "-name", 3)
    assert filters.address() == f"?{query}"


@pytest.mark.parametrize(
    "query",
    ["status=nonsense", "sort=nonsense", "sort=--name", "page=0", "page=x", "page=100000", "page=-1", "q=%00", "q=+"],
)
def test_a_value_that_is_not_valid_counts_as_not_given(query):
    assert read(query) == DeploymentFilters()


def test_a_search_is_cut_and_cleaned_of_null_characters():
    assert read("q=a%00b").q == "ab"
    assert read("q=" + "a" * 300).q == "a" * 200
