"""Changes of a deployment that exists: merge patches, actions, and the revisions that they made.

`If-Match` (optional) names the version that a change is meant for: its ETag. Without it the last write wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from accounts.roles import Right
from console.api import pages, problems
from console.api.deployments import answered, named
from console.api.operations import Answer, Call, utc
from deployments import bodies, diffs, queries, services, specs
from deployments.fields import FieldError, Fields
from deployments.models import Deployment, Revision
from deployments.services import VersionConflict
from deployments.specs import RevisionSpec

IF_MATCH = "If-Match"
_TAG = r'(?:W/)?"[!#-~]*"'
_HIGHEST_NUMBER = 2**31 - 1


def patched(call: Call) -> Answer:
    _writable(call, "edit deployments")
    if not isinstance(call.body, Mapping):
        raise problems.invalid(Fields(call.body).errors)
    while not _patch(call, call.body):
        pass
    return answered(call, 200)


def _patch(call: Call, patch: Mapping[str, Any]) -> bool:
    """Whether it is done; without If-Match it is made anew on what somebody else wrote between reading and writing."""
    deployment = named(call)
    wanted = _wanted(call, deployment)
    in_force = queries.spec_of(deployment)
    try:
        with _refusals():
            spec = specs.parse(bodies.merged(bodies.body_of(in_force), patch), queries.spec_options(), in_force)
            read = deployment.version
            services.edit(deployment, spec=spec, expected_version=read, by=call.caller.user, now=call.now)
    except VersionConflict as conflict:
        if wanted is None:
            return False
        raise _changed(conflict) from None
    return True


def rolled_back(call: Call) -> Answer:
    number = _number(call.body)
    return _done(call, partial(services.rollback, number=number), "roll deployments back")


def retried(call: Call) -> Answer:
    _refuse_fields(call.body)
    return _done(call, services.retry, "retry deployments")


def redeployed(call: Call) -> Answer:
    _refuse_fields(call.body)
    return _done(call, services.redeploy, "redeploy")


def _done(call: Call, act: Callable[..., object], what: str) -> Answer:
    deployment = _writable(call, what)
    try:
        with _refusals():
            act(deployment, expected_version=_wanted(call, deployment), by=call.caller.user, now=call.now)
    except VersionConflict as conflict:
        raise _changed(conflict) from None
    return answered(call, 202)


@contextmanager
def _refusals() -> Iterator[None]:
    """What services refuse, as problems."""
    try:
        yield
    except (specs.InvalidSpec, services.Immutable) as error:
        raise problems.invalid(error.errors) from None
    except services.UnknownRevision as error:
        raise problems.Problem("not-found", str(error), [error.error]) from None
    except services.NotNow as error:
        raise problems.Problem("not-now", str(error)) from None
    except Deployment.DoesNotExist:
        raise problems.missing("deployment") from None


def _refuse_fields(body: Any) -> None:
    fields = Fields(body)
    fields.finish()
    if fields.errors:
        raise problems.invalid(fields.errors)


def _number(body: Any) -> int | None:
    fields = Fields(body)
    given = fields.has("revision") and not fields.is_null("revision")
    number = fields.integer("revision", None, lowest=1, highest=_HIGHEST_NUMBER) if given else None
    fields.finish()
    if fields.errors:
        raise problems.invalid(fields.errors)
    return number


def revisions(call: Call) -> Answer:
    deployment = named(call)
    page = pages.read(queries.revisions(deployment), pages.BY_NUMBER, call.query)
    lowest = page.rows[-1].number if page.rows else 1
    before = queries.revisions(deployment).filter(number__lt=lowest)[:1]
    shown = [*page.rows, *before]
    older = dict(zip(page.rows, [*shown[1:], None], strict=False))
    return Answer(200, page.of([_revision(deployment, row, older.get(row)) for row in page.rows]))


def _revision(deployment: Deployment, row: Revision, older: Revision | None) -> dict[str, Any]:
    configuration = _configuration(deployment, row)
    found = diffs.changes(_configuration(deployment, older), configuration) if older else ()
    return {
        "number": row.number,
        "current": row.pk == deployment.revision_id,
        "created_at": utc(row.created_at),
        "created_by": row.created_by.email if row.created_by else None,
        "restores": row.restores,
        "ready_at": utc(row.ready_at),
        "cause": row.cause,
        "configuration": configuration,
        "changes": [{"field": one.field, "before": one.before, "after": one.after} for one in found],
    }


def _configuration(deployment: Deployment, row: Revision) -> dict[str, Any]:
    return bodies.configuration_of(RevisionSpec.from_json(row.spec), deployment.gpu_type_id)


def _writable(call: Call, what: str) -> Deployment:
    deployment = named(call)
    call.caller.require(Right.DEPLOY, what, deployment.organization)
    return deployment


def _wanted(call: Call, deployment: Deployment) -> int | None:
    """The version that If-Match asks for, which is the present one; None where any will do. Raises a 412."""
    text = call.headers.get(IF_MATCH)
    if text is None or text.strip() == "*":
        return None
    if not re.fullmatch(rf"\s*{_TAG}(\s*,\s*{_TAG})*\s*", text):
        message = 'Send the ETag of the deployment as you read it, like "3".'
        raise problems.invalid([FieldError(IF_MATCH, "invalid_header", message)])
    if f'"{deployment.version}"' in re.findall(_TAG, text):
        return deployment.version
    raise _changed(VersionConflict(deployment.version, *queries.last_change(deployment)))


def _changed(conflict: VersionConflict) -> problems.Problem:
    detail = f"{conflict} Nothing was written. Read it again, and send your change with its ETag."
    return problems.Problem("changed-meanwhile", detail, headers={"ETag": f'"{conflict.current}"'})
