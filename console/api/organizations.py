"""The organization of the key."""

from accounts.roles import Role
from console.api.auth import ApiRequest
from console.api.field_types import Resource, Time
from console.api.strict_router import Router

router = Router(tags=["Organization"])


class Organization(Resource):
    id: str
    slug: str
    name: str
    role: Role | None
    created_at: Time


@router.get("/organizations/current", response=Organization, summary="Get the organization of the API key")
def get_organization(request: ApiRequest) -> Organization:
    row = request.auth.organization
    role = request.auth.actor.roles.get(row.pk)
    return Organization(id=str(row.pk), slug=row.slug, name=row.name, role=role, created_at=row.created_at)
