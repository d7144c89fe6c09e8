"""The GPU types that clusters may have."""

from ninja import Query

from console.api.auth import ApiRequest
from console.api.field_types import Resource
from console.api.pagination import ById, Page
from console.api.strict_router import Router
from deployments import models as tables

router = Router(tags=["Catalog"])


class GpuType(Resource):
    id: str
    title: str
    vendor: str
    memory_gb: int
    memory_gib: float
    source_url: str


class GpuTypePage(Page):
    data: list[GpuType]


@router.get("/gpu-types", response=GpuTypePage, summary="List GPU types")
def list_gpu_types(request: ApiRequest, page: Query[ById]) -> GpuTypePage:
    rows, next_cursor = page.read(tables.GpuType.objects.all())
    return GpuTypePage(data=[GpuType.model_validate(row) for row in rows], next_cursor=next_cursor)
