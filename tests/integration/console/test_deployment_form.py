"""The form of a new deployment."""

import re
from datetime import date, datetime

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Organization
from accounts.roles import Role
from console.deployments.forms import FIELDS
from deployments.models import CatalogModel, Cluster, ClusterGpu, Deployment, GpuType
from deployments.states import ReplicaState
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze

pytestmark = pytest.mark.django_db
BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def owner(now: datetime) -> Organization:
    rows.endpoint(now)
    CatalogModel.objects.create(
        id="llama-3.1-8b-instruct", title="Llama 3.1 8B Instruct", family="llama", publisher="Meta",
        repository="meta-llama/Llama-3.1-8B-Instruct", parameters=8_030_261_248, weight_bytes=16_060_522_496,
        dtype="bfloat16", context_length=131072, architecture={}, license="llama3.1",
        source_url="https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct", sourced_at=date(2026, 1, 1),
    )  # fmt: skip
    return rows.organization()


def signed_in(organization: Organization, role: Role = Role.ADMIN) -> Client:
    client = Client()
    client.force_login(rows.person(f"{role}@example.com", organization, role), backend=BACKEND)
    return client


GOOD = {
    "name": "llama-chat", "endpoint": "default", "model": "llama-3.1-8b-instruct", "gpu": "l40s-48gb", "gpu_count": "1",
    "fixed": "on", "replicas": "2", "engine": "simulator", "context_length": "8,192", "max_concurrency": "32",
    "labels": "team=blue", "description": "For the help centre", "download_seconds": "0.5", "initialize_seconds": "1",
    "ttft_ms": "10", "itl_ms": "1", "fail": "",
}  # fmt: skip


ADAPTERS = {"adapter-0-repository": "northwind/sql", "adapter-1-repository": "northwind/tone", "adapter-1-name": "t"}


def test_every_declared_setting_has_a_field_on_the_page(owner):
    text = signed_in(owner).get("/deployments/new/").content.decode()
    assert [name for name in FIELDS if f'name="{name}"' not in text] == []


def test_what_is_chosen_becomes_a_deployment_like_one_of_the_api(owner):
    answer = signed_in(owner).post("/deployments/new/", GOOD)
    made = Deployment.objects.get()
    assert answer["Location"] == f"/deployments/{made.pk}/"
    assert (made.name, made.desired_replicas, made.gpu_type_id, made.labels) == (
        "llama-chat", 2, "l40s-48gb", {"team": "blue"},
    )  # fmt: skip
    engine = made.revision.spec["engine"]
    assert (engine["context_length"], engine["max_concurrency"], engine["prefix_caching"]) == (8192, 32, False)
    assert engine["simulator"]["download_seconds"] == 0.5


@pytest.mark.parametrize(
    ("field", "typed", "words"),
    [
        ("name", "", "Use 1 to 63 lowercase letters"),
        ("name", "Not A Name", "Use 1 to 63 lowercase letters"),
        ("model", "", "Choose a model from the catalog."),
        ("gpu", "h900", "There is no GPU type"),
        ("gpu_count", "9", "The cluster has 8"),
        ("gpu_count", "two", "Enter a number, such as 16."),
        ("replicas", "0", "Use 1 or more."),
        ("engine", "vllm", "are simulated, so"),
        ("context_length", "999,999", "The model supports at most 131,072 tokens"),
        ("max_concurrency", "0", "Use 1 or more."),
        ("min_replicas", "-1", "Use 0 or more."),
        ("max_replicas", "0", "Use 1 or more."),
        ("scale_down_delay_seconds", "1", "or more."),
        ("sleep_after_seconds", "never", "Enter a number, such as 16."),
        ("adapter-0-repository", "no-owner", "Write it as owner/name"),
        ("adapter-1-name", "No!", "Use 1 to 63 lowercase letters"),
        ("ttft_ms", "soon", "Enter a number, such as 16."),
        ("fail", "quietly", "Send one of"),
        ("endpoint", "nowhere", "There is no endpoint"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_nothing_typed_is_lost(owner, field, typed, words):
    ranged = {"fixed": ""} if field.endswith(("_replicas", "_seconds")) else {}
    answer = signed_in(owner).post("/deployments/new/", {**GOOD, **ADAPTERS, **ranged, field: typed})
    text = squeeze(answer)
    assert answer.status_code == 200
    assert f'id="{field}-problem"' in text
    assert words in text.replace("&#x27;", "'")
    assert f'href="#{field}"' in text
    assert "For the help centre" in text
    assert not Deployment.objects.exists()


def test_a_range_and_adapters_are_chosen_too(owner):
    scaling = {"fixed": "", "min_replicas": "0", "max_replicas": "4", "scale_down_delay_seconds": "600"}
    signed_in(owner).post("/deployments/new/", {**GOOD, **ADAPTERS, **scaling, "adapter-7-name": ""})
    made = Deployment.objects.get()
    assert (made.autoscaling_enabled, made.min_replicas, made.max_replicas) == (True, 0, 4)
    assert (made.scale_down_delay_seconds, made.sleep_after_seconds, made.desired_replicas) == (600, None, 1)
    named = {one["name"]: one["repository"] for one in made.revision.spec["adapters"]}
    assert named == {"sql": "northwind/sql", "t": "northwind/tone"}


def test_a_preset_sets_the_range_without_script(owner):
    signed_in(owner).post("/deployments/new/", {**GOOD, "fixed": "", "max_replicas": "4", "preset": "lowest_cost"})
    assert Deployment.objects.values_list("min_replicas", "max_replicas").get() == (0, 4)


def test_a_row_for_an_adapter_is_added_without_script_and_nothing_is_created(owner):
    text = squeeze(signed_in(owner).post("/deployments/new/", {**GOOD, **ADAPTERS, "add_adapter": "1"}))
    assert 'id="adapter-2-repository"' in text
    assert 'value="northwind/tone"' in text
    assert not Deployment.objects.exists()


def test_a_taken_name_is_refused_and_the_same_again_is_the_same(owner):
    client = signed_in(owner)
    client.post("/deployments/new/", GOOD)
    assert client.post("/deployments/new/", GOOD)["Location"] == f"/deployments/{Deployment.objects.get().pk}/"
    other = client.post("/deployments/new/", {**GOOD, "replicas": "3"})
    assert other.status_code == 200
    assert 'id="name-problem"' in squeeze(other)


@pytest.mark.parametrize(
    ("typed", "words"), [("free-one", "Available."), ("llama-chat", "Taken."), ("No!", "Invalid name.")]
)
def test_the_name_is_checked_while_it_is_typed(owner, now, typed, words):
    rows.deployment(owner, now, name="llama-chat")
    assert words in squeeze(signed_in(owner).get("/deployments/new/name/", {"name": typed}))


def test_what_is_asked_of_the_cluster_stands_beside_with_what_is_free(owner, now):
    client = signed_in(owner)
    enough = squeeze(client.get("/deployments/new/capacity/", {**GOOD, "gpu_count": "2", "replicas": "3"}))
    assert "2 × L40S 48 GB" in enough
    assert "GPUs free" in enough
    assert "no earlier starts to compare with" in enough
    assert "3 replicas would wait" not in enough
    lacking = squeeze(client.get("/deployments/new/capacity/", {**GOOD, "gpu_count": "4", "replicas": "3"}))
    assert "1 replica would wait now" in lacking
    assert "never more than 2 replicas of 4 GPUs. 2 of them could start now." in lacking


def test_weights_that_do_not_fit_into_the_memory_of_a_replica_are_warned_of(owner, now):
    client = signed_in(owner)
    assert "Does not fit" not in squeeze(client.get("/deployments/new/capacity/", GOOD))
    CatalogModel.objects.update(weight_bytes=45_000_000_000)
    tight = squeeze(client.get("/deployments/new/capacity/", {**GOOD, "engine": "vllm"}))
    assert "Tight: little is left for requests: 45.0 GB of weights, 1 GPU with 48 GB." in tight
    CatalogModel.objects.update(weight_bytes=688_600_000_000)
    text = squeeze(client.get("/deployments/new/capacity/", {**GOOD, "gpu_count": "2"}))
    assert "Does not fit: 688.6 GB of weights, 2 GPUs with 96 GB. The simulator loads no weights" in text
    assert "larger GPUs, or more per replica" in squeeze(
        client.get("/deployments/new/capacity/", {**GOOD, "engine": "vllm"})
    )


def test_the_gpus_that_are_chosen_at_first_are_free_and_hold_the_model(owner, now):
    for type_id, memory in (("l4-24gb", 24), ("h100-80gb", 80)):
        gpu_type = GpuType.objects.create(
            id=type_id, title=type_id, vendor="NVIDIA", memory_gb=memory, memory_gib=memory * 0.93
        )
        ClusterGpu.objects.create(cluster=Cluster.objects.get(), gpu_type=gpu_type, count=1)
    client, address = signed_in(owner), "/deployments/new/?model=llama-3.1-8b-instruct"
    assert 'value="l4-24gb" checked' in squeeze(client.get(address))
    busy = rows.deployment(owner, now)
    rows.replica(busy, ReplicaState.READY, now, gpu_type=GpuType.objects.get(pk="l4-24gb"))
    assert 'value="l40s-48gb" checked' in squeeze(client.get(address))
    CatalogModel.objects.update(weight_bytes=60_000_000_000)
    assert 'value="h100-80gb" checked' in squeeze(client.get(address))


def test_a_form_with_errors_begins_with_a_summary_that_leads_to_each_field(owner):
    text = squeeze(
        signed_in(owner).post("/deployments/new/", {**GOOD, **ADAPTERS, "name": "", "adapter-1-name": "No!"})
    )
    start = text.index('id="problems"')
    assert start < text.index('id="new"')
    assert 'tabindex="-1" autofocus' in text[start : start + 200]
    assert "Fix 2 fields" in text
    assert re.search(r'<a href="#name">Name</a>: Use 1 to 63', text)
    assert re.search(r'<a href="#adapter-1-name">Name of adapter 2</a>: Use', text)


def test_what_was_wrong_with_a_name_makes_way_for_what_is_said_of_it_now(owner):
    client = signed_in(owner)
    text = squeeze(client.post("/deployments/new/", {**GOOD, "name": "No!"}))
    state = text[text.index('id="name-state"') :]
    assert state.index('id="name-problem"') < state.index("</div>")
    assert "name-problem" not in squeeze(client.get("/deployments/new/name/", {"name": "free-one"}))


def test_a_label_without_a_value_is_written_with_an_equals_sign(owner):
    client = signed_in(owner)
    text = squeeze(client.post("/deployments/new/", {**GOOD, "labels": "team=blue\nfoo"}))
    assert "foo: Write it as name=value; foo= has no value." in text
    assert not Deployment.objects.exists()
    client.post("/deployments/new/", {**GOOD, "labels": "team=blue\nfoo="})
    made = Deployment.objects.get()
    assert made.labels == {"team": "blue", "foo": ""}
    assert "foo=\nteam=blue</textarea>" in client.get(f"/deployments/{made.pk}/edit/").content.decode()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"context_length": "999999"}, "Use 131,072 or less"),
        ({"engine": "vllm"}, "so vLLM cannot run there. Use Simulator,"),
        ({"gpu_count": "9"}, "The cluster has 8 × L40S 48 GB; use 8 or less."),
    ],
)
def test_errors_show_titles_and_grouped_numbers(owner, fields, words):
    assert words in squeeze(signed_in(owner).post("/deployments/new/", {**GOOD, **fields}))


def test_the_form_starts_with_the_model_of_its_address(owner):
    text = squeeze(signed_in(owner).get("/deployments/new/?model=llama-3.1-8b-instruct"))
    assert 'value="llama-3.1-8b-instruct" checked' in text
    assert 'value="l40s-48gb" checked' in text


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER])
def test_who_may_not_deploy_is_told_so(owner, role):
    client = signed_in(owner, role)
    assert client.get("/deployments/new/").status_code == 403
    assert client.post("/deployments/new/", GOOD).status_code == 403
    assert not Deployment.objects.exists()


def test_a_deployment_goes_to_no_organization_where_the_person_may_not_deploy(owner, now):
    rows.organization("halden")
    answer = signed_in(owner).post("/deployments/new/", {**GOOD, "organization": "halden"})
    assert answer.status_code == 200
    assert not Deployment.objects.exists()
