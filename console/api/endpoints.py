"""Endpoints: where deployments are exposed, and the GPUs of the cluster behind each."""

from typing import Literal

from ninja import Query

from console.api.auth import ApiRequest
from console.api.field_types import Resource
from console.api.pagination import ByName, Page
from console.api.strict_router import Router
from deployments import models as tables

router = Router(tags=["Catalog"])


class GpuCount(Resource):
    type: str
    count: int


class Endpoint(Resource):
    id: str
    name: str
    base_url: str
    visibility: Literal["public", "private"]
    cluster: str
    simulated: bool
    gpus: list[GpuCount]


class EndpointPage(Page):
    data: list[Endpoint]


@router.get("/endpoints", response=EndpointPage, summary="List endpoints")
def list_endpoints(request: ApiRequest, page: Query[ByName]) -> EndpointPage:
    rows, next_cursor = page.read(tables.Endpoint.objects.select_related("cluster").prefetch_related("cluster__gpus"))
    return EndpointPage(data=[_render(row) for row in rows], next_cursor=next_cursor)


def _render(row: tables.Endpoint) -> Endpoint:
    gpus = sorted(row.cluster.gpus.all(), key=lambda gpu: gpu.gpu_type_id)
    return Endpoint.model_validate(
        {
            "id": str(row.pk),
            "name": row.name,
            "base_url": row.api_url,
            "visibility": row.visibility,
            "cluster": row.cluster.name,
            "simulated": row.cluster.simulated,
            "gpus": [{"type": gpu.gpu_type_id, "count": gpu.count} for gpu in gpus if gpu.count],
        }
    )
