"""What can be deployed, on what and where: catalog models, GPU types, endpoints; and the organization of the key."""

from __future__ import annotations

from typing import Any

from console.api import pages, problems
from console.api.deployments import base_url
from console.api.operations import Answer, Call, utc
from deployments.models import CatalogModel, Endpoint, GpuType


def models(call: Call) -> Answer:
    page = pages.read(CatalogModel.objects.all(), pages.BY_ID, call.query)
    return Answer(200, page.of([_model(row) for row in page.rows]))


def model(call: Call) -> Answer:
    row = CatalogModel.objects.filter(pk=call.path["id"]).first()
    if row is None:
        raise problems.missing("model in the catalog")
    return Answer(200, _model(row))


def gpu_types(call: Call) -> Answer:
    page = pages.read(GpuType.objects.all(), pages.BY_ID, call.query)
    return Answer(200, page.of([_gpu_type(row) for row in page.rows]))


def endpoints(call: Call) -> Answer:
    rows = Endpoint.objects.select_related("cluster").prefetch_related("cluster__gpus")
    page = pages.read(rows, pages.BY_NAME, call.query)
    return Answer(200, page.of([_endpoint(row) for row in page.rows]))


def organization(call: Call) -> Answer:
    row = call.caller.organization
    role = call.caller.actor.roles.get(row.pk)
    data = {
        "id": str(row.pk),
        "slug": row.slug,
        "name": row.name,
        "role": role.value if role else None,
        "created_at": utc(row.created_at),
    }
    return Answer(200, data)


def _model(row: CatalogModel) -> dict[str, Any]:
    return {
        "id": row.pk,
        "title": row.title,
        "family": row.family,
        "publisher": row.publisher,
        "repository": row.repository,
        "description": row.description,
        "parameters": row.parameters,
        "active_parameters": row.active_parameters,
        "weight_bytes": row.weight_bytes,
        "dtype": row.dtype,
        "context_length": row.context_length,
        "architecture": row.architecture,
        "license": row.license,
        "gated": row.gated,
        "source_url": row.source_url,
        "sourced_at": row.sourced_at.isoformat(),
    }


def _gpu_type(row: GpuType) -> dict[str, Any]:
    return {
        "id": row.pk,
        "title": row.title,
        "vendor": row.vendor,
        "memory_gb": row.memory_gb,
        "memory_gib": float(row.memory_gib),
        "source_url": row.source_url,
    }


def _endpoint(row: Endpoint) -> dict[str, Any]:
    gpus = sorted(row.cluster.gpus.all(), key=lambda gpu: gpu.gpu_type_id)
    return {
        "id": str(row.pk),
        "name": row.name,
        "base_url": base_url(row.base_url),
        "visibility": row.visibility,
        "cluster": row.cluster.name,
        "simulated": row.cluster.simulated,
        "gpus": [{"type": gpu.gpu_type_id, "count": gpu.count} for gpu in gpus if gpu.count],
    }
