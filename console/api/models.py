"""The models of the catalog."""

from datetime import date
from typing import Any

from ninja import P, PathEx, Query
from pydantic import Field

from console.api.auth import ApiRequest
from console.api.field_types import Resource
from console.api.pagination import ById, Page
from console.api.problems import missing
from console.api.strict_router import Router
from deployments.models import CatalogModel

router = Router(tags=["Catalog"])


class Model(Resource):
    id: str
    title: str
    family: str
    publisher: str
    repository: str
    description: str
    parameters: int
    active_parameters: int | None = Field(description="Active parameters of a mixture-of-experts model.")
    weight_bytes: int
    dtype: str
    context_length: int
    architecture: dict[str, Any]
    license: str
    gated: bool
    source_url: str
    sourced_at: date


class ModelPage(Page):
    data: list[Model]


@router.get("/models", response=ModelPage, summary="List catalog models")
def list_models(request: ApiRequest, page: Query[ById]) -> ModelPage:
    rows, next_cursor = page.read(CatalogModel.objects.all())
    return ModelPage(data=[Model.model_validate(row) for row in rows], next_cursor=next_cursor)


@router.get("/models/{str:id}", response=Model, summary="Get a catalog model")
def get_model(request: ApiRequest, id: PathEx[str, P(description="ID of the model.")]) -> Model:
    row = None if "\0" in id else CatalogModel.objects.filter(pk=id).first()
    if row is None:
        raise missing("model in the catalog")
    return Model.model_validate(row)
