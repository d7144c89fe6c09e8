"""GPU types and catalog models in their tables."""

from dataclasses import asdict

import pytest

from deployments.catalog import data_files
from deployments.models import CatalogModel, GpuType
from deployments.services import load_reference_data

pytestmark = pytest.mark.django_db


def test_every_gpu_type_is_stored_as_the_file_says() -> None:
    load_reference_data()
    assert {row["id"]: row for row in GpuType.objects.values()} == {
        entry.id: asdict(entry) for entry in data_files.load_gpu_types()
    }


def test_every_model_is_stored_as_the_file_says() -> None:
    load_reference_data()
    assert {row["id"]: row for row in CatalogModel.objects.values()} == {
        entry.id: asdict(entry) for entry in data_files.load_models()
    }


def test_loading_again_mends_rows_and_keeps_those_that_left_the_files() -> None:
    load_reference_data()
    GpuType.objects.create(id="own", title="Own", vendor="Own", memory_gb=8, memory_gib=8)
    CatalogModel.objects.filter(pk="llama-3.1-8b-instruct").update(weight_bytes=1)
    load_reference_data()
    assert GpuType.objects.count() == len(data_files.load_gpu_types()) + 1
    assert CatalogModel.objects.get(pk="llama-3.1-8b-instruct").weight_bytes == 16_060_522_496
