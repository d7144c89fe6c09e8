"""Every entry of the hosted list against the arithmetic of its own architecture."""

import json
from dataclasses import fields
from datetime import date
from typing import Any

import pytest

from deployments.catalog import data_files, model_architecture
from deployments.catalog.data_files import CatalogEntry, InvalidCatalog

ENTRIES = data_files.load_models()
MIXTURES = [entry for entry in ENTRIES if entry.active_parameters is not None]
FAMILIES = {"Llama", "Qwen", "Mistral", "Gemma", "Phi", "DeepSeek", "OLMo", "SmolLM", "Falcon", "gpt-oss"}
each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=[entry.id for entry in ENTRIES])


def shape(entry: CatalogEntry) -> model_architecture.Architecture:
    return model_architecture.parse(entry.architecture)


@each_entry
def test_parameters_follow_from_the_architecture(entry: CatalogEntry) -> None:
    assert model_architecture.parameters_of(shape(entry)) == pytest.approx(entry.parameters, rel=0.01)


@each_entry
def test_weight_bytes_follow_from_the_architecture_and_the_type(entry: CatalogEntry) -> None:
    assert model_architecture.weight_bytes_of(shape(entry), entry.dtype) == pytest.approx(entry.weight_bytes, rel=0.02)


@pytest.mark.parametrize("entry", MIXTURES, ids=[entry.id for entry in MIXTURES])
def test_active_parameters_follow_from_the_architecture(entry: CatalogEntry) -> None:
    """Publishers round, and some leave the input embedding out: the figure lies between both counts, ± 2 %."""
    numbers = shape(entry)
    most = model_architecture.active_parameters_of(numbers)
    least = most - numbers.vocab_size * numbers.hidden_size
    assert 0.98 * least <= (entry.active_parameters or 0) <= 1.02 * most


@each_entry
def test_every_entry_says_where_it_is_from(entry: CatalogEntry) -> None:
    assert entry.source_url.startswith("https://")
    assert entry.sourced_at <= date(2026, 12, 31)
    assert entry.repository.count("/") == 1
    assert all((entry.title, entry.publisher, entry.license, entry.description.endswith(".")))


@each_entry
def test_the_name_of_a_model_tells_its_size(entry: CatalogEntry) -> None:
    """A number before "b" in the id is the published size: within 20 % of the parameters."""
    sizes = [word[:-1] for word in entry.id.split("-") if word.endswith("b") and word[:-1].replace(".", "").isdigit()]
    assert all(float(size) == pytest.approx(entry.parameters / 10**9, rel=0.2) for size in sizes)


def test_the_catalog_covers_the_major_open_families() -> None:
    assert len(ENTRIES) >= 22
    assert {entry.family for entry in ENTRIES} >= FAMILIES
    assert "llama-3.1-8b-instruct" in {entry.id for entry in ENTRIES}


def test_the_weights_of_llama_8b_are_16_06_gb() -> None:
    llama = next(entry for entry in ENTRIES if entry.id == "llama-3.1-8b-instruct")
    assert (llama.parameters, llama.weight_bytes) == (8_030_261_248, 16_060_522_496)


def row(**changes: Any) -> dict[str, Any]:
    whole = json.loads((data_files.FOLDER / "models.json").read_text())[0]
    return {**whole, **changes}


BAD = [
    ("unknown type", row(dtype="INT3"), "dtype"),
    ("no parameters", row(parameters=0), "positive"),
    ("unknown field", row(price=3), "price"),
    ("active without experts", row(active_parameters=5), "active_parameters"),
    ("impossible architecture", row(architecture={"kind": "llama"}), "layers"),
    ("missing field", {k: v for k, v in row().items() if k != "license"}, "license"),
]


@pytest.mark.parametrize(("bad", "words"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_wrong_entry_is_refused_by_name(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidCatalog, match=f"llama-3.1-8b-instruct: .*{words}"):
        data_files.parse_models(json.dumps([bad]))


def test_an_id_may_appear_once() -> None:
    with pytest.raises(InvalidCatalog, match="twice"):
        data_files.parse_models(json.dumps([row(), row()]))


def test_an_entry_has_exactly_the_fields_of_the_file() -> None:
    assert {field.name for field in fields(CatalogEntry)} == set(row())
