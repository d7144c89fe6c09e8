"""The limits that apply to calls of a deployment, and what the caller has used of them."""

from typing import Literal

from pydantic import Field

from console.api.auth import ApiRequest
from console.api.deployments import Reference, find_deployment
from console.api.field_types import Resource
from console.api.strict_router import Router
from deployments.routing.consumption import read_consumption

router = Router(tags=["Deployments"])


class LimitInForce(Resource):
    scope: Literal["deployment", "all_deployments"] = Field(
        description="What is counted: calls of this deployment, or of all deployments."
    )
    level: Literal["organization", "user", "api_key"] = Field(
        description="Whose calls are counted: all of the organization, those of your user in it, or of this API key."
    )
    unit: Literal["requests", "tokens"]
    limit: int = Field(description="The limit in any 60 seconds.")
    used: int | None = Field(description="What counts now; null while that is not known.")
    remaining: int | None
    reset_seconds: float | None = Field(description="Seconds until nothing counts any more if nothing is added.")


class LimitsInForce(Resource):
    data: list[LimitInForce]


@router.get("/deployments/{str:id}/limits", response=LimitsInForce, summary="Get limits and their present consumption")
def get_limits(request: ApiRequest, id: Reference) -> LimitsInForce:
    """Returns each limit that applies to calls of the deployment by your organization, your user and this API key, and
    what has been used of it. Without limits the list is empty."""
    caller = request.auth
    limits = read_consumption(find_deployment(caller, id), caller.organization, caller.key)
    return LimitsInForce(
        data=[
            LimitInForce(**vars(each), remaining=None if each.used is None else max(each.limit - each.used, 0))
            for each in limits
        ]
    )
