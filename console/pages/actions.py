"""What may be done with a deployment, as one table: status and right → actions, in the order of the page. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from deployments.states import DeploymentStatus

S = DeploymentStatus


class Act(StrEnum):
    RETRY = "retry"
    REDEPLOY = "redeploy"
    EDIT = "edit"
    CLONE = "clone"
    TERMINATE = "terminate"
    DELETE = "delete"


A = Act
ALIVE = (A.EDIT, A.CLONE, A.TERMINATE)
OF_STATUS: dict[str, tuple[Act, ...]] = {
    **dict.fromkeys((S.PENDING, S.DEPLOYING, S.RUNNING, S.SCALING, S.ROLLING, S.SLEEPING), ALIVE),
    S.FAILED: (A.RETRY, A.EDIT, A.REDEPLOY, A.CLONE, A.DELETE),
    S.TERMINATING: (A.CLONE,),
    S.TERMINATED: (A.REDEPLOY, A.EDIT, A.CLONE, A.DELETE),
}
BESIDE_THE_CAUSE = (A.RETRY, A.EDIT, A.REDEPLOY)
IN_HEAD = (A.EDIT, A.TERMINATE, A.DELETE)


@dataclass(frozen=True)
class Actions:
    """`beside`: what answers to the state that the page explains, shown there. `head`: what has a button at the top.
    `more`: what the menu holds."""

    beside: tuple[Act, ...] = ()
    head: tuple[Act, ...] = ()
    more: tuple[Act, ...] = ()

    @property
    def menu(self) -> tuple[Act, ...]:
        """Those that a menu can lead to: a question or a form each."""
        return tuple(one for one in (A.EDIT, A.CLONE, A.TERMINATE, A.DELETE) if one in self.all)

    @property
    def all(self) -> frozenset[Act]:
        return frozenset((*self.beside, *self.head, *self.more))


def actions(status: str, *, may_deploy: bool, waits_to_retry: bool = False) -> Actions:
    """`waits_to_retry`: a replica failed and the next start waits its time, so that trying at once makes sense."""
    if not may_deploy:
        return Actions()
    acts = OF_STATUS[status]
    has_ended = status in (S.FAILED, S.TERMINATED)
    beside = tuple(one for one in BESIDE_THE_CAUSE if one in acts) if has_ended else ()
    if waits_to_retry and acts is ALIVE:
        beside = (A.RETRY,)
    head = tuple(one for one in IN_HEAD if one in acts and one not in beside)[:2]
    return Actions(beside, head, tuple(one for one in acts if one not in (*beside, *head)))
