"""The replicas of a deployment, ended ones too."""

from ninja import Query
from pydantic import Field

from console.api.auth import ApiRequest
from console.api.deployments import Cause, Reference, find_deployment, render_cause
from console.api.field_types import Resource, Time
from console.api.pagination import NewestFirst, Page
from console.api.strict_router import Router
from deployments import models as tables
from deployments import queries
from deployments.states import ReplicaState

router = Router(tags=["Deployments"])


class Phase(Resource):
    name: str
    started_at: Time
    ended_at: Time | None


class Replica(Resource):
    id: str
    revision: int
    state: ReplicaState
    node: str | None
    gpu_indices: list[int]
    phases: list[Phase]
    restarts: int
    cause: Cause | None = Field(description="Why the replica failed or is being stopped.")
    simulated: bool


class ReplicaPage(Page):
    data: list[Replica]


@router.get("/deployments/{str:id}/replicas", response=ReplicaPage, summary="List replicas")
def list_replicas(request: ApiRequest, id: Reference, page: Query[NewestFirst]) -> ReplicaPage:
    rows = queries.replica_rows(find_deployment(request.auth, id)).select_related("cluster", "revision")
    found, next_cursor = page.read(rows)
    return ReplicaPage(data=[_render(row) for row in found], next_cursor=next_cursor)


def _render(row: tables.Replica) -> Replica:
    return Replica(
        id=str(row.pk),
        revision=row.revision.number,
        state=ReplicaState(row.state),
        node=row.node or None,
        gpu_indices=row.gpu_indices,
        phases=[Phase.model_validate(phase) for phase in row.phases.all()],
        restarts=row.restarts,
        cause=render_cause(row.cause),
        simulated=row.cluster.simulated or row.revision.spec["engine"].get("simulator") is not None,
    )
