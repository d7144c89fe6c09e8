"""`ETag` and `If-Match` guard against lost updates: a deployment's version is its ETag, and a change with `If-Match`
is made only at that version. Without `If-Match` the last write wins."""

import re

from django.http import HttpResponse
from ninja import HeaderEx, P
from typing_extensions import Annotated  # noqa: UP035

from console.api.field_types import Matching
from deployments import queries
from deployments.models import Deployment
from deployments.services import VersionConflict

_TAG = r'(?:W/)?"[!#-~]*"'
_TAGS = Matching(rf"\s*(\*|{_TAG}(\s*,\s*{_TAG})*)\s*", 'Send the ETag of the deployment as you read it, like "3".')
IfMatch = HeaderEx[
    Annotated[str, _TAGS] | None,
    P(
        alias="If-Match",
        description="The ETag of the version that you read. If the deployment has changed since, the response is 412.",
    ),
]


def set_etag(response: HttpResponse, version: int) -> None:
    response["ETag"] = f'"{version}"'


def expected_version(deployment: Deployment, if_match: str | None) -> int | None:
    """The version that If-Match asks for, which is the present one; None where any will do. Raises `VersionConflict`
    for another one."""
    if if_match is None or if_match.strip() == "*":
        return None
    if f'"{deployment.version}"' not in re.findall(_TAG, if_match):
        raise VersionConflict(deployment.version, *queries.last_change(deployment))
    return deployment.version
