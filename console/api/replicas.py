"""The replicas of a deployment, ended ones too."""

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from ninja import Body, P, PathEx, Query, Status
from pydantic import Field

from console import access
from console.api.auth import MANAGE, ApiRequest
from console.api.deployments import Cause, NoFields, Reference, find_deployment, is_simulator, render_cause
from console.api.field_types import Resource, Time
from console.api.idempotency import idempotent
from console.api.pagination import NewestFirst, Page
from console.api.problems import Problem, missing, raises
from console.api.strict_router import Router
from deployments import models as tables
from deployments import queries, services
from deployments.states import ReplicaState

router = Router(tags=["Deployments"])
ReplicaReference = PathEx[str, P(description="Id of the replica.")]


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
    gone_declared_at: Time | None = Field(description="When an operator declared it gone, which was UNKNOWN.")
    simulated: bool


class ReplicaPage(Page):
    data: list[Replica]


@router.get("/deployments/{str:id}/replicas", response=ReplicaPage, summary="List replicas")
def list_replicas(request: ApiRequest, id: Reference, page: Query[NewestFirst]) -> ReplicaPage:
    rows = queries.replica_rows(find_deployment(request.auth, id)).select_related("cluster", "revision")
    found, next_cursor = page.read(rows)
    return ReplicaPage(data=[_render(row) for row in found], next_cursor=next_cursor)


@router.post(
    "/deployments/{str:id}/replicas/{str:replica}/declare-gone",
    auth=MANAGE,
    response={202: Replica},
    summary="Declare an UNKNOWN replica gone",
)
@raises("not-now")
@idempotent
def declare_replica_gone(
    request: ApiRequest,
    response: HttpResponse,
    id: Reference,
    replica: ReplicaReference,
    body: Body[NoFields] = NoFields(),
) -> Status[Replica]:
    """For operators who made sure that it no longer runs. It FAILS with the cause `vanished`, its GPUs are released,
    and it is replaced; unless the cluster shows it again before. Doing it twice is doing it once."""
    deployment = find_deployment(request.auth, id)
    try:
        row = access.replica_to_declare_gone(request.auth.actor, deployment, replica)
    except Http404:
        raise missing("replica of this deployment") from None
    except PermissionDenied as error:
        raise Problem("right-missing", str(error)) from None
    services.declare_replica_gone(row, by=request.auth.user, now=request.now)
    current = queries.replica_rows(deployment).select_related("cluster", "revision").get(pk=row.pk)
    return Status(202, _render(current))


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
        gone_declared_at=row.gone_declared_at,
        simulated=row.cluster.simulated or is_simulator(row.revision.spec),
    )
