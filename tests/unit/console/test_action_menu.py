"""What may be done with a deployment, as one truth table."""

import pytest

from console.deployments.action_menu import offer_actions
from deployments.states import DeploymentStatus as S

ALIVE = ("", "edit terminate", "clone")
TABLE = {
    S.PENDING: ALIVE,
    S.DEPLOYING: ALIVE,
    S.RUNNING: ALIVE,
    S.SCALING: ALIVE,
    S.ROLLING: ALIVE,
    S.SLEEPING: ALIVE,
    S.FAILED: ("retry edit redeploy", "delete", "clone"),
    S.TERMINATING: ("", "", "clone"),
    S.TERMINATED: ("redeploy edit", "delete", "clone"),
}


def said(status: str, **facts: bool) -> tuple[str, str, str]:
    found = offer_actions(status, **facts)
    return " ".join(found.banner), " ".join(found.header), " ".join(found.more)


@pytest.mark.parametrize("status", S)
def test_each_status_offers_what_makes_sense_in_it(status):
    assert said(status, may_deploy=True) == TABLE[status]


@pytest.mark.parametrize(
    ("cause", "first"),
    [("out_of_memory", "edit"), ("adapter_failed", "edit"), ("download_failed", "retry"), ("", "retry")],
)
def test_what_the_cause_advises_comes_first(cause, first):
    assert offer_actions(S.FAILED, may_deploy=True, cause=cause).banner[0] == first


def test_what_has_failed_is_terminated_before_it_is_deleted_while_it_has_replicas():
    assert said(S.FAILED, may_deploy=True, has_replicas=True) == ("retry edit redeploy", "terminate", "clone")


@pytest.mark.parametrize("status", S)
def test_who_may_not_deploy_is_offered_nothing(status):
    assert said(status, may_deploy=False, is_backing_off=True) == ("", "", "")


@pytest.mark.parametrize("status", S)
def test_retrying_at_once_is_offered_while_a_start_waits_after_a_failure(status):
    offered = "retry" in offer_actions(status, may_deploy=True, is_backing_off=True).all
    assert offered == (status not in (S.TERMINATING, S.TERMINATED))


@pytest.mark.parametrize("status", S)
def test_a_menu_holds_only_what_leads_to_a_page_of_its_own(status):
    assert set(offer_actions(status, may_deploy=True).menu) <= {"edit", "clone", "terminate", "delete"}
