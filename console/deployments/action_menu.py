"""The actions that a page offers for a deployment, by status and right, in the order of the page. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from deployments.states import AT_REST
from deployments.states import DeploymentStatus as S


class Action(StrEnum):
    RETRY = "retry"
    REDEPLOY = "redeploy"
    EDIT = "edit"
    CLONE = "clone"
    TERMINATE = "terminate"
    DELETE = "delete"


A = Action
LIVE_ACTIONS = (A.EDIT, A.CLONE, A.TERMINATE)
BY_STATUS: dict[str, tuple[Action, ...]] = {
    **dict.fromkeys((S.PENDING, S.DEPLOYING, S.RUNNING, S.SCALING, S.ROLLING, S.SLEEPING), LIVE_ACTIONS),
    S.FAILED: (A.RETRY, A.EDIT, A.REDEPLOY, A.CLONE),
    S.TERMINATING: (A.CLONE,),
    S.TERMINATED: (A.REDEPLOY, A.EDIT, A.CLONE),
}
IN_BANNER: dict[str, tuple[Action, ...]] = {S.FAILED: (A.RETRY, A.EDIT, A.REDEPLOY), S.TERMINATED: (A.REDEPLOY, A.EDIT)}
# Causes that the same configuration would meet again: what helps is another one.
EDIT_FIRST = frozenset({"out_of_memory", "adapter_failed", "unhealthy", "start_refused"})
IN_HEADER = (A.EDIT, A.TERMINATE, A.DELETE)


@dataclass(frozen=True)
class Actions:
    """`banner`: buttons beside the explanation of the status. `header`: buttons at the top of the page. `more`: what
    only the menu holds."""

    banner: tuple[Action, ...] = ()
    header: tuple[Action, ...] = ()
    more: tuple[Action, ...] = ()

    @property
    def menu(self) -> tuple[Action, ...]:
        """The actions that lead to a page of their own: a form or a confirmation."""
        return tuple(action for action in (A.EDIT, A.CLONE, A.TERMINATE, A.DELETE) if action in self.all)

    @property
    def all(self) -> frozenset[Action]:
        return frozenset((*self.banner, *self.header, *self.more))


def offer_actions(
    status: str, *, may_deploy: bool, has_replicas: bool = False, is_backing_off: bool = False, cause: str = ""
) -> Actions:
    """`has_replicas`: some are live; what has failed is deleted once they have ended, which terminating makes sure of.
    `is_backing_off`: the next start is delayed after a failure, so that a retry at once makes sense. `cause`: the code
    of the cause of a failure; the action that it advises comes first."""
    if not may_deploy:
        return Actions()
    actions = BY_STATUS[status]
    if status in AT_REST:
        actions = (*actions, A.TERMINATE if has_replicas else A.DELETE)
    banner = IN_BANNER.get(status, ())
    if banner and cause in EDIT_FIRST:
        banner = (A.EDIT, *(action for action in banner if action is not A.EDIT))
    elif is_backing_off and actions is LIVE_ACTIONS:
        banner = (A.RETRY,)
    header = tuple(action for action in IN_HEADER if action in actions and action not in banner)[:2]
    more = tuple(action for action in actions if action not in (*banner, *header))
    return Actions(banner, header, more)
